package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
	"github.com/goferhq/queue/store"
)

// expectDuplicate fails the test unless a job is refused for that of holder.
func (w *workshop) expectDuplicate(holder, kind string, args any, options ...queue.Option) {
	w.t.Helper()
	id, err := w.queue.Enqueue(w.t.Context(), kind, args, options...)
	if !errors.Is(err, queue.ErrDuplicate) || id != holder {
		w.t.Errorf("got %q, %v, want ErrDuplicate and the ID of the holder, %q", id, err, holder)
	}
}

func TestADuplicateIsRefusedWithTheIDOfTheHolder(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		unique := queue.Unique(time.Hour)
		holder := w.enqueue("greet", 1, unique)
		w.expectDuplicate(holder, "greet", 1, unique)
		w.expectDuplicate(holder, "greet", 1, unique, queue.In(time.Minute))
		w.stored()
		// What differs is no duplicate.
		w.enqueue("greet", 2, unique)
		w.enqueue("other", 1, unique)
		w.enqueue("greet", 1, unique, queue.On("other"))
		// Nor is what does not ask.
		w.enqueue("greet", 1)
	})
}

func TestTheLengthsKeepQueueAndKindApart(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		w.enqueue("c", 1, queue.Unique(time.Hour), queue.On("ab"))
		w.enqueue("bc", 1, queue.Unique(time.Hour), queue.On("a"))
	})
}

func TestUniqueByGoesByItsKeyAlone(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		holder := w.enqueue("greet", 1, queue.UniqueBy("user 7", time.Hour))
		w.expectDuplicate(holder, "other", 2, queue.UniqueBy("user 7", time.Minute), queue.On("elsewhere"))
		w.enqueue("greet", 1, queue.UniqueBy("user 8", time.Hour))
		w.enqueue("greet", 1, queue.Unique(time.Hour)) // has another lock
	})
}

func TestUniqueAsTheDefaultOfAKind(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		kind := handle(w, "greet", nothing[int], queue.Unique(time.Hour))
		holder := w.enqueue("greet", 1)
		w.expectDuplicate(holder, "greet", 1)
		if id, err := kind.Enqueue(t.Context(), w.queue, 1); !errors.Is(err, queue.ErrDuplicate) || id != holder {
			t.Errorf("got %q, %v", id, err)
		}
	})
}

func TestTheLockIsReleasedWhenTheJobIsOver(t *testing.T) {
	for name, err := range map[string]error{
		"done": nil, "cancelled": queue.Cancel(nil), "buried": queue.Bury(errNoLuck), "out of attempts": errNoLuck,
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				proceed := make(chan bool)
				handle(w, "greet", func(context.Context, *queue.Job[int]) error {
					<-proceed
					return err
				}, queue.Retry(retry.Never()), queue.Unique(time.Hour))
				holder := w.enqueue("greet", 1)
				w.run()
				w.expectDuplicate(holder, "greet", 1) // it runs
				proceed <- true
				synctest.Wait()
				w.enqueue("greet", 1)
				close(proceed)
			})
		})
	}
}

func TestTheLockIsKeptThroughRetriesAndSnoozes(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		ends := []error{queue.Snooze(time.Minute), errNoLuck, queue.RetryIn(time.Minute, nil), nil}
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			err := ends[0]
			ends = ends[1:]
			return err
		}, queue.Retry(retry.Fixed(time.Minute)), queue.Unique(time.Hour))
		holder := w.enqueue("greet", 1)
		w.run()
		for range 3 {
			w.expectDuplicate(holder, "greet", 1)
			pass(time.Minute)
		}
		w.enqueue("greet", 1, queue.In(time.Hour))
	})
}

func TestTheLockExpires(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		holder := w.enqueue("greet", 1, queue.Unique(time.Minute), queue.In(time.Hour))
		pass(time.Minute - 1)
		w.expectDuplicate(holder, "greet", 1, queue.Unique(time.Minute))
		pass(1)
		second := w.enqueue("greet", 1, queue.Unique(2*time.Hour), queue.In(3*time.Hour))
		// The end of the first job does not release the lock of the second.
		handle(w, "greet", nothing[int])
		w.run()
		pass(time.Hour)
		w.expectDuplicate(second, "greet", 1, queue.Unique(time.Hour))
	})
}

func TestTheSameIDAgainIsNotADuplicateOfItself(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		for range 2 { // as after a lost reply
			if id := w.enqueue("greet", 1, queue.ID("42"), queue.Unique(time.Hour)); id != "42" {
				t.Errorf("the ID is %q", id)
			}
		}
		w.stored()
	})
}

func TestUniqueInsideABatch(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		kind := queue.Define[int]("greet", queue.Unique(time.Hour))
		ids, err := kind.EnqueueMany(t.Context(), w.queue, []int{1, 2, 1})
		batch, ok := errors.AsType[*queue.BatchError](err)
		if !ok || batch.Errs[0] != nil || batch.Errs[1] != nil || !errors.Is(batch.Errs[2], queue.ErrDuplicate) {
			t.Fatalf("got %v, want a BatchError about the third", err)
		}
		if ids[0] == "" || ids[1] == "" || ids[2] != ids[0] {
			t.Errorf("the IDs are %q, want that of the holder for the third", ids)
		}
		if n := len(w.peek(backend.Ready)); n != 2 {
			t.Errorf("%d jobs are stored, want 2", n)
		}
	})
}

