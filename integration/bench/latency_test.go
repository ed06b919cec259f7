package bench_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

const (
	// latencyJobs is how many jobs of each way to enqueue an iteration has.
	latencyJobs = 500

	// latencyPause is the mean time between the jobs of a worker. Each is up to
	// half of that early or late, so that no timer keeps step with them.
	latencyPause = 20 * time.Millisecond
)

// BenchmarkLatency is how soon a job begins on a worker that has nothing else
// to do, at 50 jobs a second: the time until the first line of its handler, of
// "after" from the return of the call that enqueues, of "total" from before it.
// The jobs of "foreign" come by a plain RPUSH, as those of Ruby and PHP do.
//
// Those of "bare" do too, and are waited for and reserved as this library does
// it, but by a few lines on top of go-redis, which decode them and nothing
// else: that much of a latency is Redis and the machine.
func BenchmarkLatency(b *testing.B) {
	s := startServer(b)
	ctx := context.Background()
	shared, alone := newStopwatch(b, 3*latencyJobs), newStopwatch(b, latencyJobs)

	q := openGofer(b, s.url(0), shared.handle)
	start, stop := goferWorker(b, q)
	start()
	defer stop()
	bare := startWaiting(s, wakers()[0])
	defer bare.end()
	go func() { // until bare ends
		for by := range bare.reserved {
			var job envelope
			if err := json.Unmarshal([]byte(by.payload), &job); err != nil {
				b.Error(err)
				return
			}
			shared.handle(job.Args[0].place())
		}
	}()
	foreign := s.client(0)
	other := asynqClient(s, 1)
	own := []producer{
		{name: "gofer", enqueue: func(number int) error {
			_, err := q.Enqueue(ctx, kind, argumentsOf(number))
			return err
		}},
		{name: "foreign", enqueue: func(number int) error {
			return foreign.RPush(ctx, goferReady, foreignPayload(number)).Err()
		}},
		{name: "bare", enqueue: func(number int) error {
			return pushFor(foreign, bare.waker, foreignPayload(number))
		}},
	}
	peers := []producer{
		{name: "asynq", enqueue: func(number int) error { return enqueueAsynq(other, number) }},
	}
	for b.Loop() {
		shared.run(own, latencyPause*2/3) // two of three are for the one worker
		// The other worker asks again and again, and so it must not be there
		// while the first is measured. The first is silent meanwhile.
		start, stop := asynqWorker(s, 1, queue.DefaultWorkers, nil, alone.handle)
		start()
		alone.run(peers, latencyPause)
		stop()
	}
	b.ReportMetric(0, "ns/op")
	shared.report(own)
	alone.report(peers)
}

// stopwatch takes the times of jobs.
type stopwatch struct {
	b       *testing.B
	began   []time.Time // of the handler, by the number of the job
	handled chan int
	total   map[string][]float64 // by the name of the producer, in milliseconds
	after   map[string][]float64 // negative where the job began before the call returned
}

func newStopwatch(b *testing.B, jobs int) *stopwatch {
	return &stopwatch{b, make([]time.Time, jobs), make(chan int, jobs), make(map[string][]float64), make(map[string][]float64)}
}

// handle is called by each job.
func (w *stopwatch) handle(number int) {
	w.began[number] = time.Now()
	w.handled <- number
}

// run has the producers enqueue in turn, with a mean pause between jobs.
func (w *stopwatch) run(producers []producer, pause time.Duration) {
	w.b.Helper()
	jobs := len(w.began)
	called, returned := make([]time.Time, jobs), make([]time.Time, jobs)
	for number := range jobs {
		time.Sleep(pause/2 + rand.N(pause))
		called[number] = time.Now()
		err := producers[number%len(producers)].enqueue(number)
		returned[number] = time.Now()
		if err != nil {
			w.b.Fatal(err)
		}
	}
	late := time.After(patience)
	for range jobs {
		select {
		case number := <-w.handled:
			name := producers[number%len(producers)].name
			w.total[name] = append(w.total[name], milliseconds(w.began[number].Sub(called[number])))
			w.after[name] = append(w.after[name], milliseconds(w.began[number].Sub(returned[number])))
		case <-late:
			w.b.Fatalf("not all of %d jobs were done after %v", jobs, patience)
		}
	}
}

func (w *stopwatch) report(producers []producer) {
	for _, p := range producers {
		w.b.ReportMetric(percentile(w.total[p.name], 50), p.name+"-total-p50-ms")
		w.b.ReportMetric(percentile(w.total[p.name], 99), p.name+"-total-p99-ms")
		w.b.ReportMetric(percentile(w.after[p.name], 50), p.name+"-after-p50-ms")
		w.b.ReportMetric(percentile(w.after[p.name], 99), p.name+"-after-p99-ms")
	}
}
