package faults

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// Holder is a handler of a load that only the loss of its job ends. It shows
// that a worker is told of a loss at once, and does not wait for the lease.
type Holder struct {
	job string
	ctx context.Context
}

// HoldOne enqueues a job whose first run holds its worker, and waits until it
// does.
func (l *Load) HoldOne(id string) *Holder {
	l.t.Helper()
	began := make(chan *Holder, 1)
	l.mu.Lock()
	l.holding = began
	l.mu.Unlock()
	if !l.enqueue(l.t.Context(), holdKind, id) {
		l.t.Fatalf("Enqueue: %v", l.Errors())
	}
	select {
	case h := <-began:
		return h
	case <-time.After(Patience):
		l.t.Fatalf("job %s has not begun", id)
		panic("unreachable")
	}
}

// hold is a handler that does not return before its job is lost, and at once
// when it runs again.
func (l *Load) hold(ctx context.Context, job *queue.Job[string]) error {
	l.mu.Lock()
	again, holding := l.held[job.ID], l.holding
	l.held[job.ID] = true
	l.mu.Unlock()
	if again {
		return l.run(ctx, job)
	}
	holding <- &Holder{job.ID, ctx}
	<-ctx.Done()
	return ctx.Err()
}

// Holds reports whether the job has not been lost so far as its handler knows.
func (h *Holder) Holds() bool { return h.ctx.Err() == nil }

// ExpectLost fails the test unless the handler is told soon that its job is no
// longer its own.
func (h *Holder) ExpectLost(t testing.TB) {
	t.Helper()
	select {
	case <-h.ctx.Done():
		if cause := context.Cause(h.ctx); !errors.Is(cause, queue.ErrLeaseLost) {
			t.Errorf("the context of job %s ended with %v, want %v", h.job, cause, queue.ErrLeaseLost)
		}
	case <-time.After(Prompt):
		t.Fatalf("the context of job %s goes on %v after the job was lost", h.job, Prompt)
	}
}
