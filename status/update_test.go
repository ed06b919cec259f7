package status_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

func TestUpdatesOfABusyMomentAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		tracker := status.New(s)
		release := s.hold()
		tracker.Update("first", 1, setState(status.Running))
		synctest.Wait()
		for i := range 100 {
			for _, id := range []string{"a", "b", "c"} {
				tracker.Update(id, 1, func(r *status.Record) { r.Progress.Done = int64(i) })
			}
		}
		release()
		must(t, tracker.Flush(t.Context()))
		var sizes []int
		for _, ops := range s.batches {
			sizes = append(sizes, len(ops))
		}
		if got := fmt.Sprint(sizes); got != "[1 1 3 3]" {
			t.Errorf("the store was called with batches of %s, want a read and a write for the first update and for all others", got)
		}
		for _, id := range []string{"a", "b", "c"} {
			if got := get(t, tracker, id).Progress.Done; got != 99 {
				t.Errorf("job %s has the progress %d, want 99", id, got)
			}
		}
	})
}

func TestAFlushAsksTheStoreForNoMoreThanAThousandRecordsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		tracker := status.New(s)
		release := s.hold()
		for i := range 2500 {
			tracker.Update(strconv.Itoa(i), 1, setState(status.Done))
		}
		release()
		must(t, tracker.Flush(t.Context()))
		written := 0
		for _, ops := range s.batches {
			if len(ops) > 1000 {
				t.Errorf("a batch has %d ops", len(ops))
			}
			if ops[0].Verb == store.OpSet {
				written += len(ops)
			}
		}
		if written != 2500 {
			t.Errorf("%d records were written, want 2500", written)
		}
	})
}

func TestUpdatesOfAJobAreMadeInOrder(t *testing.T) {
	tracker := status.New(store.NewMemory())
	for i := range 3000 {
		tracker.Update("1", 1, func(r *status.Record) {
			if r.Progress.Done != int64(i) {
				t.Errorf("update %d found the progress %d", i, r.Progress.Done)
			}
			r.Progress.Done++
		})
	}
	must(t, tracker.Flush(t.Context()))
	if got := get(t, tracker, "1").Progress.Done; got != 3000 {
		t.Errorf("the progress is %d, want 3000", got)
	}
}

func TestNothingRunsWhileNothingIsPending(t *testing.T) {
	// The bubble would not end if a goroutine or a ticker were left.
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		tracker := status.New(s)
		tracker.Update("1", 1, setState(status.Running))
		synctest.Wait()
		expectState(t, tracker, "1", status.Running)
		calls := s.calls()
		time.Sleep(24 * time.Hour)
		if s.calls() != calls {
			t.Errorf("%d calls were made in an idle day", s.calls()-calls)
		}
		tracker.Update("1", 1, setState(status.Done))
		synctest.Wait()
		expectState(t, tracker, "1", status.Done)
	})
}

func TestAnUpdateOfAMissingRecordCreatesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker := status.New(store.NewMemory())
		tracker.Update("1", 3, func(r *status.Record) {
			r.ID = "another"
			r.State = status.Running
		})
		must(t, tracker.Flush(t.Context()))
		got := get(t, tracker, "1")
		if got.Attempt != 3 || got.State != status.Running || !got.UpdatedAt.Equal(time.Now()) || !got.CreatedAt.IsZero() {
			t.Errorf("got %+v", got)
		}
	})
}

func TestUpdatedAtIsTheTimeOfTheCallAndNotOfTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		tracker := status.New(s)
		release := s.hold()
		called := time.Now()
		tracker.Update("1", 1, setState(status.Running))
		time.Sleep(500 * time.Millisecond)
		release()
		must(t, tracker.Flush(t.Context()))
		if got := get(t, tracker, "1").UpdatedAt; !got.Equal(called) {
			t.Errorf("UpdatedAt is %v after the call", got.Sub(called))
		}
	})
}

