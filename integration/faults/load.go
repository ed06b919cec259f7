package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// LoadWorkers is how many jobs a load runs at a time, unless its options say
// otherwise.
const LoadWorkers = 4

// The kinds of job of a load.
const (
	loadKind = "job"
	holdKind = "hold"
)

// Load is producers and workers in this process, which go on through whatever
// the test does to the broker. Each job is to run once.
type Load struct {
	t         testing.TB
	queue     *queue.Queue
	stop      context.CancelFunc // of the producers
	end       context.CancelFunc // of the workers
	producers sync.WaitGroup
	ended     chan error // of the workers

	mu       sync.Mutex // guards all below
	accepted map[string]bool
	runs     map[string][]int // attempts, by ID
	errors   map[string]int   // of Enqueue, by their text
	refused  int              // of those, how many had surely no effect
	holding  chan<- *Holder   // who waits for a job to be held
	held     map[string]bool  // jobs that were held
}

// StartLoad begins the load on a broker. The options are those of the queue,
// and come after the load's own.
func StartLoad(t testing.TB, url string, options ...queue.OpenOption) *Load {
	t.Helper()
	l := &Load{
		t: t, ended: make(chan error, 1),
		accepted: make(map[string]bool), runs: make(map[string][]int), errors: make(map[string]int), held: make(map[string]bool),
	}
	mux := new(queue.Mux)
	queue.RegisterOn(mux, loadKind, queue.HandlerFunc[string](l.run))
	queue.RegisterOn(mux, holdKind, queue.HandlerFunc[string](l.hold))
	q, err := queue.Open(t.Context(), url, append([]queue.OpenOption{
		queue.Handlers(mux), queue.Workers(LoadWorkers), queue.Logger(slog.New(slog.DiscardHandler)),
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
		l.producers.Go(func() { l.produce(producing, producer) })
	}
	t.Cleanup(func() {
		l.stop()
		l.end()
		q.Close()
		l.producers.Wait()
	})
	return l
}

// run is the handler of the load.
func (l *Load) run(_ context.Context, job *queue.Job[string]) error {
	time.Sleep(time.Millisecond)
	if job.Args != job.ID {
		l.t.Errorf("job %s was given the arguments of %s", job.ID, job.Args)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[job.ID] = append(l.runs[job.ID], job.Attempt)
	return nil
}

// produce enqueues one job after the other, each until it is accepted.
func (l *Load) produce(ctx context.Context, producer int) {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%d-%d", producer, i)
		for !l.enqueue(ctx, loadKind, id) && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Millisecond)
	}
}

// enqueue reports whether the broker has accepted a job.
func (l *Load) enqueue(ctx context.Context, kind, id string) bool {
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

// Enqueue enqueues one job besides those of the producers, and fails the test
// unless the broker accepts it.
func (l *Load) Enqueue(id string) {
	l.t.Helper()
	if !l.enqueue(l.t.Context(), loadKind, id) {
		l.t.Errorf("Enqueue: %v", l.Errors())
	}
}

// Done returns how many jobs have run.
func (l *Load) Done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.runs)
}

// AwaitProgress waits until so many more jobs have run.
func (l *Load) AwaitProgress(limit time.Duration, jobs int) {
	l.t.Helper()
	before := l.Done()
	Eventually(l.t, limit, func() error {
		if now := l.Done(); now < before+jobs {
			return fmt.Errorf("%d jobs have run, want %d", now-before, jobs)
		}
		return nil
	})
}

// StopProducing ends the producers, and returns when they have enqueued their
// last job.
func (l *Load) StopProducing() {
	l.stop()
	l.producers.Wait()
}

// Finish ends the load, and fails the test unless every accepted job has run,
// nothing is left in the broker, and there were at most so many runs besides
// the first of each job. How many an outage explains is for the test to say.
func (l *Load) Finish(extraRuns int) {
	l.t.Helper()
	l.StopProducing()
	inspector, _ := backend.As[backend.Inspector](l.queue.Backend())
	Eventually(l.t, Patience, func() error {
		stats, err := inspector.Stats(l.t.Context(), "default")
		l.mu.Lock()
		defer l.mu.Unlock()
		for id := range l.accepted {
			if l.runs[id] == nil {
				return fmt.Errorf("job %s was accepted and has not run; %d of %d have, and the server has %+v, %v", id, len(l.runs), len(l.accepted), stats, err)
			}
		}
		return nil
	})
	Eventually(l.t, Patience, func() error {
		stats, err := inspector.Stats(l.t.Context(), "default")
		// A broker that cannot tell a count has -1.
		stats.Scheduled, stats.Reserved = max(stats.Scheduled, 0), max(stats.Reserved, 0)
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
	for _, attempts := range l.runs {
		extra += len(attempts) - 1
	}
	if extra > extraRuns {
		l.t.Errorf("%d jobs have had %d runs more than one each, want at most %d", len(l.runs), extra, extraRuns)
	}
	l.t.Logf("%d jobs, %d extra runs; errors of Enqueue: %v", len(l.runs), extra, l.errors)
}

// ExpectOwnAttempts fails the test unless each run of a job was an attempt of
// its own, behind that of the run before. A broker that stores an Enqueue twice
// whose first reply was lost, or that loses count when it dies, cannot promise
// that; it is asked for after [Load.Finish].
func (l *Load) ExpectOwnAttempts() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, attempts := range l.runs {
		for i, attempt := range attempts {
			if i > 0 && attempt <= attempts[i-1] {
				l.t.Errorf("job %s has run as attempts %v", id, attempts)
			}
		}
	}
}

// Failures returns how many calls of Enqueue have failed, and how many of them
// with certainty that nothing was stored.
func (l *Load) Failures() (failed, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.errors {
		failed += n
	}
	return failed, l.refused
}

// Errors returns the texts of the errors of Enqueue, and how often there was
// each.
func (l *Load) Errors() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.errors)
}
