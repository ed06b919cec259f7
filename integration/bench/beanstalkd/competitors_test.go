package beanstalkd_test

import (
	"testing"
	"time"

	"github.com/goferhq/queue/integration/bench"
)

// What is compared has to do the same: each job once, and leave none.

// someJobs is not a whole number of batches.
const someJobs = 1010

func TestDrainersDoEachJobOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, d := range drainers(s, 10) {
		visits := bench.NewVisits(someJobs)
		bench.Drain(t, s, d, someJobs, visits.Visit)
		if err := visits.Err(); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
}

func TestCyclersDoEachJobOnce(t *testing.T) {
	t.Parallel()
	for name, singly := range map[string]bool{"batches": false, "singles": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			for _, d := range cyclers(s, 10, singly) {
				visits := bench.NewVisits(someJobs)
				bench.Cycle(t, s, d, someJobs, visits.Visit)
				if err := visits.Err(); err != nil {
					t.Errorf("%s: %v", d.Name, err)
				}
			}
		})
	}
}

func TestPuttersStoreEachJob(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, p := range putters(s) {
		if err := p.put(someJobs); err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		if n := s.left(p.tube); n != someJobs {
			t.Errorf("%s has stored %d jobs, want %d", p.name, n, someJobs)
		}
	}
}

func TestWaitersDoEachJobOnce(t *testing.T) {
	t.Parallel()
	const jobs = 100
	s := startServer(t)
	for _, w := range waiters(s) {
		visits := bench.NewVisits(jobs)
		done := make(chan struct{}, jobs)
		start, stop := w.worker(func(number int) {
			visits.Visit(number)
			done <- struct{}{}
		})
		start()
		for number := range jobs {
			if err := w.put(number); err != nil {
				t.Fatalf("%s: %v", w.name, err)
			}
		}
		late := time.After(bench.Patience)
		for number := range jobs {
			select {
			case <-done:
			case <-late:
				t.Fatalf("%s has done %d of %d jobs after %v", w.name, number, jobs, bench.Patience)
			}
		}
		for s.busy() {
			select {
			case <-late:
				t.Fatalf("%s has left jobs after %v", w.name, bench.Patience)
			case <-time.After(time.Millisecond):
			}
		}
		stop()
		if err := visits.Err(); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
	}
}
