package status_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

func TestAStoreThatHangsHoldsUpOneCreateForASecondAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.hang()
		tracker := status.New(s)
		for i := range 100 {
			start := time.Now()
			err := tracker.Create(t.Context(), status.Record{ID: strconv.Itoa(i)})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Create returned the error %v, want that of the first call", err)
			}
			if took := time.Since(start); i == 0 && took != time.Second || i > 0 && took != 0 {
				t.Errorf("Create number %d took %v", i+1, took)
			}
			time.Sleep(300 * time.Millisecond)
		}
	})
}

func TestCreateRecoversWithItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.goDown()
		tracker := status.New(s)
		if err := tracker.Create(t.Context(), status.Record{ID: "1"}); !errors.Is(err, errDown) {
			t.Fatalf("got the error %v, want the store's", err)
		}
		s.recover()
		if err := tracker.Create(t.Context(), status.Record{ID: "in the pause"}); !errors.Is(err, errDown) {
			t.Errorf("in the pause: got the error %v, want the store's", err)
		}
		if _, err := tracker.Get(t.Context(), "in the pause"); !errors.Is(err, status.ErrNotFound) {
			t.Errorf("in the pause: the record is there (%v)", err)
		}
		expectDropped(t, tracker, 1)

		time.Sleep(time.Second)
		if err := tracker.Create(t.Context(), status.Record{ID: "trial", Kind: "send_email", State: status.Ready}); !errors.Is(err, errDown) {
			t.Errorf("after the pause: got the error %v, want the store's", err)
		}
		must(t, tracker.Flush(t.Context()))
		if got := get(t, tracker, "trial"); got.Kind != "send_email" || got.State != status.Ready || got.CreatedAt.IsZero() {
			t.Errorf("after the pause: got %+v, want it written by the next try", got)
		}
		must(t, tracker.Create(t.Context(), status.Record{ID: "2"}))
		expectDropped(t, tracker, 1)
	})
}

func TestACreateThatIsWrittenLateDoesNotUndoWhatAWorkerWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.goDown()
		producer, worker := status.New(s), status.New(s)
		producer.Create(t.Context(), status.Record{ID: "other"})
		s.recover()
		time.Sleep(time.Second)
		release := s.hold()
		producer.Create(t.Context(), status.Record{ID: "1", State: status.Ready})
		synctest.Wait() // The producer's first call is held.
		s.recover()
		worker.Update("1", 1, setState(status.Done))
		must(t, worker.Flush(t.Context()))
		release()
		must(t, producer.Flush(t.Context()))
		expectState(t, producer, "1", status.Done)
	})
}

func TestTheContextOfTheCallerEndsCreateEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.hang()
		tracker := status.New(s)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		start := time.Now()
		if err := tracker.Create(ctx, status.Record{ID: "1"}); !errors.Is(err, context.Canceled) || time.Since(start) != 100*time.Millisecond {
			t.Errorf("got the error %v after %v, want the context's after 100ms", err, time.Since(start))
		}
		if err := tracker.Create(ctx, status.Record{ID: "1"}); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that had ended: got the error %v", err)
		}
		s.recover()
		if err := tracker.Create(t.Context(), status.Record{ID: "2"}); err != nil {
			t.Errorf("the cancellation was taken for a failure of the store: %v", err)
		}
	})
}

func TestAShortDeadlineOfTheCallerDoesNotHideADeadStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.hang()
		tracker := status.New(s)
		for _, want := range []time.Duration{100 * time.Millisecond, 0, 0} {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			if err := tracker.Create(ctx, status.Record{ID: "1"}); err == nil || time.Since(start) != want {
				t.Errorf("got the error %v after %v, want one after %v", err, time.Since(start), want)
			}
		}
	})
}

func TestDeleteLeavesAStoreThatFailedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.hang()
		tracker := status.New(s)
		for _, want := range []time.Duration{time.Second, 0} {
			start := time.Now()
			if err := tracker.Delete(t.Context(), "1"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != want {
				t.Errorf("got the error %v after %v, want one after %v", err, time.Since(start), want)
			}
		}
		s.recover()
		time.Sleep(time.Second)
		must(t, tracker.Delete(t.Context(), "1"))
	})
}

func TestUpdateNeverWaitsAndTheBufferIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		release := s.hold()
		tracker := status.New(s)
		start := time.Now()
		for i := range 25_000 {
			tracker.Update(strconv.Itoa(i%100), 1, func(r *status.Record) { r.Progress.Done++ })
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the updates took %v", took)
		}
		expectDropped(t, tracker, 15_000)
		release()
		must(t, tracker.Flush(t.Context()))
		var sum int64
		for job := range 100 {
			sum += get(t, tracker, strconv.Itoa(job)).Progress.Done
		}
		if sum != 10_000 {
			t.Errorf("%d updates were made, want the 10000 that the buffer held", sum)
		}
		expectDropped(t, tracker, 15_000)
	})
}

func TestAStoreThatIsDownIsLeftAloneForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.goDown()
		tracker := status.New(s)
		start := time.Now()
		const updates = 10_000
		for range updates {
			tracker.Update("1", 1, setState(status.Running))
			time.Sleep(time.Millisecond)
		}
		expectDropped(t, tracker, updates)
		if seconds := int(time.Since(start) / time.Second); s.calls() > seconds+1 {
			t.Errorf("a store that is down was called %d times in %d seconds", s.calls(), seconds)
		}
		s.recover()
		time.Sleep(time.Second)
		tracker.Update("1", 1, setState(status.Done))
		must(t, tracker.Flush(t.Context()))
		expectState(t, tracker, "1", status.Done)
		expectDropped(t, tracker, updates)
	})
}

func TestABlackHoleCostsNeitherTimeNorCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.hang()
		tracker := status.New(s)
		start := time.Now()
		var running sync.WaitGroup
		for worker := range 10 {
			running.Go(func() {
				for range 1000 {
					before := time.Now()
					tracker.Update(strconv.Itoa(worker), 1, setState(status.Running))
					if took := time.Since(before); took != 0 {
						t.Errorf("an update took %v", took)
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		running.Wait()
		if seconds := int(time.Since(start) / time.Second); s.calls() > seconds/2+1 {
			t.Errorf("a store that hangs was called %d times in %d seconds, want a second's pause after each second's call", s.calls(), seconds)
		}
		must(t, tracker.Flush(t.Context()))
		expectDropped(t, tracker, 10_000)
	})
}

func TestAnUpdateThatTheStoreRefusesIsDroppedAlone(t *testing.T) {
	for name, refusedBatch := range map[string]int{"reading": 1, "writing": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFake()
				s.after = func(results []store.Result) []store.Result {
					if s.calls() == refusedBatch {
						results[0].Err = errors.New("out of memory")
					}
					return results
				}
				release := s.hold()
				tracker := status.New(s)
				tracker.Update("refused", 1, setState(status.Running))
				tracker.Update("refused", 1, setState(status.Done))
				tracker.Update("taken", 1, setState(status.Done))
				release()
				must(t, tracker.Flush(t.Context()))
				expectDropped(t, tracker, 2)
				expectState(t, tracker, "taken", status.Done)
			})
		})
	}
}

func TestAStoreThatReturnsTooFewResultsIsAFailure(t *testing.T) {
	s := newFake()
	s.after = func(results []store.Result) []store.Result { return results[:len(results)-1] }
	tracker := status.New(s)
	tracker.Update("1", 1, setState(status.Done))
	must(t, tracker.Flush(t.Context()))
	expectDropped(t, tracker, 1)
	if err := tracker.Create(t.Context(), status.Record{ID: "1"}); err == nil {
		t.Error("Create succeeded")
	}
}

func TestAnUpdateWithoutAnIDIsDropped(t *testing.T) {
	tracker := status.New(store.NewMemory())
	tracker.Update("", 1, setState(status.Done))
	expectDropped(t, tracker, 1)
}

func TestFlushEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.hang()
		tracker := status.New(s)
		tracker.Update("1", 1, setState(status.Done))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := tracker.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got the error %v, want the context's", err)
		}
		must(t, tracker.Flush(t.Context()))
		expectDropped(t, tracker, 1)
	})
}
