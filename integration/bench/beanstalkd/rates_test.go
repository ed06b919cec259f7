package beanstalkd_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/goferhq/queue/integration/bench"
)

// goroutines is how many put jobs one by one, at the same time.
const goroutines = 50

// putter is a competitor that enqueues jobs.
type putter struct {
	name string
	tube string            // where its jobs are
	put  func(n int) error // puts the jobs 0 to n-1
}

// putters returns those that are compared. raw puts bytes that are made
// already, a hundred in one write, and is what cannot be done with less. The
// others put jobs one by one.
func putters(s *server) []putter {
	const rawTube = "raw"
	w := s.connect(rawTube)
	s.tb.Cleanup(w.close)
	body := bodyOf(0)
	singly := func(tube string, p bench.Producer) putter {
		return putter{p.Name, tube, func(n int) error { return bench.Concurrently(goroutines, n, p.Enqueue) }}
	}
	return []putter{
		singly(goferTube, goferProducer(s)),
		{"raw", rawTube, func(n int) error { return w.putAll(n, func(int) []byte { return body }) }},
		singly(libraryTube, libraryProducer(s)),
	}
}

// BenchmarkPut is the rate at which jobs are put one by one.
func BenchmarkPut(b *testing.B) {
	const (
		jobs  = 20_000
		turns = 3
	)
	s := startServer(b)
	var runners []bench.Runner
	for _, p := range putters(s) {
		put := func(n int) time.Duration {
			s.Flush()
			s.Settle()
			runtime.GC()
			began := time.Now()
			if err := p.put(n); err != nil {
				b.Fatal(err)
			}
			return time.Since(began)
		}
		put(1) // connects
		runners = append(runners, bench.Runner{Name: p.name, Turn: func() float64 {
			return bench.PerSecond(jobs, put(jobs))
		}})
	}
	bench.Race(b, turns, runners...)
}

// drainers returns those that are compared. The others have no number of
// workers: they are the same each time.
func drainers(s *server, workers int) []bench.Drainer {
	return []bench.Drainer{gofer(s, workers), loop(s), library(s)}
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
			for _, d := range drainers(s, c.workers) {
				runners = append(runners, bench.Runner{Name: d.Name, Turn: func() float64 {
					return bench.PerSecond(c.jobs, bench.Drain(b, s, d, c.jobs, func(int) {}))
				}})
			}
			bench.Race(b, c.turns, runners...)
		})
	}
}

// cyclers returns those whose producer and worker are compared at the same
// time. This library enqueues batches, or jobs one by one.
func cyclers(s *server, workers int, singly bool) []bench.Drainer {
	two := loop(s)
	two.Name = "loop2"
	ours := gofer
	if singly {
		ours = goferSingles
	}
	return []bench.Drainer{ours(s, workers), cycle(s), two, library(s)}
}

// BenchmarkCycle is the rate at which jobs that do nothing are put, reserved
// and deleted, all at the same time.
func BenchmarkCycle(b *testing.B) {
	const (
		jobs  = 20_000
		turns = 3
	)
	for _, c := range []struct {
		name   string
		singly bool
	}{{"batches", false}, {"singles", true}} {
		for _, workers := range []int{10, 50} {
			b.Run(fmt.Sprintf("%s/workers=%d", c.name, workers), func(b *testing.B) {
				s := startServer(b)
				var runners []bench.Runner
				for _, d := range cyclers(s, workers, c.singly) {
					runners = append(runners, bench.Runner{Name: d.Name, Turn: func() float64 {
						return bench.PerSecond(jobs, bench.Cycle(b, s, d, jobs, func(int) {}))
					}})
				}
				bench.Race(b, turns, runners...)
			})
		}
	}
}
