package queue

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
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

	// WorkerStart is called when Run begins. Its error ends Run. Neither it
	// nor WorkerStop may call Close, which waits for Run.
	WorkerStart func(ctx context.Context) error

	// BeforePerform is called before each attempt. Its error, unless it is
	// one of RetryIn, Bury, Snooze or Cancel, drops the job as by Cancel,
	// wrapped with ErrVetoed.
	BeforePerform func(ctx context.Context, job *Job[Raw]) error

	// AfterPerform is called after an attempt that succeeded. A panic of it
	// and of the hooks below is logged and changes nothing.
	AfterPerform func(ctx context.Context, job *Job[Raw])

	// OnFailure is called after an attempt that failed, and then OnRetry or
	// OnBury, by what becomes of the job.
	OnFailure func(ctx context.Context, job *Job[Raw], err error)
	OnRetry   func(ctx context.Context, job *Job[Raw], err error, delay time.Duration)
	OnBury    func(ctx context.Context, job *Job[Raw], err error)

	// AfterAttempt is called by the worker itself after every attempt, outside
	// of all middleware, also when UseOnly has replaced the chain: verdict is
	// what becomes of the job, delay when it runs again if it does, and err
	// why: what the handler returned, without its verdict, or why there was
	// none. No hook is called for an attempt whose job was given to another
	// worker meanwhile.
	AfterAttempt func(ctx context.Context, job *Job[Raw], verdict Verdict, delay time.Duration, err error)

	// WorkerStop is called when Run ends, after the last job but for those of
	// handlers that have not returned in time.
	WorkerStop func(ctx context.Context)
}

func (h Hooks) applyOpen(c *config) { c.hooks = append(c.hooks, h) }

// Middleware returns the middleware that calls BeforePerform, AfterPerform,
// OnFailure, OnRetry and OnBury. The default chain has it for the Hooks that
// a queue is opened with; a chain of one's own needs it, outside of Retries.
func (h Hooks) Middleware() Middleware {
	return func(next Handler[Raw]) Handler[Raw] {
		list := hookList{h}
		return list.after(slog.Default())(list.before(next))
	}
}

type hookList []Hooks

// before calls BeforePerform. It stands next to the handler, so that a hook
// that fails or panics is treated as the handler would be.
func (l hookList) before(next Handler[Raw]) Handler[Raw] {
	if !slices.ContainsFunc(l, func(h Hooks) bool { return h.BeforePerform != nil }) {
		return next
	}
	return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
		for _, h := range l {
			if h.BeforePerform == nil || job.foregone() {
				continue
			}
			if err := h.BeforePerform(ctx, job); err != nil {
				if verdict, _ := VerdictOf(err); verdict == Undecided {
					return Cancel(fmt.Errorf("%w: %w", ErrVetoed, err))
				}
				return err
			}
		}
		return next.Handle(ctx, job)
	})
}

// after returns the middleware that calls the hooks for what was decided.
func (l hookList) after(logger *slog.Logger) Middleware {
	return func(next Handler[Raw]) Handler[Raw] {
		if len(l) == 0 {
			return next
		}
		return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
			err := next.Handle(ctx, job)
			if a := job.attempt; a == nil || !a.disowned() {
				l.afterPerform(ctx, job, err, logger)
			}
			return err
		})
	}
}

func (l hookList) afterPerform(ctx context.Context, job *Job[Raw], err error, logger *slog.Logger) {
	verdict, delay := VerdictOf(err)
	why := cause(err)
	for _, h := range l {
		failed := verdict == Undecided || verdict == Retried || verdict == Buried
		switch {
		case verdict == Done && h.AfterPerform != nil:
			shielded(job, logger, "AfterPerform", func() { h.AfterPerform(ctx, job) })
		case failed && h.OnFailure != nil:
			shielded(job, logger, "OnFailure", func() { h.OnFailure(ctx, job, why) })
		}
		switch {
		case verdict == Retried && h.OnRetry != nil:
			shielded(job, logger, "OnRetry", func() { h.OnRetry(ctx, job, why, delay) })
		case verdict == Buried && h.OnBury != nil:
			shielded(job, logger, "OnBury", func() { h.OnBury(ctx, job, why) })
		}
	}
}

func (l hookList) afterAttempt(ctx context.Context, job *Job[Raw], err error, logger *slog.Logger) {
	verdict, delay := VerdictOf(err)
	for _, h := range l {
		if h.AfterAttempt != nil {
			shielded(job, logger, "AfterAttempt", func() { h.AfterAttempt(ctx, job, verdict, delay, cause(err)) })
		}
	}
}

// shielded calls a hook that comes after the decision. Its panic, or its
// runtime.Goexit, is logged and does not change what becomes of the job.
func shielded(job *Job[Raw], logger *slog.Logger, name string, hook func()) {
	returned := false
	defer func() {
		if v := recover(); v != nil || !returned {
			logger.Error("queue: hook panicked", "hook", name, "kind", job.Kind, "id", job.ID,
				"panic", fmt.Sprint(v), "backtrace", backtrace(debug.Stack()))
		}
	}()
	hook()
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
		if job.Header == nil {
			job.Header = make(map[string]string) // a hook may set a field
		}
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
