package rabbitmq_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/goferhq/queue/integration/bench"
)

const (
	// goroutines is how many enqueue jobs one by one, at the same time.
	goroutines = 50

	// manyGoroutines is the same of those who publish by hand: more of them
	// make amqp091-go no faster.
	manyGoroutines = 128
)

// enqueuer is a competitor that enqueues jobs.
type enqueuer struct {
	name    string
	queue   string            // where its jobs are
	enqueue func(n int) error // enqueues the jobs 0 to n-1
}

// enqueuers returns those that are compared. The others publish bytes that are
// made already, by one goroutine that does not wait for each confirm, and by
// many that do. All have one channel.
func enqueuers(s *server) []enqueuer {
	ours, one, many := goferProducer(s), s.publisher("window"), s.publisher("goroutines")
	body := bodyOf(0)
	return []enqueuer{
		{ours.Name, goferQueue, func(n int) error { return bench.Concurrently(goroutines, n, ours.Enqueue) }},
		{one.queue, one.queue, func(n int) error { return one.putAll(n, func(int) []byte { return body }) }},
		{many.queue, many.queue, func(n int) error {
			return bench.Concurrently(manyGoroutines, n, func(int) error { return many.put(body) })
		}},
	}
}

// BenchmarkPublish is the rate at which jobs are enqueued one by one.
func BenchmarkPublish(b *testing.B) {
	const (
		jobs  = 50_000
		turns = 3
	)
	s := startServer(b)
	var runners []bench.Runner
	for _, e := range enqueuers(s) {
		enqueue := func(n int) time.Duration {
			s.Flush()
			s.Settle()
			runtime.GC()
			began := time.Now()
			if err := e.enqueue(n); err != nil {
				b.Fatal(err)
			}
			return time.Since(began)
		}
		enqueue(1) // connects
		runners = append(runners, bench.Runner{Name: e.name, Turn: func() float64 {
			return bench.PerSecond(jobs, enqueue(jobs))
		}})
	}
	bench.Race(b, turns, runners...)
}

// workers returns those that are compared in what they do to jobs. The loops
// have no number of workers: they are the same each time.
func workers(s *server, ours func(s *server, workers int) bench.Drainer, n int) []bench.Drainer {
	return []bench.Drainer{ours(s, n), loop(s, "loop", ackEvery), loop(s, "loop1", 1)}
}

// BenchmarkCycle is the rate at which jobs that do nothing are published,
// handled and acknowledged, all at the same time. This library enqueues
// batches, or jobs one by one.
func BenchmarkCycle(b *testing.B) {
	const (
		jobs  = 50_000
		turns = 3
	)
	for _, c := range []struct {
		name string
		ours func(s *server, workers int) bench.Drainer
	}{{"batches", gofer}, {"singles", goferSingles}} {
		for _, n := range []int{10, 50} {
			b.Run(fmt.Sprintf("%s/workers=%d", c.name, n), func(b *testing.B) {
				s := startServer(b)
				var runners []bench.Runner
				for _, d := range workers(s, c.ours, n) {
					runners = append(runners, bench.Runner{Name: d.Name, Turn: func() float64 {
						return bench.PerSecond(jobs, bench.Cycle(b, s, d, jobs, func(int) {}))
					}})
				}
				bench.Race(b, turns, runners...)
			})
		}
	}
}

// BenchmarkDrain is the rate at which a backlog of jobs that do nothing is
// done.
func BenchmarkDrain(b *testing.B) {
	for _, c := range []struct {
		jobs    int
		workers int
		turns   int
	}{
		{10_000, 10, 3},
		{10_000, 50, 3},
		{200_000, 10, 1},
		{200_000, 50, 1},
	} {
		b.Run(fmt.Sprintf("jobs=%d/workers=%d", c.jobs, c.workers), func(b *testing.B) {
			s := startServer(b)
			var runners []bench.Runner
			for _, d := range workers(s, gofer, c.workers) {
				runners = append(runners, bench.Runner{Name: d.Name, Turn: func() float64 {
					return bench.PerSecond(c.jobs, bench.Drain(b, s, d, c.jobs, func(int) {}))
				}})
			}
			bench.Race(b, c.turns, runners...)
		})
	}
}
