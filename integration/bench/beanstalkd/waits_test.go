package beanstalkd_test

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

// waiters returns those that are compared. bare is a connection that reserves
// job by job, and another one that puts: that much of a latency is beanstalkd
// and the machine.
func waiters(s *server) []waiter {
	const bareTube = "bare"
	w := s.connect(bareTube)
	s.tb.Cleanup(w.close)
	other, ours := libraryProducer(s), goferProducer(s)
	return []waiter{
		{
			name: ours.Name,
			worker: func(handle func(number int)) (start, stop func()) {
				return bench.GoferWorker(s.tb, bench.OpenGofer(s.tb, s.url, handle))
			},
			put: ours.Enqueue,
		},
		{
			name:   "bare",
			worker: func(handle func(number int)) (start, stop func()) { return loopWorker(s, bareTube, 1, handle) },
			put:    func(number int) error { return w.put(number, number+1, bodyOf) },
		},
		{
			name:   other.Name,
			worker: func(handle func(number int)) (start, stop func()) { return libraryWorker(s, 1, handle) },
			put:    other.Enqueue,
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

// BenchmarkIdle is how many commands a worker sends in a second that has
// nothing to do.
func BenchmarkIdle(b *testing.B) {
	const (
		watched  = 10 * time.Second
		settling = 3 * time.Second // until all that comes with a start is over
	)
	s := startServer(b)
	ignore := func(int) {}
	measure := func(name string, worker func(handle func(number int)) (start, stop func())) {
		start, stop := worker(ignore)
		start()
		time.Sleep(settling)
		before := s.commands()
		time.Sleep(watched)
		sent := s.commands() - before - 1 // that of the count itself
		stop()
		b.ReportMetric(float64(sent)/watched.Seconds(), name+"-commands/s")
	}
	bench.Once(b, func() {
		for _, w := range waiters(s) {
			measure(w.name, w.worker)
		}
		measure("gofer-3q", func(handle func(number int)) (start, stop func()) {
			q := bench.OpenGofer(b, s.url, handle, queue.Queues("first", "second", "third"))
			return bench.GoferWorker(b, q)
		})
	})
}
