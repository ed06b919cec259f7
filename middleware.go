package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/goferhq/queue/retry"
)

// Middleware wraps the handling of every job. It sees the job before its
// arguments are decoded, and the error of what it wraps, whose meaning
// VerdictOf tells.
//
//	func Timed(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
//		return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
//			start := time.Now()
//			err := next.Handle(ctx, job)
//			observe(job.Kind, time.Since(start))
//			return err
//		})
//	}
//
// Middleware decides what becomes of a job; the worker obeys. A middleware is
// applied once for each kind in each Run, when the first job of that kind
// comes.
type Middleware func(next Handler[Raw]) Handler[Raw]

// DefaultMaxAttempts is after how many attempts a job is buried, as with
// Sidekiq and River. With the default policy of retry that takes 16 days.
const DefaultMaxAttempts = 25

// chain returns the middleware of a queue, the outermost first. This is the
// one place where the default is written out.
func (c *config) chain() []Middleware {
	if c.replaced {
		return append(c.middleware[:len(c.middleware):len(c.middleware)], foregone)
	}
	return append([]Middleware{
		logging(c.logger, c.logArgs),      // outermost: it tells what was decided
		Tracking(),                        // marks the job as running
		c.hooks.after(c.logger),           // AfterPerform, OnFailure, OnRetry, OnBury
		MaxAttemptsOf(DefaultMaxAttempts), // has the last word on retries
		Retries(retry.Default()),          // gives every error a verdict
		Timeouts(0),                       // none but what Timeout asks for
		Recover(),                         // makes a panic an error for all above
		foregone,                          // an attempt without a handler ends here
		c.hooks.before,                    // BeforePerform
	}, c.middleware...)
}

// foregone ends the chain early for an attempt whose outcome was clear before
// a handler could be called, so that what is above still sees it.
func foregone(next Handler[Raw]) Handler[Raw] {
	return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
		if job.foregone() {
			return job.attempt.foregone
		}
		return next.Handle(ctx, job)
	})
}

func (j *Job[T]) foregone() bool { return j.attempt != nil && j.attempt.foregone != nil }

// Recover makes the panic of a handler a [*PanicError], so that the
// middleware around it sees a failed attempt like any other. A panic that
// gets past it, and runtime.Goexit, fail the attempt too.
func Recover() Middleware {
	return func(next Handler[Raw]) Handler[Raw] {
		return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) (err error) {
			defer func() {
				if v := recover(); v != nil {
					err = &PanicError{Value: v, Stack: debug.Stack()}
				}
			}()
			err = next.Handle(ctx, job)
			// Looking at an error calls its methods, which can panic too: those
			// of a nil pointer in it, for one.
			VerdictOf(err)
			return err
		})
	}
}

// Retries gives every error that has no verdict yet one, by policy or by what
// Retry set for the job: the job runs again after the policy's delay, or is
// buried when the policy says so. An attempt that was interrupted by the
// shutdown of its process is put back unspent.
func Retries(policy retry.Policy) Middleware {
	if policy == nil {
		panic("queue: Retries with a nil policy")
	}
	return func(next Handler[Raw]) Handler[Raw] {
		return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
			return decide(ctx, job, next.Handle(ctx, job), policy)
		})
	}
}

func decide(ctx context.Context, job *Job[Raw], err error, policy retry.Policy) error {
	if verdict, _ := VerdictOf(err); verdict != Undecided {
		return err
	}
	if context.Cause(ctx) == ErrShutdown {
		return snooze(0, err)
	}
	if a := job.attempt; a != nil {
		if a.settings.buryOnError {
			return Bury(err)
		}
		if a.settings.retry != nil {
			policy = a.settings.retry
		}
	}
	failed := retry.Attempt{Number: job.Attempt, Err: err}
	if !job.EnqueuedAt.IsZero() {
		failed.Elapsed = time.Since(job.EnqueuedAt)
	}
	delay, again, panicked := ask(policy, failed)
	if panicked != nil {
		err = errors.Join(err, panicked)
	}
	if !again {
		return Bury(err)
	}
	return RetryIn(delay, err)
}

// ask asks a policy, which may be the user's code. The default stands in for
// one that panics.
func ask(policy retry.Policy, failed retry.Attempt) (delay time.Duration, again bool, panicked error) {
	defer func() {
		if v := recover(); v != nil {
			panicked = &PanicError{Value: v, Stack: debug.Stack()}
			delay, again = retry.Default().Next(failed)
		}
	}()
	delay, again = policy.Next(failed)
	return delay, again, nil
}

// MaxAttemptsOf buries a job instead of retrying it once it has had the
// attempts that it may have: those of MaxAttempts, else n.
func MaxAttemptsOf(n int) Middleware {
	if n < 1 {
		panic("queue: MaxAttemptsOf with less than one attempt")
	}
	return func(next Handler[Raw]) Handler[Raw] {
		return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
			most := n
			if job.MaxAttempts > 0 {
				most = job.MaxAttempts
			}
			if job.Attempt > most && !job.foregone() {
				return Bury(fmt.Errorf("%w: attempt %d would be above the limit of %d", ErrAttemptsExhausted, job.Attempt, most))
			}
			return limit(job, next.Handle(ctx, job), most)
		})
	}
}

// limit turns the error of the last attempt that a job may have into a burial,
// unless its verdict is another than to try again.
func limit(job *Job[Raw], err error, most int) error {
	if verdict, _ := VerdictOf(err); job.Attempt >= most && (verdict == Retried || verdict == Undecided) {
		return Bury(err)
	}
	return err
}

// Timeouts ends the context of an attempt with [ErrTimeout] after what
// Timeout set for the job, else after d; 0 is no timeout. The handler is still
// waited for: its worker stays taken until it returns, and one that does not
// is reported as stuck.
func Timeouts(d time.Duration) Middleware {
	if d < 0 {
		panic("queue: Timeouts with a negative duration")
	}
	return func(next Handler[Raw]) Handler[Raw] {
		return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
			timeout, a := d, job.attempt
			if a != nil && a.settings.timeout > 0 {
				timeout = a.settings.timeout
			}
			if timeout == 0 || job.foregone() {
				return next.Handle(ctx, job)
			}
			if a != nil {
				a.expire(time.Now().Add(timeout))
			}
			ctx, cancel := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
			defer cancel()
			err := next.Handle(ctx, job)
			if err != nil && context.Cause(ctx) == ErrTimeout && !errors.Is(err, ErrTimeout) {
				return fmt.Errorf("%w after %v: %w", ErrTimeout, timeout, err)
			}
			return err
		})
	}
}
