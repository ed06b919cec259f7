package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
	"github.com/goferhq/queue/status"
)

// A misdeed is what a handler does in place of returning.
type misdeed struct {
	name  string
	do    func()
	shows string // in the failure
}

func misdeeds() []misdeed {
	return []misdeed{
		{"panic", func() { panic("boom") }, "boom"},
		{"panic with an error", func() { panic(errors.New("boom")) }, "boom"},
		{"panic with nil", func() { panic(nil) }, "nil"},
		{"index", func() { var none []int; none[len(none)] = 1 }, "out of range"},
		{"Goexit", runtime.Goexit, "Goexit"},
		{"FailNow", new(testing.T).FailNow, "Goexit"},
		{"Goexit while panicking", func() { defer runtime.Goexit(); panic("boom") }, "Goexit"},
	}
}

func TestAHandlerThatDoesNotReturnNormallyFailsItsAttemptWithTheStack(t *testing.T) {
	for _, m := range misdeeds() {
		t.Run(m.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				seen := new(tally)
				r := newRig(t, queue.Workers(1), watching(seen), queue.Use(noting(seen, "inner")))
				misbehave := func(context.Context, *queue.Job[int]) error { m.do(); return nil }
				r.handle("bad", misbehave, queue.MaxAttempts(2))
				r.handle("good", func(context.Context, *queue.Job[int]) error { return nil })
				bad := r.enqueue("bad", 0, queue.Track())
				r.enqueue("good", 0)
				running := r.start()
				synctest.Wait()
				r.expectStats(0, 1, 0, 0) // bad waits for its retry, good was done by the same worker
				time.Sleep(time.Hour)
				dead := r.expectBuried(m.shows)
				first := 0
				if m.name == "FailNow" { // which calls Goexit for its caller
					first = 1
				}
				if dead.Attempt != 2 || !strings.Contains(dead.Failure.Backtrace[first], "faults_test.go") {
					t.Errorf("attempt %d was buried with the backtrace %q", dead.Attempt, dead.Failure.Backtrace)
				}
				seen.expect(t, map[string]int{
					"OnFailure": 2, "OnRetry": 1, "OnBury": 1, "AfterPerform": 1,
					"inner begins": 3, "inner ends": 1,
				})
				if s, err := r.queue.Status(t.Context(), bad); err != nil || s.State != status.Dead || !strings.Contains(s.Error, m.shows) {
					t.Errorf("the status is %+v, %v", s, err)
				}
				if n := len(r.logs.with("job buried")); n != 1 {
					t.Errorf("the burial was logged %d times", n)
				}
				running.mustStop()
			})
		})
	}
}

// watching counts the hooks that are called.
func watching(seen *tally) queue.Hooks {
	return queue.Hooks{
		AfterPerform: func(context.Context, *queue.Job[queue.Raw]) { seen.add("AfterPerform") },
		OnFailure:    func(context.Context, *queue.Job[queue.Raw], error) { seen.add("OnFailure") },
		OnRetry:      func(context.Context, *queue.Job[queue.Raw], error, time.Duration) { seen.add("OnRetry") },
		OnBury:       func(context.Context, *queue.Job[queue.Raw], error) { seen.add("OnBury") },
	}
}

// noting counts the attempts that go into a middleware and come out again.
func noting(seen *tally, name string) queue.Middleware {
	return func(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
		return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
			seen.add(name + " begins")
			err := next.Handle(ctx, job)
			seen.add(name + " ends")
			return err
		})
	}
}

func TestAMiddlewareThatDoesNotReturnNormallyFailsTheAttempt(t *testing.T) {
	for _, m := range misdeeds() {
		around := func(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
			return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
				if job.Kind == "bad" {
					m.do()
				}
				return next.Handle(ctx, job)
			})
		}
		for name, option := range map[string]queue.OpenOption{"inner": queue.Use(around), "only": queue.UseOnly(around)} {
			t.Run(m.name+"/"+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRig(t, queue.Workers(1), option)
					noop := func(context.Context, *queue.Job[int]) error { return nil }
					r.handle("bad", noop)
					r.handle("good", noop)
					r.enqueue("bad", 0)
					r.enqueue("good", 0)
					running := r.start()
					synctest.Wait()
					r.expectStats(0, 1, 0, 0)
					time.Sleep(24 * time.Hour)
					r.expectBuried(m.shows)
					running.mustStop()
				})
			})
		}
	}
}

// dressed is a handler with a SetUp and a TearDown of choice.
type dressed struct{ setUp, handle, tearDown func() }

func (d dressed) SetUp(context.Context, *queue.Job[int]) error    { d.setUp(); return nil }
func (d dressed) Handle(context.Context, *queue.Job[int]) error   { d.handle(); return nil }
func (d dressed) TearDown(context.Context, *queue.Job[int]) error { d.tearDown(); return nil }

func TestSetUpAndTearDownThatDoNotReturnNormallyFailTheAttempt(t *testing.T) {
	noop := func() {}
	for _, m := range misdeeds() {
		for name, h := range map[string]dressed{
			"SetUp":    {m.do, noop, noop},
			"TearDown": {noop, noop, m.do},
			"both":     {noop, m.do, m.do},
		} {
			t.Run(m.name+"/"+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRig(t, queue.Workers(1))
					queue.RegisterOn(r.mux, "bad", h, queue.MaxAttempts(1))
					r.handle("good", func(context.Context, *queue.Job[int]) error { return nil })
					r.enqueue("bad", 0)
					r.enqueue("good", 0)
					running := r.start()
					synctest.Wait()
					r.expectStats(0, 0, 0, 1)
					r.expectBuried(m.shows)
					running.mustStop()
				})
			})
		}
	}
}

