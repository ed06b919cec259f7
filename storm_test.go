package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/retry"
)

// A storm is the short life of a queue, at random: handlers of all manners,
// several Runs, Close at any moment. Each Run has to end within its grace and
// a second, and no goroutine may be left.
const storms = 200

// TestStormsInRealTimeLeaveNothingBehind has several storms at a time on a
// machine that may be busy with other tests, and so it bears with late timers.
func TestStormsInRealTimeLeaveNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const atOnce, late = 8, 5 * time.Second
	next := make(chan uint64)
	var done sync.WaitGroup
	for range atOnce {
		done.Go(func() {
			for i := range next {
				storm(t, rand.New(rand.NewPCG(seed, i)), late)
			}
		})
	}
	for i := range uint64(storms) {
		next <- i
	}
	close(next)
	done.Wait()
}

// TestStormsInABubbleEndOnTime has storms where time is exact. A bubble fails
// by itself when a goroutine is left.
func TestStormsInABubbleEndOnTime(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(storms) {
		bubble(t, func(t *testing.T) { storm(t, rand.New(rand.NewPCG(seed, i)), 0) })
	}
}

func storm(t *testing.T, r *rand.Rand, late time.Duration) {
	grace := time.Duration(r.IntN(20)) * time.Millisecond
	mux := new(queue.Mux)
	q := queue.New(memory.New(), queue.Handlers(mux), queue.Logger(nil), queue.Shutdown(grace),
		queue.Workers(1+r.IntN(8)), queue.Prefetch(r.IntN(8)), queue.Lease(time.Duration(3+r.IntN(100))*time.Millisecond))
	released := make(chan bool) // what ends the handlers that ignore their context
	registerMenagerie(mux, q, released)

	var all sync.WaitGroup
	var acting sync.WaitGroup
	for range 1 + r.IntN(4) { // producers
		n, seed := r.IntN(50), r.Uint64()
		acting.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for range n {
				kind := menagerie[r.IntN(len(menagerie))]
				_, err := q.Enqueue(context.Background(), kind, r.IntN(5), queue.In(time.Duration(r.IntN(3))*time.Millisecond))
				if err != nil && !errors.Is(err, queue.ErrClosed) {
					t.Errorf("Enqueue: %v", err)
				}
			}
		})
	}
	for range 1 + r.IntN(4) { // runs, at once and one after the other
		lasts := time.Duration(r.IntN(20)) * time.Millisecond
		starts := time.Duration(r.IntN(20)) * time.Millisecond
		acting.Go(func() {
			time.Sleep(starts)
			runFor(t, q, lasts, grace, late)
		})
	}
	closes := time.Duration(r.IntN(50)) * time.Millisecond
	for range r.IntN(3) {
		all.Go(func() {
			time.Sleep(closes)
			if err := q.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	acting.Wait()
	close(released)
	all.Wait()
	if err := q.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// runFor runs q for a while and checks how that ends.
func runFor(t *testing.T, q *queue.Queue, lasts, grace, late time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	start := time.Now()
	err := q.Run(ctx)
	took := time.Since(start)
	if took > lasts+grace+time.Second+late {
		t.Errorf("a Run of %v with a grace of %v took %v", lasts, grace, took)
	}
	if err != nil && !errors.Is(err, queue.ErrDrainTimeout) && !errors.Is(err, queue.ErrRunning) && !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
}

var menagerie = []string{"noop", "fail", "panic", "exit", "sleep", "obey", "ignore", "enqueue", "snooze", "bury", "unknown"}

// registerMenagerie registers handlers of all manners.
func registerMenagerie(mux *queue.Mux, q *queue.Queue, released chan bool) {
	add := func(kind string, f handlerFunc) {
		queue.RegisterOn(mux, kind, queue.HandlerFunc[int](f), queue.Retry(retry.Fixed(time.Millisecond)), queue.MaxAttempts(3))
	}
	add("noop", func(context.Context, *queue.Job[int]) error { return nil })
	add("fail", func(context.Context, *queue.Job[int]) error { return errors.New("no") })
	add("panic", func(context.Context, *queue.Job[int]) error { panic("boom") })
	add("exit", func(context.Context, *queue.Job[int]) error { runtime.Goexit(); return nil })
	add("sleep", func(_ context.Context, job *queue.Job[int]) error {
		time.Sleep(time.Duration(job.Args) * time.Millisecond)
		return nil
	})
	add("obey", func(ctx context.Context, job *queue.Job[int]) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(job.Args) * 10 * time.Millisecond):
			return nil
		}
	})
	add("ignore", func(_ context.Context, job *queue.Job[int]) error {
		if job.Args == 0 {
			<-released
		}
		return nil
	})
	add("enqueue", func(ctx context.Context, job *queue.Job[int]) error {
		_, err := q.Enqueue(ctx, "sleep", job.Args)
		return err
	})
	add("snooze", func(_ context.Context, job *queue.Job[int]) error {
		if job.Args < 2 {
			return queue.Snooze(time.Millisecond)
		}
		return nil
	})
	add("bury", func(context.Context, *queue.Job[int]) error { return queue.Bury(fmt.Errorf("no")) })
}
