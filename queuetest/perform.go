package queuetest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/goferhq/queue"
)

// Perform calls a handler once, here and now, on the caller's goroutine, as
// for the first attempt of a job: args go through JSON, so that what JSON
// drops is missing as it will be in production, and SetUp and TearDown run
// around Handle.
//
// It returns what the handler returned; [queue.VerdictOf] tells whether that
// was a RetryIn, Bury, Snooze or Cancel. No middleware runs: a plain error has
// no verdict yet, and a panic is a panic. Use Drain to see what a queue makes
// of it.
func Perform[T any](ctx context.Context, h queue.Handler[T], args T) error {
	return PerformJob(ctx, h, &queue.Job[T]{Args: args})
}

// PerformJob is [Perform] for a job with more than arguments, such as a third
// attempt or one with a header:
//
//	err := queuetest.PerformJob(ctx, handler, &queue.Job[Email]{Args: email, Attempt: 3})
//
// The handler gets a copy; the fields that are zero are filled in.
func PerformJob[T any](ctx context.Context, h queue.Handler[T], job *queue.Job[T]) error {
	args, err := json.Marshal(job.Args)
	if err != nil {
		return fmt.Errorf("%w: %w", queue.ErrInvalidArgs, err)
	}
	raw := queue.Job[queue.Raw]{
		ID:          job.ID,
		Kind:        job.Kind,
		Queue:       job.Queue,
		Args:        args,
		Attempt:     max(job.Attempt, 1),
		MaxAttempts: job.MaxAttempts,
		Priority:    job.Priority,
		EnqueuedAt:  job.EnqueuedAt,
		Header:      job.Header,
	}
	if raw.ID == "" {
		raw.ID = "test"
	}
	if raw.Kind == "" {
		raw.Kind = "test"
	}
	if raw.Queue == "" {
		raw.Queue = queue.DefaultQueue
	}
	if raw.EnqueuedAt.IsZero() {
		raw.EnqueuedAt = time.Now().UTC().Round(0)
	}
	mux := new(queue.Mux)
	queue.RegisterOn(mux, raw.Kind, h)
	return mux.Handler(raw.Kind).Handle(ctx, &raw)
}
