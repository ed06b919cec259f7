package bench

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Patience is how long a competitor may take for all of its jobs.
const Patience = 5 * time.Minute

// Server is the broker that the competitors share.
type Server interface {
	Flush()  // removes all jobs
	Settle() // returns when the writes of what was prepared slow nothing down
}

// Drainer is a competitor that does jobs.
type Drainer struct {
	Name string
	Fill func(n int)  // adds the jobs 0 to n-1
	Left func() int64 // jobs that are ready or running

	// Worker returns what starts a worker, and what ends it. Each job calls
	// handle with its number.
	Worker func(handle func(number int)) (start, stop func())
}

// Drain has d do n jobs, and returns how long that took from the start of its
// worker until the server had been told of the last one's end. visit is called
// by each job with its number.
func Drain(tb testing.TB, s Server, d Drainer, n int, visit func(number int)) time.Duration {
	tb.Helper()
	s.Flush()
	d.Fill(n)
	if ready := d.Left(); ready != int64(n) {
		tb.Fatalf("%s has %d jobs to begin with, want %d", d.Name, ready, n)
	}
	s.Settle()
	return d.time(tb, n, visit, func() {})
}

// Cycle has d add n jobs and do them at the same time, and returns how long
// that took, from the start of its worker until the server had been told of the
// last one's end.
func Cycle(tb testing.TB, s Server, d Drainer, n int, visit func(number int)) time.Duration {
	tb.Helper()
	s.Flush()
	s.Settle()
	return d.time(tb, n, visit, func() { d.Fill(n) })
}

// time returns how long it takes from the start of a worker until n jobs are
// done and settled. It calls fill when the worker has started.
func (d Drainer) time(tb testing.TB, n int, visit func(number int), fill func()) time.Duration {
	tb.Helper()
	runtime.GC()
	var handled atomic.Int64
	last := make(chan struct{})
	start, stop := d.Worker(func(number int) {
		visit(number)
		if handled.Add(1) == int64(n) {
			close(last)
		}
	})
	began := time.Now()
	start()
	defer stop()
	fill()
	select {
	case <-last:
	case <-time.After(Patience):
		tb.Fatalf("%s has done %d of %d jobs after %v", d.Name, handled.Load(), n, Patience)
	}
	for d.Left() > 0 {
		if time.Since(began) > Patience {
			tb.Fatalf("%s has not settled %d of %d jobs after %v", d.Name, d.Left(), n, Patience)
		}
		time.Sleep(100 * time.Microsecond)
	}
	return time.Since(began)
}

// Concurrently calls f with the numbers 0 to n-1, by a number of goroutines. It
// returns an error of any.
func Concurrently(goroutines, n int, f func(number int) error) error {
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
