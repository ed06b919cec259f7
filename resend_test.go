package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/store"
)

// outage returns a queue on the broker of w that is down for what is enqueued
// while down is set.
func (w *workshop) outage(options ...queue.OpenOption) (q *queue.Queue, down *atomic.Bool) {
	down = new(atomic.Bool)
	b := &fakeBroker{Backend: w.broker.Connect()}
	b.push = func(ctx context.Context, messages []*backend.Message) error {
		if down.Load() {
			return fmt.Errorf("push: %w", backend.ErrUnavailable)
		}
		return b.Backend.Push(ctx, messages)
	}
	return w.open(b, options...), down
}

func TestAnEnqueueThatIsSentAgainInVainLeavesTheLockAndTheStatusOfTheFirst(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		q, down := w.outage()
		options := []queue.Option{queue.ID("42"), queue.Unique(time.Hour), queue.Track()}
		_, err := q.Enqueue(t.Context(), "greet", 1, append(options, queue.In(time.Minute))...)
		must(t, err)

		down.Store(true)
		id, err := q.Enqueue(t.Context(), "greet", 1, options...)
		if !errors.Is(err, queue.ErrUnavailable) || id != "" {
			t.Errorf("got %q, %v, want ErrUnavailable", id, err)
		}
		down.Store(false)

		expectStatus(t, w.status("42"), "scheduled 0/0 0/0  []")
		w.expectDuplicate("42", "greet", 1, queue.Unique(time.Hour))
		w.stored()

		handle(w, "greet", nothing[int])
		w.run()
		pass(time.Minute)
		expectStatus(t, w.status("42"), "done 1/0 0/0  []")
		w.enqueue("greet", 1, queue.Unique(time.Hour)) // the lock is free again
	})
}

func TestOfABatchThatFailsOnlyWhatIsNewIsTakenBack(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		q, down := w.outage()
		request := func(id string, args int) queue.Request {
			return queue.Request{Kind: "greet", Args: args, Options: []queue.Option{queue.ID(id), queue.Unique(time.Hour), queue.Track()}}
		}
		_, err := q.EnqueueMany(t.Context(), request("first", 1))
		must(t, err)
		down.Store(true)
		ids, err := q.EnqueueMany(t.Context(), request("first", 1), request("second", 2))
		if !errors.Is(err, queue.ErrUnavailable) || !slices.Equal(ids, []string{"", ""}) {
			t.Errorf("got %q, %v, want ErrUnavailable", ids, err)
		}
		expectStatus(t, w.status("first"), "ready 0/0 0/0  []")
		w.expectDuplicate("first", "greet", 1, queue.Unique(time.Hour))
		if _, err := w.queue.Status(t.Context(), "second"); !errors.Is(err, queue.ErrNotTracked) {
			t.Errorf("the status of what was not stored: %v, want ErrNotTracked", err)
		}
		w.enqueue("greet", 2, queue.Unique(time.Hour))
	})
}

func TestAnEnqueueThatIsSentAgainDoesNotRewriteTheStatus(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		proceed := make(chan bool)
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			job.Progress(1, 2)
			<-proceed
			return nil
		})
		options := []queue.Option{queue.ID("42"), queue.Track()}
		w.enqueue("greet", 1, options...)
		w.run()
		w.enqueue("greet", 1, options...) // the job runs
		expectStatus(t, w.status("42"), "running 1/0 1/2  []")
		close(proceed)
		expectStatus(t, w.status("42"), "done 1/0 1/2  []")
		w.enqueue("greet", 1, append(options, queue.In(time.Hour))...) // it is over, so this is a new one
		expectStatus(t, w.status("42"), "scheduled 0/0 0/0  []")
	})
}

func TestAnIDThatStandsTwiceInABatchIsInvalidAndNothingIsStored(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		request := func(kind, id string) queue.Request {
			return queue.Request{Kind: kind, Args: 1, Options: []queue.Option{queue.ID(id), queue.UniqueBy(kind+id, time.Hour)}}
		}
		ids, err := w.queue.EnqueueMany(t.Context(), request("a", "1"), request("a", "2"), request("b", "1"))
		if !errors.Is(err, queue.ErrInvalid) || ids != nil {
			t.Errorf("got %q, %v, want ErrInvalid", ids, err)
		}
		expectText(t, fmt.Sprint(err), "job 3 of 3", `"1"`, "twice")
		w.expectEmpty()
		// Nor was anything locked.
		w.enqueue("c", 1, queue.UniqueBy("a1", time.Hour))
	})
}

