package redis_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/bench"
)

const (
	// latencyJobs is how many jobs of each way to enqueue an iteration has.
	latencyJobs = 500

	// latencyPause is the mean time between the jobs of a worker.
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
	shared, alone := bench.NewStopwatch(b, 3*latencyJobs), bench.NewStopwatch(b, latencyJobs)

	q := bench.OpenGofer(b, s.url(0), shared.Handle)
	start, stop := bench.GoferWorker(b, q)
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
			shared.Handle(job.Args[0].Place())
		}
	}()
	foreign := s.client(0)
	other := asynqClient(s, 1)
	own := []bench.Producer{
		{Name: "gofer", Enqueue: func(number int) error {
			return bench.EnqueueGofer(q, number)
		}},
		{Name: "foreign", Enqueue: func(number int) error {
			return foreign.RPush(ctx, goferReady, foreignPayload(number)).Err()
		}},
		{Name: "bare", Enqueue: func(number int) error {
			return pushFor(foreign, bare.waker, foreignPayload(number))
		}},
	}
	peers := []bench.Producer{
		{Name: "asynq", Enqueue: func(number int) error { return enqueueAsynq(other, number) }},
	}
	for b.Loop() {
		shared.Run(own, latencyPause*2/3) // two of three are for the one worker
		// The other worker asks again and again, and so it must not be there
		// while the first is measured. The first is silent meanwhile.
		start, stop := asynqWorker(s, 1, queue.DefaultWorkers, nil, alone.Handle)
		start()
		alone.Run(peers, latencyPause)
		stop()
	}
	b.ReportMetric(0, "ns/op")
	shared.Report(own)
	alone.Report(peers)
}
