package bench_test

import (
	"context"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// producer is a competitor that enqueues jobs.
type producer struct {
	name    string
	list    string // what grows by one element for each job
	enqueue func(number int) error
}

// producers returns those that are compared; each has the database of its
// place. rpush sends bytes that are made already, and is what cannot be done
// with less.
func producers(s *server) []producer {
	ctx := context.Background()
	q := openGofer(s.tb, s.url(0), nil)
	s.tb.Cleanup(func() { q.Close() })
	other := asynqClient(s, 1)
	plain, payload := s.client(2), goferPayload(s, 2)
	return []producer{
		{"gofer", goferReady, func(number int) error {
			_, err := q.Enqueue(ctx, kind, argumentsOf(number))
			return err
		}},
		{"asynq", asynqPending, func(number int) error { return enqueueAsynq(other, number) }},
		{"rpush", goferReady, func(int) error { return plain.RPush(ctx, goferReady, payload).Err() }},
	}
}

// BenchmarkEnqueue is the rate at which jobs are enqueued one by one.
func BenchmarkEnqueue(b *testing.B) {
	for _, c := range []struct {
		name       string
		goroutines int
		jobs       int // of a turn
		turns      int
	}{
		// A lone goroutine's calls are compared a hundred at a time, so that
		// all of them see the same machine.
		{"goroutines=1", 1, 100, 50},
		{"goroutines=50", 50, 10_000, 3},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := startServer(b)
			var runners []runner
			for _, p := range producers(s) {
				enqueue := func() float64 {
					began := time.Now()
					if err := concurrently(c.goroutines, c.jobs, p.enqueue); err != nil {
						b.Fatal(err)
					}
					return perSecond(c.jobs, time.Since(began))
				}
				enqueue() // connects
				runners = append(runners, runner{p.name, enqueue})
			}
			s.flush()
			s.settle()
			race(b, c.turns, runners...)
		})
	}
}

// BenchmarkMemory is what a ready job takes of the server's memory.
func BenchmarkMemory(b *testing.B) {
	const jobs = 100_000
	s := startServer(b)
	once(b, func() {
		for _, d := range []drainer{gofer(s, 0, queue.DefaultWorkers), peer(s, 1, queue.DefaultWorkers)} {
			d.fill(1) // connects, and whatever a queue has once
			s.settle()
			before := s.info("memory", "used_memory")
			d.fill(jobs)
			s.settle()
			used := s.info("memory", "used_memory") - before
			b.ReportMetric(float64(used)/jobs, d.name+"-B/job")
			s.flush()
		}
		b.ReportMetric(float64(len(goferPayload(s, 0))), "gofer-payload-B")
	})
}
