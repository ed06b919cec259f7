package queue

import (
	"context"
	"errors"
	"time"

	"github.com/goferhq/queue/status"
)

// Tracking keeps the status of the jobs that were enqueued with Track in the
// queue's store. It does nothing for others. The writes happen behind the
// job's back: a store that is slow or down makes a status stale and nothing
// else.
func Tracking() Middleware {
	return func(next Handler[Raw]) Handler[Raw] {
		return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
			a := job.attempt
			if a == nil || a.tracker == nil {
				return next.Handle(ctx, job)
			}
			if !job.foregone() {
				a.track(func(r *status.Record) {
					r.State = status.Running
					r.StartedAt = a.began
					r.DueAt, r.FinishedAt = time.Time{}, time.Time{}
				})
			}
			err := next.Handle(ctx, job)
			now, why := time.Now(), ""
			if err != nil {
				why = textOf(cause(err))
			}
			a.track(func(r *status.Record) { a.conclude(r, err, why, now) })
			return err
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

func (a *attempt) conclude(r *status.Record, err error, why string, now time.Time) {
	verdict, delay := VerdictOf(err)
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
	cancelledFor := verdict == Cancelled && errors.Unwrap(err) != nil
	if verdict == Undecided || verdict == Retried || verdict == Buried || cancelledFor {
		r.AddFailure(status.Failure{Attempt: a.job.Attempt, At: now, Error: why})
	}
}
