package bench_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// drainer is a competitor that does jobs.
type drainer struct {
	name string
	fill func(n int)  // adds the jobs 0 to n-1
	left func() int64 // jobs that are ready or running

	// worker returns what starts a worker, and what ends it. Each job calls
	// handle with its number.
	worker func(handle func(number int)) (start, stop func())
}

// patience is how long a competitor may take for all of its jobs.
const patience = 5 * time.Minute

// drain has d do n jobs, and returns how long that took from the start of its
// worker until Redis had been told of the last one's end. visit is called by
// each job with its number.
func drain(s *server, d drainer, n int, visit func(number int)) time.Duration {
	s.tb.Helper()
	s.flush()
	d.fill(n)
	if ready := d.left(); ready != int64(n) {
		s.tb.Fatalf("%s has %d jobs to begin with, want %d", d.name, ready, n)
	}
	s.settle()
	runtime.GC()

	var handled atomic.Int64
	last := make(chan struct{})
	start, stop := d.worker(func(number int) {
		visit(number)
		if handled.Add(1) == int64(n) {
			close(last)
		}
	})
	began := time.Now()
	start()
	defer stop()
	select {
	case <-last:
	case <-time.After(patience):
		s.tb.Fatalf("%s has done %d of %d jobs after %v", d.name, handled.Load(), n, patience)
	}
	for d.left() > 0 {
		if time.Since(began) > patience {
			s.tb.Fatalf("%s has not settled %d of %d jobs after %v", d.name, d.left(), n, patience)
		}
		time.Sleep(100 * time.Microsecond)
	}
	return time.Since(began)
}

// concurrently calls f with the numbers 0 to n-1, by a number of goroutines. It
// returns an error of any.
func concurrently(goroutines, n int, f func(number int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var running sync.WaitGroup
	for range goroutines {
		running.Go(func() {
			for failed.Load() == nil {
				number := int(next.Add(1)) - 1
				if number >= n {
					return
				}
				if err := f(number); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	running.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// BenchmarkDrain is the rate at which a backlog of jobs that do nothing is
// done. The loop has no number of workers: it is the same each time.
func BenchmarkDrain(b *testing.B) {
	const jobs = 50_000
	for _, workers := range []int{10, 50} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			s := startServer(b)
			var runners []runner
			for _, d := range []drainer{gofer(s, 0, workers), peer(s, 1, workers), loop(s, 2, 1), loop(s, 2, 2)} {
				runners = append(runners, runner{d.name, func() float64 {
					return perSecond(jobs, drain(s, d, jobs, func(int) {}))
				}})
			}
			race(b, 1, runners...)
		})
	}
}

// BenchmarkBacklog is the rate at which jobs are done from the head of a long
// queue and of a short one. Both are on the same server, and as many are taken
// from each.
func BenchmarkBacklog(b *testing.B) {
	const (
		long, short = 1_000_000, 10_000
		turns       = 10
	)
	s := startServer(b)
	payload := goferPayload(s, 0)
	var runners []runner
	for database, c := range []struct {
		name    string
		backlog int
	}{{"1M", long}, {"10k", short}} {
		client, left := s.client(database), gofer(s, database, queue.DefaultWorkers).left
		runners = append(runners, runner{c.name, func() float64 {
			addBacklog(b, client, payload, c.backlog-int(left()))
			s.settle()
			return perSecond(short, timeHead(s, database, short))
		}})
	}
	race(b, turns, runners...)
}

// timeHead returns how long a worker takes for the first n jobs.
func timeHead(s *server, database, n int) time.Duration {
	s.tb.Helper()
	var handled atomic.Int64
	last := make(chan time.Time, 1)
	q := openGofer(s.tb, s.url(database), func(int) {
		if handled.Add(1) == int64(n) {
			last <- time.Now()
		}
	})
	start, stop := goferWorker(s.tb, q)
	runtime.GC()
	began := time.Now()
	start()
	defer stop()
	select {
	case ended := <-last:
		return ended.Sub(began)
	case <-time.After(patience):
		s.tb.Fatalf("%d of %d jobs were done after %v", handled.Load(), n, patience)
		return 0
	}
}
