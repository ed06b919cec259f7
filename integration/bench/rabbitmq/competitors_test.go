package rabbitmq_test

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
	for _, d := range workers(s, gofer, 10) {
		visits := bench.NewVisits(someJobs)
		bench.Drain(t, s, d, someJobs, visits.Visit)
		expectDone(t, s, d, visits)
	}
}

func TestCyclersDoEachJobOnce(t *testing.T) {
	t.Parallel()
	for name, ours := range map[string]func(s *server, workers int) bench.Drainer{"batches": gofer, "singles": goferSingles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			for _, d := range workers(s, ours, 10) {
				visits := bench.NewVisits(someJobs)
				bench.Cycle(t, s, d, someJobs, visits.Visit)
				expectDone(t, s, d, visits)
			}
		})
	}
}

// expectDone fails the test unless the worker, which has ended, has done each
// job once and left none that it had not acknowledged.
func expectDone(t *testing.T, s *server, d bench.Drainer, visits *bench.Visits) {
	t.Helper()
	s.Settle() // what it held is ready again
	if n := d.Left(); n != 0 {
		t.Errorf("%s has left %d jobs", d.Name, n)
	}
	if err := visits.Err(); err != nil {
		t.Errorf("%s: %v", d.Name, err)
	}
}

func TestEnqueuersStoreEachJob(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, e := range enqueuers(s) {
		if err := e.enqueue(someJobs); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		if n := s.left(e.queue); n != someJobs {
			t.Errorf("%s has stored %d jobs, want %d", e.name, n, someJobs)
		}
	}
}

func TestFlushLeavesNoJob(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	all := enqueuers(s)
	for _, e := range all {
		if err := e.enqueue(someJobs); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
	}
	s.Flush()
	for _, e := range all {
		if n := s.left(e.queue); n != 0 {
			t.Errorf("%s has %d jobs", e.name, n)
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
		stop()
		s.Settle()
		for _, queue := range s.queues {
			if n := s.left(queue); n != 0 {
				t.Errorf("%s has left %d jobs", w.name, n)
			}
		}
		if err := visits.Err(); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
	}
}
