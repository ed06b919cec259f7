package beanstalkd_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/goferhq/queue/integration/bench"
)

// The loops are what one would write by hand for jobs that do nothing: all that
// goes to the server goes a hundred commands at a time, and nothing is lost.
// They have no retries, no workers beside themselves, no middleware, and a job
// is its arguments alone. What a library can reach is measured by them.

// loopTube is where the jobs of the loops are.
const loopTube = "loop"

// bodyOf returns a job as the loops and the library put it.
func bodyOf(number int) []byte {
	body, err := json.Marshal(bench.ArgumentsOf(number))
	if err != nil {
		panic(err) // of numbers and texts
	}
	return body
}

// visitor returns what decodes a job and calls handle with its number.
func visitor(handle func(number int)) func(body []byte) error {
	return func(body []byte) error {
		var a bench.Arguments
		if err := json.Unmarshal(body, &a); err != nil {
			return fmt.Errorf("not a job of the benchmark: %w", err)
		}
		handle(a.Place())
		return nil
	}
}

// loop is one connection that puts, and another one that reserves and deletes.
func loop(s *server) bench.Drainer {
	producer := s.connect(loopTube)
	s.tb.Cleanup(producer.close)
	return bench.Drainer{
		Name: "loop",
		Fill: func(n int) {
			if err := producer.putAll(n, bodyOf); err != nil {
				s.tb.Fatal(err)
			}
		},
		Worker: func(handle func(number int)) (start, stop func()) {
			return loopWorker(s, loopTube, batch, handle)
		},
		Left: func() int64 { return s.left(loopTube) },
	}
}

// loopWorker returns what starts a goroutine that does the jobs of a tube, up to
// n at a time, and what ends it.
func loopWorker(s *server, tube string, n int, handle func(number int)) (start, stop func()) {
	var running sync.WaitGroup
	var ended atomic.Bool
	w := s.connect(tube)
	start = func() {
		running.Go(func() {
			if err := w.work(n, visitor(handle)); !ended.Load() {
				s.tb.Errorf("%s: %v", tube, err)
			}
		})
	}
	stop = func() {
		ended.Store(true)
		w.close()
		running.Wait()
	}
	return start, stop
}

// cycle is one connection that puts a batch of jobs, reserves them and deletes
// them, a write each, before it puts the next.
func cycle(s *server) bench.Drainer {
	d := loop(s)
	var visit func(body []byte) error
	d.Fill = func(n int) {
		w := s.connect(loopTube)
		defer w.close()
		for first := 0; first < n; first += batch {
			if err := w.cycle(first, min(first+batch, n), visit); err != nil {
				s.tb.Fatal(err)
			}
		}
	}
	// The connection that puts does all of the work.
	d.Worker = func(handle func(number int)) (start, stop func()) {
		visit = visitor(handle)
		return func() {}, func() {}
	}
	return d
}

// cycle does that with the jobs first to end-1.
func (w *wire) cycle(first, end int, visit func(body []byte) error) error {
	if err := w.put(first, end, bodyOf); err != nil {
		return err
	}
	ids, err := w.reserve(end-first, 0, visit)
	if err != nil {
		return err
	}
	if len(ids) != end-first {
		return fmt.Errorf("%d of %d jobs were reserved", len(ids), end-first)
	}
	return w.delete(ids)
}
