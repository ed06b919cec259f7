package rabbitmq_test

import (
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/bench"
)

const (
	// latencyJobs is how many jobs of each competitor an iteration has.
	latencyJobs = 500

	// latencyPause is the mean time between the jobs of a worker.
	latencyPause = 20 * time.Millisecond
)

// waiter is a competitor whose worker waits for jobs.
type waiter struct {
	name   string
	worker func(handle func(number int)) (start, stop func())
	put    func(number int) error
}

// waiters returns those that are compared. bare is a connection that publishes
// job by job and waits for each confirm, and another one that consumes: that
// much of a latency is RabbitMQ and the machine.
func waiters(s *server) []waiter {
	ours, bare := goferProducer(s), s.publisher("bare")
	return []waiter{
		{
			name: ours.Name,
			worker: func(handle func(number int)) (start, stop func()) {
				return bench.GoferWorker(s.tb, bench.OpenGofer(s.tb, s.URL(), handle))
			},
			put: ours.Enqueue,
		},
		{
			name:   bare.queue,
			worker: func(handle func(number int)) (start, stop func()) { return loopWorker(s, bare.queue, 1, handle) },
			put:    func(number int) error { return bare.put(bodyOf(number)) },
		},
	}
}

// BenchmarkLatency is how soon a job begins on a worker that has nothing else
// to do, at 50 jobs a second: the time until the first line of its handler, of
// "after" from the return of the call that enqueues, of "total" from before it.
func BenchmarkLatency(b *testing.B) {
	s := startServer(b)
	all := waiters(s)
	watch := bench.NewStopwatch(b, len(all)*latencyJobs)
	var producers []bench.Producer
	for _, w := range all {
		producers = append(producers, bench.Producer{Name: w.name, Enqueue: w.put})
		start, stop := w.worker(watch.Handle)
		start()
		defer stop()
	}
	for b.Loop() {
		// Each producer has a worker of its own, for which its pause is meant.
		watch.Run(producers, latencyPause/time.Duration(len(producers)))
	}
	b.ReportMetric(0, "ns/op")
	watch.Report(producers)
}

// BenchmarkIdle is how many frames a worker sends in a second that has nothing
// to do, but for heartbeats.
func BenchmarkIdle(b *testing.B) {
	const (
		watched = 10 * time.Second
		starts  = 3 * time.Second // until all that comes with a start is over
	)
	s := startServer(b)
	ignore := func(int) {}
	bench.Once(b, func() {
		for name, queues := range map[string][]string{"gofer": {"first"}, "gofer-3q": {"first", "second", "third"}} {
			between := startTap(b, s.URL())
			q := bench.OpenGofer(b, between.url, ignore, queue.Queues(queues...))
			start, stop := bench.GoferWorker(b, q)
			start()
			time.Sleep(starts)
			before := between.frames.Load()
			if before == 0 {
				b.Fatalf("%s has sent nothing yet", name)
			}
			time.Sleep(watched)
			sent := between.frames.Load() - before
			stop()
			b.ReportMetric(float64(sent)/watched.Seconds(), name+"-frames/s")
		}
	})
}