func TestAPushThatCertainlyFailedReleasesTheLockAndTheStatus(t *testing.T) {
	maybe := errors.New("connection reset")
	for _, test := range []struct {
		err      error
		released bool
	}{
		{backend.ErrUnavailable, true}, {backend.ErrTooLarge, true}, {backend.ErrInvalid, true},
		{backend.ErrUnsupported, true}, {backend.ErrClosed, true}, {maybe, false},
	} {
		inWorkshop(t, func(t *testing.T, w *workshop) {
			q := w.open(&fakeBroker{Backend: w.broker.Connect(), push: func(context.Context, []*backend.Message) error {
				return fmt.Errorf("push: %w", test.err)
			}})
			_, err := q.Enqueue(t.Context(), "greet", 1, queue.Unique(time.Hour), queue.Track(), queue.ID("42"))
			if !errors.Is(err, test.err) {
				t.Errorf("got %v, want %v", err, test.err)
			}
			_, err = w.queue.Enqueue(t.Context(), "greet", 1, queue.Unique(time.Hour))
			if released := err == nil; released != test.released {
				t.Errorf("after %v, the next Enqueue returned %v", test.err, err)
			}
			_, err = w.queue.Status(t.Context(), "42")
			if gone := errors.Is(err, queue.ErrNotTracked); gone != test.released {
				t.Errorf("after %v, Status returned %v", test.err, err)
			}
		})
	}
}

func TestAnEnqueueThatWasNeverSentReleasesTheLock(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		broken := make(chan struct{})
		q := w.open(&fakeBroker{Backend: w.broker.Connect(), push: func(context.Context, []*backend.Message) error {
			<-broken
			return nil
		}})
		go q.Enqueue(context.Background(), "first", 1) // hangs, and holds up those behind it
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := q.Enqueue(ctx, "greet", 1, queue.Unique(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		w.enqueue("greet", 1, queue.Unique(time.Hour))
		close(broken)
	})
}

func TestUniqueWithoutAStoreIsErrNoStore(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		q := w.open(storeless{w.broker.Connect()})
		for _, option := range []queue.Option{queue.Unique(time.Hour), queue.UniqueBy("key", time.Hour)} {
			_, err := q.Enqueue(t.Context(), "greet", 1, option)
			if !errors.Is(err, queue.ErrNoStore) {
				t.Errorf("got %v, want ErrNoStore", err)
			}
			expectText(t, fmt.Sprint(err), "Unique", "queue.Store(")
		}
		w.expectEmpty()
	})
}

func TestAStoreThatIsDownAtEnqueueRefusesUniqueJobsOnly(t *testing.T) {
	s := &fakeStore{Store: store.NewMemory()}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		s.set(func(context.Context) error { return errors.New("connection refused") })
		_, err := w.queue.Enqueue(t.Context(), "greet", 1, queue.Unique(time.Hour))
		if !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		expectText(t, fmt.Sprint(err), "Unique", "connection refused")
		w.expectEmpty()
		w.enqueue("greet", 1)
		_, err = w.eye.Purge(t.Context(), queue.DefaultQueue)
		must(t, err)

		// It goes down between the lock and the look at who holds it.
		s.set(nil)
		w.enqueue("greet", 1, queue.Unique(time.Hour))
		calls := 0
		s.set(func(context.Context) error {
			if calls++; calls == 2 {
				return errors.New("connection reset")
			}
			return nil
		})
		if id, err := w.queue.Enqueue(t.Context(), "greet", 1, queue.Unique(time.Hour)); !errors.Is(err, queue.ErrUnavailable) || id != "" {
			t.Errorf("got %q, %v, want ErrUnavailable", id, err)
		}
	}, queue.WithStore(s))
}

func TestAStoreThatIsDownAtTheEndOfAJobLeavesALockThatExpires(t *testing.T) {
	for name, down := range map[string]func(context.Context) error{
		"refuses": func(context.Context) error { return errors.New("connection refused") },
		"hangs":   hang,
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeStore{Store: store.NewMemory()}
			inWorkshop(t, func(t *testing.T, w *workshop) {
				done := 0
				handle(w, "greet", func(context.Context, *queue.Job[int]) error {
					s.set(down)
					done++
					return nil
				})
				handle(w, "other", func(context.Context, *queue.Job[int]) error {
					done++
					return nil
				})
				w.enqueue("greet", 1, queue.Unique(time.Minute))
				w.enqueue("other", 1)
				start := time.Now()
				w.run()
				w.expectEmpty() // nobody waits for the store
				if took := time.Since(start); done != 2 || took > 0 {
					t.Errorf("%d jobs were done after %v, want both at once", done, took)
				}
				pass(2 * time.Second)
				expectText(t, w.logs.String(), "lock of a unique job not released")
				pass(time.Minute)
				s.set(nil)
				w.enqueue("greet", 1, queue.Unique(time.Minute))
			}, queue.WithStore(s), queue.Workers(1))
		})
	}
}
