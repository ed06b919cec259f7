package status_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

func TestCreateWritesAllRecordsInOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		tracker := status.New(s)
		earlier := time.Now().Add(-time.Hour)
		must(t, tracker.Create(t.Context(),
			status.Record{ID: "1", Kind: "send_email", State: status.Ready},
			status.Record{ID: "2", State: status.Ready, CreatedAt: earlier},
		))
		if n := s.calls(); n != 1 {
			t.Errorf("Create made %d calls, want 1", n)
		}
		one, two := get(t, tracker, "1"), get(t, tracker, "2")
		if one.Kind != "send_email" || !one.CreatedAt.Equal(time.Now()) || !one.UpdatedAt.Equal(time.Now()) {
			t.Errorf("got %+v, want it created and updated now", one)
		}
		if !two.CreatedAt.Equal(earlier) || !two.UpdatedAt.Equal(time.Now()) {
			t.Errorf("got %+v, want the time of its creation kept", two)
		}
	})
}

func TestCreateOfNothingDoesNothing(t *testing.T) {
	s := newFake()
	must(t, status.New(s).Create(t.Context()))
	must(t, status.New(s).Delete(t.Context()))
	if n := s.calls(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

func TestCreateWithoutAnIDIsInvalid(t *testing.T) {
	s := newFake()
	err := status.New(s).Create(t.Context(), status.Record{ID: "1"}, status.Record{})
	if !errors.Is(err, store.ErrInvalid) || s.calls() != 0 {
		t.Errorf("got the error %v after %d calls, want ErrInvalid and none", err, s.calls())
	}
}

func TestCreateStartsAJobOver(t *testing.T) {
	tracker := status.New(store.NewMemory())
	tracker.Update("1", 5, setState(status.Dead))
	must(t, tracker.Flush(t.Context()))
	must(t, tracker.Create(t.Context(), status.Record{ID: "1", State: status.Ready}))
	tracker.Update("1", 1, setState(status.Running))
	must(t, tracker.Flush(t.Context()))
	if got := get(t, tracker, "1"); got.State != status.Running || got.Attempt != 1 {
		t.Errorf("got %+v, want it running its first attempt", got)
	}
}

func TestCreateReportsARecordThatTheStoreRefuses(t *testing.T) {
	s, refused := newFake(), errors.New("out of memory")
	s.after = func(results []store.Result) []store.Result {
		results[1].Err = refused
		return results
	}
	err := status.New(s).Create(t.Context(), status.Record{ID: "1"}, status.Record{ID: "2"})
	if !errors.Is(err, refused) {
		t.Errorf("got the error %v, want the store's", err)
	}
}

func TestDeleteDeletesRecords(t *testing.T) {
	tracker := status.New(store.NewMemory())
	must(t, tracker.Create(t.Context(), status.Record{ID: "1"}, status.Record{ID: "2"}, status.Record{ID: "3"}))
	must(t, tracker.Delete(t.Context(), "1", "2", "missing"))
	for id, want := range map[string]error{"1": status.ErrNotFound, "2": status.ErrNotFound, "3": nil} {
		if _, err := tracker.Get(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("Get(%s) returned the error %v, want %v", id, err, want)
		}
	}
}

func TestGetOfAnUntrackedJobIsNotFound(t *testing.T) {
	_, err := status.New(store.NewMemory()).Get(t.Context(), "1")
	if !errors.Is(err, status.ErrNotFound) {
		t.Errorf("got the error %v, want ErrNotFound", err)
	}
}

func TestGetPassesOnTheErrorsOfStoreAndContext(t *testing.T) {
	s := store.NewMemory()
	tracker := status.New(s)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tracker.Get(ended, "1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got the error %v, want the context's", err)
	}
	must(t, s.Close())
	if _, err := tracker.Get(t.Context(), "1"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got the error %v, want the store's", err)
	}
}

func TestACorruptRecordIsAnErrorUntilItIsUpdated(t *testing.T) {
	for _, corrupt := range []string{"", "not JSON", `"text"`, "null", "{}", `{"id":"another"}`, `{"id":"1","attempt":"x"}`} {
		t.Run(corrupt, func(t *testing.T) {
			s := store.NewMemory()
			tracker := status.New(s)
			must(t, s.Set(t.Context(), "status:1", []byte(corrupt), 0))
			if _, err := tracker.Get(t.Context(), "1"); err == nil || errors.Is(err, status.ErrNotFound) {
				t.Errorf("Get of %q returned the error %v, want one that says that it is corrupt", corrupt, err)
			}
			if _, err := tracker.Wait(t.Context(), "1"); err == nil {
				t.Errorf("Wait for %q succeeded", corrupt)
			}
			tracker.Update("1", 2, setState(status.Done))
			must(t, tracker.Flush(t.Context()))
			if got := get(t, tracker, "1"); got.State != status.Done || got.Attempt != 2 {
				t.Errorf("after an update the record is %+v", got)
			}
		})
	}
}
