package status_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

func TestWaitReturnsAtOnceWhenTheStoreTellsOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expectWaitTakes(t, store.NewMemory(), 10*time.Minute, 10*time.Minute)
	})
}

func TestWaitPollsAStoreThatCannotTell(t *testing.T) {
	for finishes, want := range map[time.Duration]time.Duration{
		0:                      0,
		5 * time.Millisecond:   10 * time.Millisecond,
		100 * time.Millisecond: 150 * time.Millisecond,
		time.Minute + 1:        time.Minute + 270*time.Millisecond,
	} {
		t.Run(finishes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				expectWaitTakes(t, newFake(), finishes, want)
			})
		})
	}
}

func expectWaitTakes(t *testing.T, s store.Store, finishes, want time.Duration) {
	t.Helper()
	tracker := status.New(s)
	must(t, tracker.Create(t.Context(), status.Record{ID: "1", State: status.Ready}))
	finish := func() { tracker.Update("1", 1, setState(status.Done)) }
	if finishes == 0 {
		finish()
		must(t, tracker.Flush(t.Context()))
	} else {
		time.AfterFunc(finishes/2, func() { tracker.Update("1", 1, setState(status.Running)) })
		time.AfterFunc(finishes, finish)
	}
	start := time.Now()
	record, err := tracker.Wait(t.Context(), "1")
	if err != nil || record.State != status.Done {
		t.Errorf("Wait returned %+v, %v", record, err)
	}
	if took := time.Since(start); took != want {
		t.Errorf("Wait took %v, want %v", took, want)
	}
}

// interfering finishes the job at the worst moment: when the record has been
// read, and before the reader has had a look at it.
type interfering struct {
	*store.Memory
	once   sync.Once
	finish func()
}

func (s *interfering) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := s.Memory.Get(ctx, key)
	s.once.Do(s.finish)
	return value, err
}

func TestAJobThatFinishesWhileWaitReadsItIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := store.NewMemory()
		worker := status.New(memory)
		must(t, worker.Create(t.Context(), status.Record{ID: "1", State: status.Running}))
		tracker := status.New(&interfering{Memory: memory, finish: func() {
			worker.Update("1", 1, setState(status.Done))
			must(t, worker.Flush(t.Context()))
		}})
		start := time.Now()
		record, err := tracker.Wait(t.Context(), "1")
		if err != nil || record.State != status.Done || time.Since(start) != 0 {
			t.Errorf("Wait returned %+v, %v after %v", record, err, time.Since(start))
		}
	})
}

func TestManyWaitForManyJobs(t *testing.T) {
	tracker := status.New(store.NewMemory())
	var running sync.WaitGroup
	for job := range 50 {
		id := string(rune('a' + job))
		must(t, tracker.Create(t.Context(), status.Record{ID: id, State: status.Ready}))
		for range 4 {
			running.Go(func() {
				if record, err := tracker.Wait(t.Context(), id); err != nil || record.State != status.Done {
					t.Errorf("Wait returned %+v, %v", record, err)
				}
			})
		}
		running.Go(func() {
			tracker.Update(id, 1, setState(status.Running))
			tracker.Update(id, 1, setState(status.Done))
		})
	}
	running.Wait()
}

func TestWaitForAnUntrackedJobIsNotFoundAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := status.New(store.NewMemory()).Wait(t.Context(), "1")
		if !errors.Is(err, status.ErrNotFound) || time.Since(start) != 0 {
			t.Errorf("got the error %v after %v, want ErrNotFound at once", err, time.Since(start))
		}
	})
}

func TestWaitForARecordThatExpiresIsNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		tracker := status.New(s)
		must(t, tracker.Create(t.Context(), status.Record{ID: "1", State: status.Running}))
		start := time.Now()
		_, err := tracker.Wait(t.Context(), "1")
		if took := time.Since(start); !errors.Is(err, status.ErrNotFound) || took > 30*24*time.Hour+time.Minute {
			t.Errorf("got the error %v after %v, want ErrNotFound soon after 30 days", err, took)
		}
	})
}

func TestWaitThatIsCutShortSaysWhereTheJobWas(t *testing.T) {
	for name, s := range map[string]func() store.Store{
		"watching": func() store.Store { return store.NewMemory() },
		"polling":  func() store.Store { return newFake() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tracker := status.New(s())
				must(t, tracker.Create(t.Context(), status.Record{ID: "1", State: status.Retrying}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				record, err := tracker.Wait(ctx, "1")
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "retrying") {
					t.Errorf("got the error %v, want the context's and the state", err)
				}
				if record.State != status.Retrying {
					t.Errorf("got the record %+v, want it as it last was", record)
				}
			})
		})
	}
}

func TestWaitWithAnEndedContextDoesNotKnowTheState(t *testing.T) {
	tracker := status.New(store.NewMemory())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	record, err := tracker.Wait(ctx, "1")
	if !errors.Is(err, context.Canceled) || record.State != "" {
		t.Errorf("got %+v, %v", record, err)
	}
}

func TestWaitEndsWhenTheStoreIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		tracker := status.New(s)
		must(t, tracker.Create(t.Context(), status.Record{ID: "1", State: status.Running}))
		time.AfterFunc(time.Second, func() { s.Close() })
		start := time.Now()
		if _, err := tracker.Wait(t.Context(), "1"); !errors.Is(err, store.ErrClosed) || time.Since(start) != time.Second {
			t.Errorf("got the error %v after %v, want ErrClosed at once", err, time.Since(start))
		}
	})
}
