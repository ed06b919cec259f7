package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// leaveNothing fails the test when f leaves goroutines behind.
func leaveNothing(t *testing.T, f func()) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	f()
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
}

// busy returns a backend that does all it can do: it waits for jobs, holds one
// and has others scheduled.
func busy(t *testing.T, address string) (b backend.Backend, reserving <-chan error) {
	t.Helper()
	b, err := backend.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	delayed := faults.Message("delayed")
	delayed.Delay = time.Hour
	if err := b.Push(t.Context(), []*backend.Message{faults.Message("held"), delayed}); err != nil {
		t.Fatal(err)
	}
	faults.Reserve(t, b, time.Hour, faults.Patience)
	result := make(chan error, 1)
	go func() {
		_, err := b.Reserve(context.Background(), []string{"default", "other", backend.AllQueues}, 1, time.Hour)
		result <- err
	}()
	return b, result
}

// expectClosed fails the test unless Close returns in time and nil, and the
// call of Reserve that waits ends with it.
func expectClosed(t *testing.T, b backend.Backend, reserving <-chan error) {
	t.Helper()
	began := time.Now()
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() { errs <- b.Close() }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close once more: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
	select {
	case err := <-reserving:
		if !errors.Is(err, backend.ErrClosed) {
			t.Errorf("the Reserve that waited: %v; want %v", err, backend.ErrClosed)
		}
	default:
		t.Error("the Reserve that waited goes on after Close")
	}
	if err := b.Push(context.Background(), []*backend.Message{faults.Message("late")}); !errors.Is(err, backend.ErrClosed) {
		t.Errorf("Push after Close: %v; want %v", err, backend.ErrClosed)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	server, client := server(t)
	leaveNothing(t, func() {
		b, reserving := busy(t, server.URL())
		awaitIdle(t, client, 2)
		expectClosed(t, b, reserving)
	})
	awaitIdle(t, client, 0)
	expectCounts(t, client, counts{reserved: 1, later: 1})
	expectNothingLeft(t, client)
}

func TestCloseLeavesNothingBehindWhenTheServerDoesNotAnswer(t *testing.T) {
	server, client := server(t)
	leaveNothing(t, func() {
		b, reserving := busy(t, server.URL())
		awaitIdle(t, client, 2)
		server.Stop()
		defer server.Continue()
		expectClosed(t, b, reserving)
	})
	// It does what it was asked to before, and is not left with the waiters.
	awaitIdle(t, client, 0)
	settledCounts(t, client, counts{reserved: 1, later: 1})
}

func TestCloseLeavesNothingBehindWhenTheServerIsGone(t *testing.T) {
	server, client := server(t)
	leaveNothing(t, func() {
		b, reserving := busy(t, server.URL())
		awaitIdle(t, client, 2)
		server.Kill()
		// The driver may have told the caller before it was closed.
		if err := <-reserving; err == nil {
			t.Error("Reserve of a dead server succeeded")
		}
		ended := make(chan error, 1)
		ended <- backend.ErrClosed
		expectClosed(t, b, ended)
	})
}

// Backends that are opened, wait for a job and are closed again, all at once,
// while jobs come in: what lands at one that is being closed is for another.
func TestJobsThatLandDuringCloseAreNotLost(t *testing.T) {
	server, client := server(t)
	cycles := 150
	if testing.Short() {
		cycles = 30
	}
	const closers = 3
	delivered := make(map[string]int)
	var mu sync.Mutex // guards delivered
	producer := faults.Open(t, server.URL())
	// The backend that has reserved a job may be closed before it can settle it.
	deliver := func(deliveries []*backend.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		for _, d := range deliveries {
			delivered[d.ID]++
			if d.Attempt != 1 || d.Deliveries != 1 {
				t.Errorf("job %s: attempt %d, delivery %d; want the first of each", d.ID, d.Attempt, d.Deliveries)
			}
		}
		if err := producer.Ack(context.Background(), deliveries); err != nil {
			t.Errorf("Ack: %v", err)
		}
	}
	stop := make(chan struct{})
	var pushed int
	var pushing, closing sync.WaitGroup
	pushing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if err := producer.Push(context.Background(), []*backend.Message{faults.Message(fmt.Sprint(pushed))}); err != nil {
				t.Error(err)
				return
			}
			pushed++
		}
	})
	for closer := range closers {
		closing.Go(func() {
			for cycle := range cycles {
				b, err := backend.Open(context.Background(), server.URL())
				if err != nil {
					t.Error(err)
					return
				}
				var reserving sync.WaitGroup
				reserving.Go(func() {
					for {
						deliveries, err := b.Reserve(context.Background(), []string{"default"}, 2, time.Hour)
						if errors.Is(err, backend.ErrClosed) {
							return
						}
						if err != nil {
							t.Errorf("Reserve: %v", err)
							return
						}
						deliver(deliveries)
					}
				})
				time.Sleep(time.Duration((cycle*7+closer*3)%20) * time.Millisecond)
				if err := b.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				reserving.Wait()
			}
		})
	}
	closing.Wait()
	close(stop)
	pushing.Wait()

	last := faults.Open(t, server.URL())
	for count(t, client) != (counts{}) {
		ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
		deliveries, err := last.Reserve(ctx, []string{"default"}, 100, time.Hour)
		cancel()
		if err != nil {
			t.Fatalf("%v; the server has %+v", err, count(t, client))
		}
		deliver(deliveries)
	}
	if len(delivered) != pushed {
		t.Errorf("%d jobs were delivered, want %d", len(delivered), pushed)
	}
	for id, times := range delivered {
		if times != 1 {
			t.Errorf("job %s was delivered %d times", id, times)
		}
	}
}