func TestAThousandGoexitsInARowLeaveTheOneWorkerAlive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(1))
		var runs atomic.Int64
		r.handle("exit", func(context.Context, *queue.Job[int]) error { runs.Add(1); runtime.Goexit(); return nil }, queue.MaxAttempts(1))
		r.handle("good", func(context.Context, *queue.Job[int]) error { return nil })
		r.enqueueAll("exit", 1000)
		r.enqueue("good", 0)
		before := runtime.NumGoroutine()
		running := r.start()
		synctest.Wait()
		r.expectStats(0, 0, 0, 1000)
		if runs.Load() != 1000 {
			t.Errorf("there were %d runs", runs.Load())
		}
		if n := runtime.NumGoroutine() - before; n > 10 {
			t.Errorf("there are %d goroutines more", n)
		}
		running.mustStop()
	})
}

// touchyError panics when it is asked for anything, as a nil pointer in an
// error interface does.
type touchyError struct{ text string }

func (e *touchyError) Error() string { return e.text }

// touchyChain panics when errors.As walks along it.
type touchyChain struct{}

func (touchyChain) Error() string { return "touchy" }
func (touchyChain) Unwrap() error { panic("unwrapped") }

// touchyPolicy does m when it is asked.
type touchyPolicy struct{ m misdeed }

func (p touchyPolicy) Next(retry.Attempt) (time.Duration, bool) { p.m.do(); return 0, true }

func TestUserCodeThatMisbehavesAfterTheHandlerKillsNeitherProcessNorWorker(t *testing.T) {
	for name, result := range map[string]error{
		"nil pointer":        (*touchyError)(nil),
		"wrapped":            fmt.Errorf("outer: %w", touchyChain{}),
		"buried nil pointer": queue.Bury((*touchyError)(nil)),
	} {
		for chain, options := range map[string][]queue.OpenOption{"default": nil, "none": {queue.UseOnly()}} {
			t.Run(name+"/"+chain, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					// A logger that formats, as the default one does.
					options := append(options, queue.Workers(1), queue.Logger(slog.New(slog.DiscardHandler)))
					r := newRig(t, options...)
					r.handle("bad", func(context.Context, *queue.Job[int]) error { return result })
					r.handle("good", func(context.Context, *queue.Job[int]) error { return nil })
					r.enqueue("bad", 0)
					r.enqueue("good", 0)
					running := r.start()
					time.Sleep(365 * 24 * time.Hour)
					r.expectStats(0, 0, 0, 1)
					running.mustStop()
				})
			})
		}
	}
}

func TestAPolicyThatDoesNotReturnNormallyKillsNeitherProcessNorWorker(t *testing.T) {
	for _, m := range misdeeds() {
		for chain, options := range map[string][]queue.OpenOption{"default": nil, "none": {queue.UseOnly()}} {
			t.Run(m.name+"/"+chain, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRig(t, append(options, queue.Workers(1))...)
					r.handle("bad", func(context.Context, *queue.Job[int]) error { return errors.New("no") },
						queue.Retry(touchyPolicy{m}), queue.MaxAttempts(2))
					r.handle("good", func(context.Context, *queue.Job[int]) error { return nil })
					r.enqueue("bad", 0)
					r.enqueue("good", 0)
					running := r.start()
					time.Sleep(365 * 24 * time.Hour)
					r.expectStats(0, 0, 0, 1)
					running.mustStop()
				})
			})
		}
	}
}

func TestAMiddlewareThatPanicsWhileItIsAppliedFailsTheAttempt(t *testing.T) {
	for _, m := range misdeeds() {
		t.Run(m.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, queue.Workers(1), queue.Use(func(queue.Handler[queue.Raw]) queue.Handler[queue.Raw] { m.do(); return nil }))
				r.handle("any", func(context.Context, *queue.Job[int]) error { return nil })
				r.enqueue("any", 0)
				running := r.start()
				synctest.Wait()
				r.expectStats(0, 1, 0, 0)
				running.mustStop()
			})
		})
	}
}

func TestHandlersEnqueueJobsThemselves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(1), queue.Prefetch(1))
		runs := new(tally)
		r.handle("tree", func(ctx context.Context, job *queue.Job[int]) error {
			runs.add("run")
			for range 2 {
				if job.Args == 0 {
					break
				}
				if _, err := r.queue.Enqueue(ctx, "tree", job.Args-1); err != nil {
					return err
				}
			}
			return nil
		})
		r.enqueue("tree", 9)
		running := r.start()
		synctest.Wait()
		runs.expect(t, map[string]int{"run": 1<<10 - 1})
		running.mustStop()
	})
}

func TestHandlersEnqueueJobsDuringTheDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("last", func(ctx context.Context, _ *queue.Job[int]) error {
			time.Sleep(time.Second)
			_, err := r.queue.Enqueue(ctx, "next", 0)
			return err
		})
		r.enqueue("last", 0)
		running := r.start()
		synctest.Wait()
		running.mustStop()
		if e := r.only(backend.Ready); e.Kind != "next" {
			t.Errorf("a job of kind %s is left", e.Kind)
		}
	})
}
