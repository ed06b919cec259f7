package status_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

var errDown = errors.New("connection refused")

// fake is a store that counts, and that can be made to fail or to hang. It is
// no store.Watcher.
type fake struct {
	store.Store

	mu      sync.Mutex
	batches [][]store.Op
	before  func(ctx context.Context) error
	after   func(results []store.Result) []store.Result
}

func newFake() *fake { return &fake{Store: store.NewMemory()} }

func (f *fake) Apply(ctx context.Context, ops []store.Op) ([]store.Result, error) {
	f.mu.Lock()
	f.batches = append(f.batches, ops)
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	results, err := f.Store.Apply(ctx, ops)
	if after != nil && err == nil {
		results = after(results)
	}
	return results, err
}

func (f *fake) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.batches)
}

func (f *fake) set(before func(ctx context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

func (f *fake) goDown() { f.set(func(context.Context) error { return errDown }) }

// hang makes every call wait for the end of its context, as if packets were
// dropped on the way.
func (f *fake) hang() {
	f.set(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
}

func (f *fake) recover() { f.set(nil) }

// hold makes every call wait until release, and lets pass those after it.
func (f *fake) hold() (release func()) {
	released := make(chan struct{})
	f.set(func(ctx context.Context) error {
		select {
		case <-released:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return func() { close(released) }
}

func setState(state status.State) func(*status.Record) {
	return func(r *status.Record) { r.State = state }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, tracker *status.Tracker, id string) status.Record {
	t.Helper()
	record, err := tracker.Get(t.Context(), id)
	must(t, err)
	return record
}

func expectState(t *testing.T, tracker *status.Tracker, id string, want status.State) {
	t.Helper()
	if got := get(t, tracker, id).State; got != want {
		t.Errorf("job %s is %s, want %s", id, got, want)
	}
}

func expectDropped(t *testing.T, tracker *status.Tracker, want int64) {
	t.Helper()
	if got := tracker.Dropped(); got != want {
		t.Errorf("%d updates were dropped, want %d", got, want)
	}
}
