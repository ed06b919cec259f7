package queue

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/goferhq/queue/backend"
)

// Hooks are functions that are called at points of a job's life, those that
// users of Resque and php-resque know. Any of them may be nil. They are called
// from many goroutines at a time, on the goroutine of what they belong to, and
// so they should be quick.
//
// Hooks is an OpenOption; given several times, all are called, in order:
//
//	q, err := queue.Open(ctx, url, queue.Hooks{
//		OnBury: func(ctx context.Context, job *queue.Job[queue.Raw], err error) { … },
//	})
type Hooks struct {
	// BeforeEnqueue is called before a job is sent to the broker. Its error
	// refuses the job: Enqueue returns it, wrapped with ErrVetoed. What it
	// changes in Header is stored.
	BeforeEnqueue func(ctx context.Context, job *Job[Raw]) error

	// BeforeDelayedEnqueue is called after BeforeEnqueue for a job that has a
	// delay. Its error refuses the job too.
	BeforeDelayedEnqueue func(ctx context.Context, job *Job[Raw], delay time.Duration) error

	// AfterEnqueue is called when the broker has stored a job that is ready,
	// AfterSchedule when it has stored one that has a delay.
	AfterEnqueue  func(ctx context.Context, job *Job[Raw])
	AfterSchedule func(ctx context.Context, job *Job[Raw], delay time.Duration)

	// WorkerStart is called when Run begins. Its error ends Run.
	WorkerStart func(ctx context.Context) error

	// BeforePerform is called before each attempt. Its error, unless it is
	// one of RetryIn, Bury, Snooze or Cancel, drops the job as by Cancel,
	// wrapped with ErrVetoed.
	BeforePerform func(ctx context.Context, job *Job[Raw]) error

	// AfterPerform is called after an attempt that succeeded.
	AfterPerform func(ctx context.Context, job *Job[Raw])

	// OnFailure is called after an attempt that failed, and then OnRetry or
	// OnBury, by what becomes of the job.
	OnFailure func(ctx context.Context, job *Job[Raw], err error)
	OnRetry   func(ctx context.Context, job *Job[Raw], err error, delay time.Duration)
	OnBury    func(ctx context.Context, job *Job[Raw], err error)

	// AfterAttempt is called by the worker itself after every attempt, outside
	// of all middleware, also when UseOnly has replaced the chain: verdict is
	// what becomes of the job, delay when it runs again if it does, and err
	// what its handler returned, or why it had none.
	AfterAttempt func(ctx context.Context, job *Job[Raw], verdict Verdict, delay time.Duration, err error)

	// WorkerStop is called when Run ends, after the last job.
	WorkerStop func(ctx context.Context)
}

func (h Hooks) applyOpen(c *config) { c.hooks = append(c.hooks, h) }

// Middleware returns the middleware that calls BeforePerform, AfterPerform,
// OnFailure, OnRetry and OnBury. The default chain has it for the Hooks that
// a queue is opened with; a chain of one's own needs it.
func (h Hooks) Middleware() Middleware { return hookList{h}.middleware() }

type hookList []Hooks

func (l hookList) middleware() Middleware {
	return func(next Handler[Raw]) Handler[Raw] {
		if len(l) == 0 {
			return next
		}
		// A hook that panics fails the attempt, and Logging tells of it.
		return Recover()(HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
			err := l.beforePerform(ctx, job)
			if err == nil {
				err = next.Handle(ctx, job)
			}
			l.afterPerform(ctx, job, err)
			return err
		}))
	}
}

func (l hookList) beforePerform(ctx context.Context, job *Job[Raw]) error {
	if job.foregone() {
		return nil
	}
	for _, h := range l {
		if h.BeforePerform == nil {
			continue
		}
		if err := h.BeforePerform(ctx, job); err != nil {
			if verdict, _ := VerdictOf(err); verdict == Undecided {
				return Cancel(fmt.Errorf("%w: %w", ErrVetoed, err))
			}
			return err
		}
	}
	return nil
}

func (l hookList) afterPerform(ctx context.Context, job *Job[Raw], err error) {
	verdict, delay := VerdictOf(err)
	why := cause(err)
	for _, h := range l {
		failed := verdict == Undecided || verdict == Retried || verdict == Buried
		switch {
		case verdict == Done && h.AfterPerform != nil:
			h.AfterPerform(ctx, job)
		case failed && h.OnFailure != nil:
			h.OnFailure(ctx, job, why)
		}
		switch {
		case verdict == Retried && h.OnRetry != nil:
			h.OnRetry(ctx, job, why, delay)
		case verdict == Buried && h.OnBury != nil:
			h.OnBury(ctx, job, why)
		}
	}
}

// afterAttempt survives what it calls: no middleware stands around it.
func (l hookList) afterAttempt(ctx context.Context, job *Job[Raw], err error, logger *slog.Logger) {
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover()
		if v == nil {
			v = ErrGoexit
		}
		logger.ErrorContext(ctx, "queue: AfterAttempt panicked", "kind", job.Kind, "id", job.ID, "panic", v)
	}()
	verdict, delay := VerdictOf(err)
	for _, h := range l {
		if h.AfterAttempt != nil {
			h.AfterAttempt(ctx, job, verdict, delay, cause(err))
		}
	}
	returned = true
}

// aroundEnqueue reports whether there are hooks to call for an Enqueue.
func (l hookList) aroundEnqueue() bool {
	for _, h := range l {
		if h.BeforeEnqueue != nil || h.BeforeDelayedEnqueue != nil || h.AfterEnqueue != nil || h.AfterSchedule != nil {
			return true
		}
	}
	return false
}

func (l hookList) beforeEnqueue(ctx context.Context, m *backend.Message) error {
	for _, h := range l {
		job := jobOf(m)
		var err error
		if h.BeforeEnqueue != nil {
			err = h.BeforeEnqueue(ctx, &job)
		}
		if err == nil && m.Delay > 0 && h.BeforeDelayedEnqueue != nil {
			err = h.BeforeDelayedEnqueue(ctx, &job, m.Delay)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrVetoed, err)
		}
		if !maps.Equal(m.Header, job.Header) {
			if err := checkHeader(job.Header); err != nil {
				return err
			}
			m.Header = job.Header
		}
	}
	return nil
}

func (l hookList) afterEnqueue(ctx context.Context, m *backend.Message) {
	for _, h := range l {
		switch {
		case m.Delay == 0 && h.AfterEnqueue != nil:
			job := jobOf(m)
			h.AfterEnqueue(ctx, &job)
		case m.Delay > 0 && h.AfterSchedule != nil:
			job := jobOf(m)
			h.AfterSchedule(ctx, &job, m.Delay)
		}
	}
}

func (l hookList) workerStart(ctx context.Context) error {
	for i, h := range l {
		if h.WorkerStart != nil {
			if err := h.WorkerStart(ctx); err != nil {
				l[:i].workerStop(context.WithoutCancel(ctx)) // for those that have started
				return fmt.Errorf("queue: WorkerStart: %w", err)
			}
		}
	}
	return nil
}

func (l hookList) workerStop(ctx context.Context) {
	for _, h := range l {
		if h.WorkerStop != nil {
			h.WorkerStop(ctx)
		}
	}
}
