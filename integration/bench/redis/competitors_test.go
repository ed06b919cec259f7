package redis_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/goferhq/queue/integration/bench"
)

// What is compared has to do the same: each job once, and leave none.
func TestDrainersDoEachJobOnce(t *testing.T) {
	t.Parallel()
	const jobs = 1000
	for name, open := range map[string]func(s *server) bench.Drainer{
		"gofer": func(s *server) bench.Drainer { return gofer(s, 0, 10) },
		"asynq": func(s *server) bench.Drainer { return peer(s, 0, 10) },
		"loop":  func(s *server) bench.Drainer { return loop(s, 0, 1) },
		"loop2": func(s *server) bench.Drainer { return loop(s, 0, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, visits := startServer(t), bench.NewVisits(jobs)
			bench.Drain(t, s, open(s), jobs, visits.Visit)
			if err := visits.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestProducersStoreEachJob(t *testing.T) {
	t.Parallel()
	const jobs = 1000
	s := startServer(t)
	for database, p := range producers(s) {
		if err := bench.Concurrently(50, jobs, p.Enqueue); err != nil {
			t.Fatal(err)
		}
		length, err := s.client(database).LLen(context.Background(), p.list).Result()
		if err != nil || length != jobs {
			t.Errorf("%s has stored %d jobs, want %d (%v)", p.Name, length, jobs, err)
		}
	}
}

func TestForeignJobsRun(t *testing.T) {
	t.Parallel()
	const jobs = 100
	s := startServer(t)
	d := gofer(s, 0, 10)
	d.Fill = func(n int) {
		for number := range n {
			if err := s.client(0).RPush(context.Background(), goferReady, foreignPayload(number)).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var sum atomic.Int64
	bench.Drain(t, s, d, jobs, func(number int) { sum.Add(int64(number)) })
	if want := int64(jobs * (jobs - 1) / 2); sum.Load() != want {
		t.Errorf("the numbers of the jobs add up to %d, want %d", sum.Load(), want)
	}
}

func TestEachWakerWakes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, w := range wakers() {
		t.Run(w.name, func(t *testing.T) {
			wait := startWaiting(s, w)
			defer wait.end()
			for range 20 {
				if latency := wait.push(); latency <= 0 {
					t.Fatalf("woke %v after the push", latency)
				}
			}
		})
	}
}