func TestAStaleWorkerDoesNotOverwriteTheNextOne(t *testing.T) {
	s := newFake()
	stale, next := status.New(s), status.New(s)
	stale.Update("1", 1, setState(status.Running))
	must(t, stale.Flush(t.Context()))
	next.Update("1", 2, setState(status.Running))
	must(t, next.Flush(t.Context()))
	calls := s.calls()

	stale.Update("1", 1, setState(status.Dead))
	must(t, stale.Flush(t.Context()))
	if got := get(t, next, "1"); got.State != status.Running || got.Attempt != 2 {
		t.Errorf("got %+v, want the second attempt running", got)
	}
	if n := s.calls() - calls; n != 1 {
		t.Errorf("an update that is ignored made %d calls, want one read and no write", n)
	}
	expectDropped(t, stale, 0)
}

func TestAStaleUpdateInABatchIsIgnoredToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		tracker := status.New(s)
		release := s.hold()
		tracker.Update("1", 2, setState(status.Running))
		tracker.Update("1", 1, setState(status.Dead))
		tracker.Update("1", 2, func(r *status.Record) { r.Progress.Done = 7 })
		release()
		must(t, tracker.Flush(t.Context()))
		if got := get(t, tracker, "1"); got.State != status.Running || got.Attempt != 2 || got.Progress.Done != 7 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestConcurrentUpdatesAreAllMade(t *testing.T) {
	tracker := status.New(store.NewMemory())
	const workers, updates, jobs = 100, 100, 50
	var running sync.WaitGroup
	for worker := range workers {
		running.Go(func() {
			for i := range updates {
				tracker.Update(strconv.Itoa((worker+i)%jobs), 1, func(r *status.Record) { r.Progress.Done++ })
			}
		})
	}
	running.Wait()
	must(t, tracker.Flush(t.Context()))
	var sum int64
	for job := range jobs {
		sum += get(t, tracker, strconv.Itoa(job)).Progress.Done
	}
	if sum != workers*updates {
		t.Errorf("%d updates were made, want %d", sum, workers*updates)
	}
	expectDropped(t, tracker, 0)
}

func TestFlushWaitsOnlyForWhatCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker := status.New(store.NewMemory())
		must(t, tracker.Flush(t.Context()))
		stop := false
		var again func(*status.Record)
		again = func(*status.Record) {
			if !stop {
				tracker.Update("1", 1, again)
			}
		}
		tracker.Update("1", 1, again)
		// Each update makes another: waiting for all would never end.
		must(t, tracker.Flush(t.Context()))
		tracker.Update("2", 1, func(*status.Record) { stop = true })
		must(t, tracker.Flush(t.Context()))
	})
}

func TestADeadJobThatIsRunningAgainStartsOver(t *testing.T) {
	tracker := status.New(store.NewMemory())
	die := func(r *status.Record) {
		r.State = status.Dead
		r.AddFailure(status.Failure{Attempt: 3, Error: "no luck"})
	}
	tracker.Update("1", 3, die)
	must(t, tracker.Flush(t.Context()))
	// A worker that lost the job long ago does not bring it back to life.
	for _, state := range []status.State{status.Done, status.Retrying, status.Dead} {
		tracker.Update("1", 1, setState(state))
	}
	tracker.Update("1", 1, func(r *status.Record) { r.Progress.Done = 1 })
	must(t, tracker.Flush(t.Context()))
	if record := get(t, tracker, "1"); record.State != status.Dead || record.Attempt != 3 || record.Progress.Done != 0 {
		t.Errorf("after updates of an older attempt: %+v", record)
	}
	// The start of a first attempt does: the job was put back.
	tracker.Update("1", 1, setState(status.Running))
	tracker.Update("1", 1, setState(status.Done))
	must(t, tracker.Flush(t.Context()))
	if record := get(t, tracker, "1"); record.State != status.Done || record.Attempt != 1 || len(record.Errors) != 1 {
		t.Errorf("after it was put back: %+v, want it done, with its history", record)
	}
}
