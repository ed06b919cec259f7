package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
	"github.com/goferhq/queue/status"
)

var errNoLuck = errors.New("no luck")

// tracing returns a middleware that tells of what passes through it.
func tracing(tr *trace, name string) queue.Middleware {
	return func(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
		return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
			tr.add(name + " in")
			err := next.Handle(ctx, job)
			verdict, _ := queue.VerdictOf(err)
			tr.add(fmt.Sprint(name, " ", verdict))
			return err
		})
	}
}

// traceHandler is a slog.Handler that tells of each message.
type traceHandler struct {
	slog.Handler
	trace *trace
}

func (h traceHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h traceHandler) Handle(_ context.Context, r slog.Record) error {
	h.trace.add(r.Message)
	return nil
}

func TestTheDefaultChainIsAsDocumented(t *testing.T) {
	events := new(trace)
	hooks := queue.Hooks{
		BeforePerform: func(context.Context, *queue.Job[queue.Raw]) error { events.add("hook in"); return nil },
		OnRetry: func(_ context.Context, _ *queue.Job[queue.Raw], _ error, delay time.Duration) {
			events.add(fmt.Sprint("hook retried in ", delay))
		},
		OnBury: func(context.Context, *queue.Job[queue.Raw], error) { events.add("hook buried") },
	}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			events.add("handler")
			if job.Attempt == 2 {
				panic("twice is too much")
			}
			return errNoLuck
		})
		w.enqueue("greet", 1, queue.MaxAttempts(2), queue.Retry(retry.Fixed(time.Minute)))
		w.run()
		pass(time.Minute)
		expectTrace(t, events, strings.Join([]string{
			// The hooks see what Retries has decided, and what is used does not.
			"queue: worker started", "job started", "hook in", "first in", "second in", "handler", "second undecided", "first undecided",
			"hook retried in 1m0s", "job failed, will be retried",
			// MaxAttemptsOf has the last word. Recover is outside of what is used.
			"job started", "hook in", "first in", "second in", "handler", "hook buried", "job buried",
		}, ", "))
	}, hooks, queue.Logger(slog.New(traceHandler{trace: events})),
		queue.Use(tracing(events, "first")), queue.Use(tracing(events, "second")))
}

func TestUseOnlyReplacesTheChain(t *testing.T) {
	events := new(trace)
	hooks := queue.Hooks{
		BeforePerform: func(context.Context, *queue.Job[queue.Raw]) error { events.add("hook"); return nil },
	}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", nothing[int])
		w.enqueue("greet", 1)
		w.run()
		expectTrace(t, events, "first in, second in, third in, third done, second done, first done")
		if got := w.logs.String(); got != "" {
			t.Errorf("without Logging, this was logged: %s", got)
		}
	}, hooks, queue.Use(tracing(events, "dropped")),
		queue.UseOnly(tracing(events, "first"), tracing(events, "second")), queue.Use(tracing(events, "third")))
}

func TestAnEmptyChainFallsBackToTheDefaultsOfRetriesAndMaxAttempts(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		ran := attempts(w, "greet", queue.Retry(retry.Fixed(time.Minute)))
		w.enqueue("greet", 1, queue.MaxAttempts(3))
		w.enqueue("greet", 1)
		w.run()
		pass(time.Hour)
		if got := strings.Count(ran.String(), "s"); got != 3+queue.DefaultMaxAttempts {
			t.Errorf("the jobs ran %d times in all, want 3 and %d", got, queue.DefaultMaxAttempts)
		}
	}, queue.UseOnly())
}

func TestANilMiddlewareIsRefused(t *testing.T) {
	expectPanic(t, func() { queue.New(storeless{}, queue.Use(nil)) }, "nil middleware")
	expectPanic(t, func() { queue.New(storeless{}, queue.UseOnly(queue.Recover(), nil)) }, "nil middleware")
}

func TestMiddlewareWithNonsensePanics(t *testing.T) {
	expectPanic(t, func() { queue.Retries(nil) }, "nil policy")
	expectPanic(t, func() { queue.MaxAttemptsOf(0) }, "less than one attempt")
	expectPanic(t, func() { queue.Timeouts(-1) }, "negative")
}

func TestMiddlewareIsAppliedOnceForEachKind(t *testing.T) {
	applied := 0
	count := func(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
		applied++ // by one worker only
		return next
	}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "a", nothing[int])
		handle(w, "b", nothing[int])
		for _, kind := range []string{"a", "b", "a", "a", "b"} {
			w.enqueue(kind, 1)
		}
		w.run()
		if applied != 2 {
			t.Errorf("the middleware was applied %d times, want twice", applied)
		}
	}, queue.Use(count), queue.Workers(1))
}

func TestMiddlewareIsAppliedOnceEvenWhenManyWorkersStartAtOnce(t *testing.T) {
	var applied atomic.Int64
	slow := func(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
		applied.Add(1)
		for range 1000 { // not a sleep: those who wait for it hold up the bubble's time
			runtime.Gosched()
		}
		return next
	}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(context.Context, *queue.Job[int]) error { time.Sleep(time.Second); return nil })
		for i := range 20 {
			w.enqueue("greet", i)
		}
		w.run()
		pass(time.Minute)
		w.expectEmpty()
		if n := applied.Load(); n != 1 {
			t.Errorf("the middleware was applied %d times, want once", n)
		}
	}, queue.Use(slow), queue.Workers(10))
}

