package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/status"
)

// shared is a broker in which another library keeps the status of its jobs.
type shared struct {
	backend.Backend
	jobs map[string]backend.JobStatus
	err  error
}

func (s *shared) Unwrap() backend.Backend { return s.Backend }

func (s *shared) JobStatus(_ context.Context, id string) (backend.JobStatus, error) {
	if s.err != nil {
		return backend.JobStatus{}, s.err
	}
	if job, ok := s.jobs[id]; ok {
		return job, nil
	}
	return backend.JobStatus{}, fmt.Errorf("%w: %s", backend.ErrNotFound, id)
}

func TestTheStatusThatAnotherLibraryKeepsIsFound(t *testing.T) {
	created := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	started, updated := created.Add(time.Second), created.Add(time.Minute)
	jobs := map[string]backend.JobStatus{
		"1": {State: "ready", CreatedAt: created, UpdatedAt: created},
		"2": {State: "running", StartedAt: started, UpdatedAt: started},
		"3": {State: "done", StartedAt: started, UpdatedAt: updated, Result: json.RawMessage(`{"n":1}`)},
		"4": {State: "dead", UpdatedAt: updated},
	}
	want := map[string]queue.Status{
		"1": {ID: "1", State: status.Ready, CreatedAt: created, UpdatedAt: created},
		"2": {ID: "2", State: status.Running, StartedAt: started, UpdatedAt: started},
		"3": {ID: "3", State: status.Done, StartedAt: started, UpdatedAt: updated, FinishedAt: updated, Result: json.RawMessage(`{"n":1}`)},
		"4": {ID: "4", State: status.Dead, UpdatedAt: updated, FinishedAt: updated},
	}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		for name, b := range map[string]backend.Backend{
			"with a store":    &shared{Backend: w.broker.Connect(), jobs: jobs},
			"without a store": &shared{Backend: storeless{w.broker.Connect()}, jobs: jobs},
		} {
			q := w.open(b)
			for id, want := range want {
				if got, err := q.Status(t.Context(), id); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
				}
			}
			if _, err := q.Status(t.Context(), "5"); !errors.Is(err, queue.ErrNotTracked) {
				t.Errorf("%s: got %v, want ErrNotTracked", name, err)
			}
		}
	})
}

func TestATrackedJobHasTheStatusOfItsOwn(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		q := w.open(&shared{Backend: w.broker.Connect(), jobs: map[string]backend.JobStatus{"1": {State: "dead"}}})
		_, err := q.Enqueue(t.Context(), "greet", 1, queue.Track(), queue.ID("1"))
		must(t, err)
		s, err := q.Status(t.Context(), "1")
		must(t, err)
		expectStatus(t, s, "ready 0/0 0/0  []")
	})
}

func TestWaitKnowsTrackedJobsOnly(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		jobs := map[string]backend.JobStatus{"1": {State: "done"}}
		q := w.open(&shared{Backend: w.broker.Connect(), jobs: jobs})
		if _, err := q.Wait(t.Context(), "1"); !errors.Is(err, queue.ErrNotTracked) {
			t.Errorf("got %v, want ErrNotTracked", err)
		}
		q = w.open(&shared{Backend: storeless{w.broker.Connect()}, jobs: jobs})
		if _, err := q.Wait(t.Context(), "1"); !errors.Is(err, queue.ErrNoStore) {
			t.Errorf("got %v, want ErrNoStore", err)
		}
	})
}

func TestTheErrorOfAForeignStatusIsReturned(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		b := &shared{Backend: w.broker.Connect(), err: backend.ErrUnavailable}
		q := w.open(b)
		if _, err := q.Status(t.Context(), "1"); !errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrNotTracked) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		must(t, q.Close())
		if _, err := q.Status(t.Context(), "1"); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("after Close: got %v, want ErrClosed", err)
		}
	})
}
