package redis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// load is producers and workers in this process, which go on through whatever
// the test does to the server. Each job is to run once, and each run has to be
// an attempt of its own.
type load struct {
	t       testing.TB
	queue   *queue.Queue
	stop    context.CancelFunc // of the producers
	end     context.CancelFunc // of the workers
	running sync.WaitGroup
	ended   chan error // of the workers

	mu       sync.Mutex // guards all below
	accepted map[string]bool
	runs     map[string][]int // attempts, by ID
	errors   map[string]int   // of Enqueue, by their text
	refused  int              // of those, how many had surely no effect
}

// startLoad begins the load on a server. The options are those of the workers.
func startLoad(t testing.TB, address string, options ...queue.OpenOption) *load {
	t.Helper()
	l := &load{
		t: t, ended: make(chan error, 1),
		accepted: make(map[string]bool), runs: make(map[string][]int), errors: make(map[string]int),
	}
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "job", queue.HandlerFunc[int](func(_ context.Context, job *queue.Job[int]) error {
		time.Sleep(time.Millisecond)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.runs[job.ID] = append(l.runs[job.ID], job.Attempt)
		return nil
	}))
	q, err := queue.Open(t.Context(), address, append([]queue.OpenOption{
		queue.Handlers(mux), queue.Workers(4), queue.Lease(10 * time.Second), queue.Logger(slog.New(slog.DiscardHandler)),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	l.queue = q
	var producing, working context.Context
	producing, l.stop = context.WithCancel(t.Context())
	working, l.end = context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { l.ended <- q.Run(working) }()
	for producer := range 4 {
		l.running.Go(func() { l.produce(producing, producer) })
	}
	t.Cleanup(func() {
		l.stop()
		l.end()
		q.Close()
		l.running.Wait()
	})
	return l
}

// produce enqueues one job after the other, each until it is accepted.
func (l *load) produce(ctx context.Context, producer int) {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%d-%d", producer, i)
		for !l.enqueue(ctx, id) && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Millisecond)
	}
}

// enqueue reports whether the server has accepted a job.
func (l *load) enqueue(ctx context.Context, id string) bool {
	_, err := l.queue.Enqueue(context.WithoutCancel(ctx), "job", 0, queue.ID(id))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.accepted[id] = true
		return true
	}
	l.errors[err.Error()]++
	if errors.Is(err, queue.ErrUnavailable) {
		l.refused++
	}
	return false
}

// done returns how many jobs have run.
func (l *load) done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.runs)
}

// awaitProgress waits until so many more jobs have run.
func (l *load) awaitProgress(limit time.Duration, jobs int) {
	l.t.Helper()
	before := l.done()
	eventually(l.t, limit, func() error {
		if now := l.done(); now < before+jobs {
			return fmt.Errorf("%d jobs have run, want %d", now-before, jobs)
		}
		return nil
	})
}

// finish ends the load, and fails the test unless every accepted job has run,
// each attempt once, and none more often than once but for what the test
// allows.
func (l *load) finish(extraRuns int) {
	l.t.Helper()
	l.stop()
	l.running.Wait()
	eventually(l.t, patience, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for id := range l.accepted {
			if l.runs[id] == nil {
				return fmt.Errorf("job %s was accepted and has not run; %d of %d have", id, len(l.runs), len(l.accepted))
			}
		}
		return nil
	})
	inspector, _ := backend.As[backend.Inspector](l.queue.Backend())
	eventually(l.t, patience, func() error {
		stats, err := inspector.Stats(l.t.Context(), "default")
		if err == nil && stats != (backend.Stats{Queue: "default"}) {
			err = fmt.Errorf("the server has %+v", stats)
		}
		return err
	})
	l.end()
	if err := <-l.ended; err != nil {
		l.t.Errorf("Run: %v", err)
	}
	if err := l.queue.Close(); err != nil {
		l.t.Errorf("Close: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	extra := 0
	for id, attempts := range l.runs {
		extra += len(attempts) - 1
		for i, attempt := range attempts {
			if i > 0 && attempt <= attempts[i-1] {
				l.t.Errorf("job %s has run as attempts %v", id, attempts)
			}
		}
	}
	if extra > extraRuns {
		l.t.Errorf("%d jobs have had %d runs more than one each, want at most %d", len(l.runs), extra, extraRuns)
	}
	l.t.Logf("%d jobs, %d extra runs; errors of Enqueue: %v", len(l.runs), extra, l.errors)
}

// failures returns how many calls of Enqueue have failed, and how many of them
// with certainty that nothing was stored.
func (l *load) failures() (failed, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.errors {
		failed += n
	}
	return failed, l.refused
}