func TestMiddlewareSeesTheJobAndCanChangeIt(t *testing.T) {
	change := func(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
		return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
			if string(job.Args) != `{"to":"a@b.c"}` || job.Kind != "send_email" || job.Attempt != 1 {
				return queue.Bury(fmt.Errorf("saw %+v", job))
			}
			job.Args = queue.Raw(`{"to":"x@y.z"}`)
			job.Header = map[string]string{"tenant": "acme"}
			return next.Handle(context.WithValue(ctx, ctxKey{}, "traced"), job)
		})
	}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		seen := new(trace)
		handle(w, "send_email", func(ctx context.Context, job *queue.Job[Email]) error {
			seen.add(fmt.Sprint(job.Args.To, job.Header, ctx.Value(ctxKey{})))
			return nil
		})
		w.enqueue("send_email", Email{"a@b.c"})
		w.run()
		expectTrace(t, seen, "x@y.zmap[tenant:acme]traced")
	}, queue.Use(change))
}

// failing runs a job of a kind that ends each attempt with err, of two at
// most, and returns what is buried after an hour, or nil.
func failing(t *testing.T, err func() error, options ...queue.OpenOption) (dead *backend.Entry) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(context.Context, *queue.Job[int]) error { return err() })
		w.enqueue("greet", 1, queue.MaxAttempts(2), queue.Retry(retry.Fixed(time.Minute)))
		w.run()
		pass(time.Hour)
		if len(w.peek(backend.Dead)) > 0 {
			dead = w.buried()
		}
	}, options...)
	return dead
}

func TestAPanicFailsTheAttemptWithItsStack(t *testing.T) {
	for name, test := range map[string]struct {
		value any
		text  string
		is    error
	}{
		"a string": {"ouch", "queue: handler panicked: ouch", nil},
		"an error": {io.ErrUnexpectedEOF, "unexpected EOF", io.ErrUnexpectedEOF},
		"nil":      {nil, "panic called with nil argument", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var seen error
			keep := queue.Hooks{OnFailure: func(_ context.Context, _ *queue.Job[queue.Raw], err error) { seen = err }}
			dead := failing(t, func() error { panic(test.value) }, keep)
			if dead == nil || dead.Attempt != 2 {
				t.Fatalf("buried %+v, want it after the second attempt", dead)
			}
			expectText(t, dead.Failure.Error, test.text)
			p, ok := errors.AsType[*queue.PanicError](seen)
			if !ok || test.is != nil && !errors.Is(seen, test.is) {
				t.Fatalf("the failure is %v, want a PanicError", seen)
			}
			expectText(t, string(p.Stack), "middleware_test.go")
			if dead.Failure.Type != "*queue.PanicError" || !strings.Contains(dead.Failure.Backtrace[0], "middleware_test.go") {
				t.Errorf("the dead set has %+v, want the frames of the panic, and no others above", dead.Failure)
			}
		})
	}
}

func TestAPanicWithAControlErrorIsOnlyAPanic(t *testing.T) {
	dead := failing(t, func() error { panic(queue.Cancel(errNoLuck)) })
	if dead == nil || dead.Attempt != 2 {
		t.Errorf("buried %+v, want it after its last attempt", dead)
	}
}

func TestAnErrorThatPanicsWhenAskedFailsTheAttemptOnly(t *testing.T) {
	var nilError *touchy
	for _, err := range []error{nilError, queue.Bury(nilError), fmt.Errorf("wrapped: %w", nilError)} {
		if dead := failing(t, func() error { return err }); dead == nil {
			t.Errorf("%T is not buried", err)
		}
	}
}

// touchy is an error whose nil pointer panics, as many do.
type touchy struct{ text string }

func (e *touchy) Error() string { return e.text }

// hollow is an error whose nil pointer panics as soon as anybody looks into it.
type hollow struct{ inner error }

func (e *hollow) Error() string { return e.inner.Error() }
func (e *hollow) Unwrap() error { return e.inner }

func TestAJobWithAnErrorThatPanicsWhenAskedIsFollowedToItsEnd(t *testing.T) {
	for _, most := range []int{1, 2} {
		events := new(trace)
		inWorkshop(t, func(t *testing.T, w *workshop) {
			handle(w, "greet", func(context.Context, *queue.Job[int]) error {
				var e *hollow
				return e
			}, queue.Retry(retry.Fixed(time.Minute)), queue.MaxAttempts(most))
			id := w.enqueue("greet", 1, queue.Track())
			w.run()
			want := "OnFailure, OnBury, AfterAttempt buried"
			if most == 2 {
				if s := w.status(id); s.State != status.Retrying || len(s.Errors) != 1 {
					t.Errorf("after the first attempt: %+v", s)
				}
				want = "OnFailure, OnRetry, AfterAttempt retried, " + want
			}
			pass(time.Minute)
			if s := w.status(id); s.State != status.Dead || len(s.Errors) != most || !strings.Contains(s.Error, "nil pointer") {
				t.Errorf("in the end: %+v", s)
			}
			expectText(t, w.buried().Failure.Error, "nil pointer")
			expectTrace(t, events, want)
		}, late(events))
	}
}