func TestRawArgsThatDifferInBlanksOnlyAreTheSameUniqueJob(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		unique := queue.Unique(time.Hour)
		holder := w.enqueue("greet", queue.Raw(`{"name":"a b","n":7}`), unique)
		w.expectDuplicate(holder, "greet", queue.Raw("{ \"name\": \"a b\",\n\t\"n\": 7 }"), unique)
		w.expectDuplicate(holder, "greet", struct {
			Name string `json:"name"`
			N    int    `json:"n"`
		}{"a b", 7}, unique)
		w.enqueue("greet", queue.Raw(`{"name":"ab","n":7}`), unique) // that is another name
	})
}

// fickleStore is a store that can lose the reply to a SetNX, and that can be
// slow to delete.
type fickleStore struct {
	store.Store
	loseReply  atomic.Bool
	hangDelete atomic.Bool
	deletes    atomic.Int64
}

func (s *fickleStore) SetNX(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	stored, err := s.Store.SetNX(ctx, key, value, ttl)
	if s.loseReply.Load() {
		return false, errors.New("connection reset")
	}
	return stored, err
}

func (s *fickleStore) CompareAndDelete(ctx context.Context, key string, value []byte) (bool, error) {
	s.deletes.Add(1)
	if s.hangDelete.Load() {
		<-ctx.Done()
		return false, ctx.Err()
	}
	return s.Store.CompareAndDelete(ctx, key, value)
}

func TestALockWhoseReplyIsLostDoesNotLeak(t *testing.T) {
	s := &fickleStore{Store: store.NewMemory()}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		s.loseReply.Store(true)
		id, err := w.queue.Enqueue(t.Context(), "greet", 1, queue.Unique(24*time.Hour))
		if !errors.Is(err, queue.ErrUnavailable) || id != "" {
			t.Errorf("got %q, %v, want ErrUnavailable", id, err)
		}
		expectText(t, fmt.Sprint(err), "Unique", "connection reset")
		w.expectEmpty()
		s.loseReply.Store(false)
		w.enqueue("greet", 1, queue.Unique(24*time.Hour))
	}, queue.WithStore(s))
}

func TestALockWhoseReplyIsLostIsGivenBackWithinASecond(t *testing.T) {
	s := &fickleStore{Store: store.NewMemory()}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		s.loseReply.Store(true)
		s.hangDelete.Store(true)
		start := time.Now()
		_, err := w.queue.Enqueue(t.Context(), "greet", 1, queue.Unique(24*time.Hour))
		if took := time.Since(start); !errors.Is(err, queue.ErrUnavailable) || took > time.Second {
			t.Errorf("got %v after %v, want ErrUnavailable within a second", err, took)
		}
	}, queue.WithStore(s))
}

func TestTakingBackABatchOfUniqueJobsFromASlowStoreTakesASecondInAll(t *testing.T) {
	s := &fickleStore{Store: store.NewMemory()}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		q, down := w.outage(queue.WithStore(s))
		down.Store(true)
		s.hangDelete.Store(true)
		start := time.Now()
		kind := queue.Define[int]("greet", queue.Unique(time.Hour), queue.Track())
		_, err := kind.EnqueueMany(t.Context(), q, []int{1, 2, 3, 4, 5, 6, 7, 8})
		if took := time.Since(start); !errors.Is(err, queue.ErrUnavailable) || took > time.Second {
			t.Errorf("got %v after %v, want ErrUnavailable after a second", err, took)
		}
		if n := s.deletes.Load(); n != 1 {
			t.Errorf("the store was called %d times, want no call after the first one that hangs", n)
		}
	})
}

func TestAUniqueJobCanBeEnqueuedAgainAsSoonAsWaitReturns(t *testing.T) {
	for name, err := range map[string]error{"done": nil, "buried": queue.Bury(errNoLuck), "cancelled": queue.Cancel(nil)} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				handle(w, "greet", func(context.Context, *queue.Job[int]) error { return err }, queue.Unique(time.Hour), queue.Track())
				w.run()
				for range 200 {
					s, err := w.queue.Wait(t.Context(), w.enqueue("greet", 1))
					must(t, err)
					if !s.State.Finished() {
						t.Fatalf("Wait returned while the job is %s", s.State)
					}
				}
			})
		})
	}
}

func TestWaitReturnsWhenTheBrokerHasSettledTheJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("greet", func(context.Context, *queue.Job[int]) error { return nil })
		open := r.spy.gate("Ack")
		id := r.enqueue("greet", 1, queue.Track())
		running := r.start()
		defer running.mustStop()
		ended := make(chan error, 1)
		go func() {
			_, err := r.queue.Wait(t.Context(), id)
			ended <- err
		}()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Errorf("Wait returned %v, and the broker has not heard of the end", err)
		default:
		}
		open()
		must(t, <-ended)
		r.expectStats(0, 0, 0, 0)
	})
}
