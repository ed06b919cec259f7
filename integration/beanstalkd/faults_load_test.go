package beanstalkd_test

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
// the test does to the server. Each job is to run once.
type load struct {
	t       testing.TB
	queue   *queue.Queue
	stop    context.CancelFunc // of the producers
	end     context.CancelFunc // of the workers
	running sync.WaitGroup
	ended   chan error // of the workers

	mu       sync.Mutex // guards all below
	accepted map[string]bool
	runs     map[string]int  // by ID
	errors   map[string]int  // of Enqueue, by their text
	refused  int             // of those, how many had surely no effect
	holding  chan<- holder   // who waits for the job "hold" to begin
	held     map[string]bool // jobs "hold" that were cancelled
}

// holder is a running handler that only the loss of its job ends.
type holder struct {
	job string
	ctx context.Context
}

// loadWorkers and loadPrefetch are how many jobs a load holds at a time. As many
// may be acked just then, and be lost with the ack.
const (
	loadWorkers  = 4
	loadPrefetch = 4
	mostInHand   = 2 * (loadWorkers + loadPrefetch)
)

// startLoad begins the load on a server. The options are those of the queue.
func startLoad(t testing.TB, address string, options ...queue.OpenOption) *load {
	t.Helper()
	l := &load{
		t: t, ended: make(chan error, 1),
		accepted: make(map[string]bool), runs: make(map[string]int), errors: make(map[string]int), held: make(map[string]bool),
	}
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "job", queue.HandlerFunc[string](l.run))
	queue.RegisterOn(mux, "hold", queue.HandlerFunc[string](l.hold))
	q, err := queue.Open(t.Context(), address, append([]queue.OpenOption{
		queue.Handlers(mux), queue.Workers(loadWorkers), queue.Prefetch(loadPrefetch),
		queue.Lease(30 * time.Second), queue.Logger(slog.New(slog.DiscardHandler)),
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

// run is the handler of the load.
func (l *load) run(_ context.Context, job *queue.Job[string]) error {
	time.Sleep(time.Millisecond)
	if job.Args != job.ID {
		l.t.Errorf("job %s was given the arguments of %s", job.ID, job.Args)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[job.ID]++
	return nil
}

// hold is a handler that does not return before its job is lost, and at once
// when it runs again.
func (l *load) hold(ctx context.Context, job *queue.Job[string]) error {
	l.mu.Lock()
	again, holding := l.held[job.ID], l.holding
	l.held[job.ID] = true
	l.mu.Unlock()
	if again {
		return l.run(ctx, job)
	}
	holding <- holder{job.ID, ctx}
	<-ctx.Done()
	return ctx.Err()
}

// holdOne enqueues a job that holds its worker, and waits until it does.
func (l *load) holdOne(id string) holder {
	l.t.Helper()
	began := make(chan holder, 1)
	l.mu.Lock()
	l.holding = began
	l.mu.Unlock()
	if !l.enqueue(l.t.Context(), "hold", id) {
		l.t.Fatalf("Enqueue: %v", l.errors)
	}
	select {
	case h := <-began:
		return h
	case <-time.After(patience):
		l.t.Fatalf("job %s has not begun", id)
		panic("unreachable")
	}
}

// expectLost fails the test unless the handler is told soon that its job is no
// longer its own.
func (h holder) expectLost(t testing.TB) {
	t.Helper()
	select {
	case <-h.ctx.Done():
		if cause := context.Cause(h.ctx); !errors.Is(cause, queue.ErrLeaseLost) {
			t.Errorf("the context of job %s ended with %v, want %v", h.job, cause, queue.ErrLeaseLost)
		}
	case <-time.After(prompt):
		t.Fatalf("the context of job %s goes on %v after the job was lost", h.job, prompt)
	}
}

// produce enqueues one job after the other, each until it is accepted.
func (l *load) produce(ctx context.Context, producer int) {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%d-%d", producer, i)
		for !l.enqueue(ctx, "job", id) && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Millisecond)
	}
}

// enqueue reports whether the server has accepted a job.
func (l *load) enqueue(ctx context.Context, kind, id string) bool {
	_, err := l.queue.Enqueue(context.WithoutCancel(ctx), kind, id, queue.ID(id))
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
// and none more often than once but for what so many outages explain: of the
// jobs that were in hand, and of an Enqueue whose error left open what the
// server did.
func (l *load) finish(outages int) {
	l.t.Helper()
	l.stop()
	l.running.Wait()
	inspector, _ := backend.As[backend.Inspector](l.queue.Backend())
	eventually(l.t, patience, func() error {
		stats, err := inspector.Stats(l.t.Context(), "default")
		l.mu.Lock()
		defer l.mu.Unlock()
		for id := range l.accepted {
			if l.runs[id] == 0 {
				return fmt.Errorf("job %s was accepted and has not run; %d of %d have, and the server has %+v, %v", id, len(l.runs), len(l.accepted), stats, err)
			}
		}
		return nil
	})
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
	failed, refused := l.failures()
	l.mu.Lock()
	defer l.mu.Unlock()
	extra := 0
	for _, runs := range l.runs {
		extra += runs - 1
	}
	if most := outages*mostInHand + failed - refused; extra > most {
		l.t.Errorf("%d jobs have had %d runs more than one each, want at most %d", len(l.runs), extra, most)
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