func TestAnErrorThatPanicsWhenAskedIsBuriedWithoutAnyMiddlewareToo(t *testing.T) {
	dead := failing(t, func() error { var e *hollow; return e }, queue.UseOnly())
	if dead == nil || dead.Attempt != 2 {
		t.Errorf("buried %+v, want it after the second attempt", dead)
	}
}

func TestAPolicyThatPanicsIsReplacedByTheDefault(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		ran := attempts(w, "greet", queue.Retry(retry.PolicyFunc(nil)), queue.MaxAttempts(2))
		w.enqueue("greet", 1)
		w.run()
		pass(time.Hour)
		if strings.Count(ran.String(), "s") != 2 {
			t.Errorf("the job ran at %s, want twice", ran)
		}
		expectText(t, w.buried().Failure.Error, "no luck", "nil pointer")
	})
}

func TestTimeoutEndsTheContextWithItsCause(t *testing.T) {
	for name, option := range map[string]queue.OpenOption{
		"of the kind":       queue.Use(),
		"of the middleware": queue.UseOnly(queue.Retries(retry.Never()), queue.Timeouts(time.Second)),
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				var options []queue.Option
				if name == "of the kind" {
					options = append(options, queue.Timeout(time.Second))
				}
				var cause error
				var took time.Duration
				handle(w, "greet", func(ctx context.Context, _ *queue.Job[int]) error {
					start := time.Now()
					<-ctx.Done()
					cause, took = context.Cause(ctx), time.Since(start)
					return queue.Bury(ctx.Err())
				}, options...)
				w.enqueue("greet", 1)
				w.run()
				pass(time.Second)
				if cause != queue.ErrTimeout || took != time.Second {
					t.Errorf("the context ended by %v after %v, want ErrTimeout after 1s", cause, took)
				}
				expectText(t, w.buried().Failure.Error, "context deadline exceeded")
			}, option)
		})
	}
}

func TestAnErrorAfterTheTimeoutSaysSoAndWrapsTheHandlers(t *testing.T) {
	var seen error
	keep := queue.Hooks{OnFailure: func(_ context.Context, _ *queue.Job[queue.Raw], err error) { seen = err }}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(context.Context, *queue.Job[int]) error {
			time.Sleep(3 * time.Second) // it ignores its context
			return errNoLuck
		}, queue.Timeout(time.Second), queue.Retry(retry.Never()))
		w.enqueue("greet", 1)
		w.run()
		pass(3 * time.Second)
		if !errors.Is(seen, queue.ErrTimeout) || !errors.Is(seen, errNoLuck) {
			t.Errorf("the failure is %v, want ErrTimeout and that of the handler", seen)
		}
		expectText(t, w.buried().Failure.Error, "timed out after 1s", "no luck")
	}, keep)
}

func TestASuccessAfterTheTimeoutIsASuccess(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(context.Context, *queue.Job[int]) error {
			time.Sleep(3 * time.Second)
			return nil
		}, queue.Timeout(time.Second))
		w.enqueue("greet", 1)
		w.run()
		pass(3 * time.Second)
		w.expectEmpty()
	})
}

func TestAnErrorBeforeTheTimeoutIsNotCalledOne(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(context.Context, *queue.Job[int]) error { return errNoLuck },
			queue.Timeout(time.Second), queue.Retry(retry.Never()))
		w.enqueue("greet", 1)
		w.run()
		if got := w.buried().Failure.Error; got != "no luck" {
			t.Errorf("the failure is %q", got)
		}
	})
}

func TestTheJobsOwnMaxAttemptsWins(t *testing.T) {
	for _, test := range []struct{ own, of, want int }{{0, 3, 3}, {2, 3, 2}, {5, 3, 5}, {1, 3, 1}} {
		inWorkshop(t, func(t *testing.T, w *workshop) {
			attempts(w, "greet")
			var options []queue.Option
			if test.own > 0 {
				options = append(options, queue.MaxAttempts(test.own))
			}
			w.enqueue("greet", 1, options...)
			w.run()
			pass(time.Hour)
			if dead := w.buried(); dead.Attempt != test.want {
				t.Errorf("MaxAttempts(%d) under MaxAttemptsOf(%d) buried after attempt %d, want %d", test.own, test.of, dead.Attempt, test.want)
			}
		}, queue.UseOnly(queue.MaxAttemptsOf(test.of), queue.Retries(retry.Fixed(time.Minute))))
	}
}

func TestRetriesKnowsHowLongAgoTheJobWasEnqueued(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		ran := attempts(w, "greet", queue.Retry(retry.Fixed(time.Hour).Until(150*time.Minute)))
		w.enqueue("greet", 1)
		w.run()
		pass(24 * time.Hour)
		expectTrace(t, ran, "0s, 1h0m0s, 2h0m0s")
	})
}
