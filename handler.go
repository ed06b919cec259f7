package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Handler does the jobs of one kind, whose arguments are of type T.
//
// Handle is called once for each attempt, from many goroutines at a time. A
// nil error means that the job is done. RetryIn, Bury, Snooze and Cancel
// return errors that say what is to happen; any other error is up to the
// retry policy. A handler may run twice for one job, when its process dies or
// loses the broker at the wrong moment, and so it should be idempotent;
// queuetest.Duplicate helps to test that.
//
// ctx carries the values of Run's context. It ends when the job's Timeout is
// over, when the broker has given the job to somebody else, or when the queue
// shuts down and its grace is over; context.Cause tells which: [ErrTimeout],
// [ErrLeaseLost], [ErrShutdown]. Run itself waits for the handler to return.
type Handler[T any] interface {
	Handle(ctx context.Context, job *Job[T]) error
}

// HandlerFunc is a function that is a Handler.
type HandlerFunc[T any] func(ctx context.Context, job *Job[T]) error

// Handle calls f.
func (f HandlerFunc[T]) Handle(ctx context.Context, job *Job[T]) error { return f(ctx, job) }

// SetUpper is a Handler that prepares each attempt. SetUp runs before Handle,
// inside all middleware; its error fails the attempt, and neither Handle nor
// TearDown is then called.
type SetUpper[T any] interface {
	SetUp(ctx context.Context, job *Job[T]) error
}

// TearDowner is a Handler that cleans up behind each attempt. TearDown runs
// after Handle, also when that panicked; its error fails an attempt that
// would have succeeded.
type TearDowner[T any] interface {
	TearDown(ctx context.Context, job *Job[T]) error
}

// decoding returns the innermost Handler[Raw] of a kind: it decodes the
// arguments and calls h.
func decoding[T any](h Handler[T]) Handler[Raw] {
	setUpper, _ := h.(SetUpper[T])
	tearDowner, _ := h.(TearDowner[T])
	return HandlerFunc[Raw](func(ctx context.Context, raw *Job[Raw]) (err error) {
		job := &Job[T]{
			ID:          raw.ID,
			Kind:        raw.Kind,
			Queue:       raw.Queue,
			Attempt:     raw.Attempt,
			MaxAttempts: raw.MaxAttempts,
			Priority:    raw.Priority,
			EnqueuedAt:  raw.EnqueuedAt,
			Header:      raw.Header,
			attempt:     raw.attempt,
		}
		if a := raw.attempt; a != nil && a.settings.positional {
			err = decodePositional(raw.Args, &job.Args)
		} else {
			err = decodeArgs(raw.Args, &job.Args)
		}
		if err != nil {
			return Bury(fmt.Errorf("%w: %w", ErrInvalidArgs, err))
		}
		if setUpper != nil {
			if err := setUpper.SetUp(ctx, job); err != nil {
				return err
			}
		}
		if tearDowner != nil {
			defer func() {
				if down := tearDowner.TearDown(ctx, job); down != nil {
					err = errors.Join(err, down)
				}
			}()
		}
		return h.Handle(ctx, job)
	})
}

func decodeArgs[T any](raw Raw, args *T) error {
	if keep, ok := any(args).(*Raw); ok {
		*keep = raw
		return nil
	}
	return json.Unmarshal(raw, args)
}
