package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/bench"
)

// storer is a producer and where its jobs are.
type storer struct {
	bench.Producer
	list string // grows by one element for each job
}

// producers returns those that are compared; each has the database of its
// place. rpush sends bytes that are made already, and is what cannot be done
// with less.
func producers(s *server) []storer {
	ctx := context.Background()
	q := bench.OpenGofer(s.tb, s.url(0), nil)
	s.tb.Cleanup(func() { q.Close() })
	other := asynqClient(s, 1)
	plain, payload := s.client(2), goferPayload(s, 2)
	return []storer{
		{bench.Producer{Name: "gofer", Enqueue: func(number int) error {
			return bench.EnqueueGofer(q, number)
		}}, goferReady},
		{bench.Producer{Name: "asynq", Enqueue: func(number int) error {
			return enqueueAsynq(other, number)
		}}, asynqPending},
		{bench.Producer{Name: "rpush", Enqueue: func(int) error {
			return plain.RPush(ctx, goferReady, payload).Err()
		}}, goferReady},
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
			var runners []bench.Runner
			for _, p := range producers(s) {
				enqueue := func() float64 {
					began := time.Now()
					if err := bench.Concurrently(c.goroutines, c.jobs, p.Enqueue); err != nil {
						b.Fatal(err)
					}
					return bench.PerSecond(c.jobs, time.Since(began))
				}
				enqueue() // connects
				runners = append(runners, bench.Runner{Name: p.Name, Turn: enqueue})
			}
			s.Flush()
			s.Settle()
			bench.Race(b, c.turns, runners...)
		})
	}
}

// BenchmarkMemory is what a ready job takes of the server's memory.
func BenchmarkMemory(b *testing.B) {
	const jobs = 100_000
	s := startServer(b)
	bench.Once(b, func() {
		for _, d := range []bench.Drainer{gofer(s, 0, queue.DefaultWorkers), peer(s, 1, queue.DefaultWorkers)} {
			d.Fill(1) // connects, and whatever a queue has once
			s.Settle()
			before := s.info("memory", "used_memory")
			d.Fill(jobs)
			s.Settle()
			used := s.info("memory", "used_memory") - before
			b.ReportMetric(float64(used)/jobs, d.Name+"-B/job")
			s.Flush()
		}
		b.ReportMetric(float64(len(goferPayload(s, 0))), "gofer-payload-B")
	})
}
