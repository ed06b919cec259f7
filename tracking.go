package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/status"
)

// Tracking keeps the status of the jobs that were enqueued with Track in the
// queue's store: that an attempt has begun, and what became of it once the
// broker knows. It does nothing for others. The writes happen behind the job's
// back: a store that is slow or down makes a status stale and nothing else.
func Tracking() Middleware {
	return func(next Handler[Raw]) Handler[Raw] {
		return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
			a := job.attempt
			if a == nil || a.tracker == nil {
				return next.Handle(ctx, job)
			}
			a.tracking.Store(true)
			if !job.foregone() {
				a.track(func(r *status.Record) {
					r.State = status.Running
					r.StartedAt = a.began
					r.DueAt, r.FinishedAt = time.Time{}, time.Time{}
				})
			}
			return next.Handle(ctx, job)
		})
	}
}

// track changes the status of the job and fills in what a process that did
// not enqueue it may be the first to know.
func (a *attempt) track(change func(*status.Record)) {
	job := &a.job
	a.tracker.Update(job.ID, job.Attempt, func(r *status.Record) {
		r.Kind, r.Queue = job.Kind, job.Queue
		r.MaxAttempts = job.MaxAttempts
		if r.CreatedAt.IsZero() {
			r.CreatedAt = job.EnqueuedAt
		}
		change(r)
	})
}

// outcome returns what is to be recorded once the broker has settled the
// attempt by err, or nil when the job is not tracked.
func (a *attempt) outcome(err error) func(*status.Record) {
	if !a.tracking.Load() {
		return nil
	}
	verdict, delay := VerdictOf(err)
	now, why := time.Now(), ""
	failed := verdict == Retried || verdict == Buried || verdict == Cancelled && errors.Unwrap(err) != nil
	if failed {
		why = textOf(cause(err))
	}
	return func(r *status.Record) {
		switch verdict {
		case Done:
			r.State, r.FinishedAt, r.Result = status.Done, now, a.result
			r.Error = ""
		case Cancelled:
			r.State, r.FinishedAt = status.Cancelled, now
		case Buried:
			r.State, r.FinishedAt = status.Dead, now
		case Released:
			r.State = status.Ready
			if delay > 0 {
				r.State, r.DueAt = status.Scheduled, now.Add(delay)
			}
		default:
			r.State, r.DueAt = status.Retrying, now.Add(delay)
		}
		if failed {
			r.AddFailure(status.Failure{Attempt: a.job.Attempt, At: now, Error: why})
		}
	}
}

// foreignStatus returns the status that another library keeps of a job in the
// broker.
func foreignStatus(ctx context.Context, reader backend.StatusReader, id string) (Status, error) {
	kept, err := reader.JobStatus(ctx, id)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return Status{}, fmt.Errorf("%w: %s", ErrNotTracked, id)
	case err != nil:
		return Status{}, fmt.Errorf("queue: status of job %s: %w", id, err)
	}
	s := Status{
		ID:        id,
		State:     status.State(kept.State),
		CreatedAt: kept.CreatedAt,
		StartedAt: kept.StartedAt,
		UpdatedAt: kept.UpdatedAt,
		Result:    kept.Result,
	}
	if s.State.Finished() {
		s.FinishedAt = s.UpdatedAt
	}
	return s, nil
}
