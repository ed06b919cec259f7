package queue_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
	"github.com/goferhq/queue/status"
)

type rawJob = queue.Job[queue.Raw]

// telling returns Hooks of which each adds its name and what it was given.
func telling(tr *trace) queue.Hooks {
	tell := func(name string, job *rawJob, more ...any) {
		text := fmt.Sprintf("%s %s/%s/%d", name, job.Queue, job.Args, job.Attempt)
		for _, m := range more {
			text += fmt.Sprint(" ", m)
		}
		tr.add(text)
	}
	return queue.Hooks{
		BeforeEnqueue: func(_ context.Context, job *rawJob) error { tell("BeforeEnqueue", job); return nil },
		BeforeDelayedEnqueue: func(_ context.Context, job *rawJob, delay time.Duration) error {
			tell("BeforeDelayedEnqueue", job, delay)
			return nil
		},
		AfterEnqueue:  func(_ context.Context, job *rawJob) { tell("AfterEnqueue", job) },
		AfterSchedule: func(_ context.Context, job *rawJob, delay time.Duration) { tell("AfterSchedule", job, delay) },
		WorkerStart:   func(context.Context) error { tr.add("WorkerStart"); return nil },
		BeforePerform: func(_ context.Context, job *rawJob) error { tell("BeforePerform", job); return nil },
		AfterPerform:  func(_ context.Context, job *rawJob) { tell("AfterPerform", job) },
		OnFailure:     func(_ context.Context, job *rawJob, err error) { tell("OnFailure", job, err) },
		OnRetry: func(_ context.Context, job *rawJob, err error, delay time.Duration) {
			tell("OnRetry", job, err, delay)
		},
		OnBury:     func(_ context.Context, job *rawJob, err error) { tell("OnBury", job, err) },
		WorkerStop: func(context.Context) { tr.add("WorkerStop") },
	}
}

func TestHooksOfAJobsLife(t *testing.T) {
	for name, test := range map[string]struct {
		errs    []error // of the attempts; nil after them
		options []queue.Option
		want    []string
	}{
		"done": {nil, nil, []string{
			"BeforeEnqueue default/7/0", "AfterEnqueue default/7/0", "WorkerStart",
			"BeforePerform default/7/1", "AfterPerform default/7/1", "WorkerStop"}},
		"scheduled": {nil, []queue.Option{queue.In(time.Minute)}, []string{
			"BeforeEnqueue default/7/0", "BeforeDelayedEnqueue default/7/0 1m0s", "AfterSchedule default/7/0 1m0s", "WorkerStart",
			"BeforePerform default/7/1", "AfterPerform default/7/1", "WorkerStop"}},
		"retried and buried": {[]error{errNoLuck, errNoLuck}, []queue.Option{queue.MaxAttempts(2)}, []string{
			"BeforeEnqueue default/7/0", "AfterEnqueue default/7/0", "WorkerStart",
			"BeforePerform default/7/1", "OnFailure default/7/1 no luck", "OnRetry default/7/1 no luck 1m0s",
			"BeforePerform default/7/2", "OnFailure default/7/2 no luck", "OnBury default/7/2 no luck", "WorkerStop"}},
		"buried at once": {[]error{queue.Bury(errNoLuck)}, nil, []string{
			"BeforeEnqueue default/7/0", "AfterEnqueue default/7/0", "WorkerStart",
			"BeforePerform default/7/1", "OnFailure default/7/1 no luck", "OnBury default/7/1 no luck", "WorkerStop"}},
		"snoozed and cancelled": {[]error{queue.Snooze(time.Minute), queue.Cancel(nil)}, nil, []string{
			"BeforeEnqueue default/7/0", "AfterEnqueue default/7/0", "WorkerStart",
			"BeforePerform default/7/1", "BeforePerform default/7/1", "WorkerStop"}},
	} {
		t.Run(name, func(t *testing.T) {
			events := new(trace)
			inWorkshop(t, func(t *testing.T, w *workshop) {
				handle(w, "greet", func(context.Context, *queue.Job[int]) (err error) {
					if len(test.errs) > 0 {
						err, test.errs = test.errs[0], test.errs[1:]
					}
					return err
				}, queue.Retry(retry.Fixed(time.Minute)))
				w.enqueue("greet", 7, test.options...)
				stop := runInBackground(t, w.queue)
				pass(time.Hour)
				stop()
				expectTrace(t, events, strings.Join(test.want, ", "))
			}, telling(events))
		})
	}
}

func TestHooksSeeWhatNeverReachesAHandler(t *testing.T) {
	events := new(trace)
	inWorkshop(t, func(t *testing.T, w *workshop) {
		must(t, w.eye.PutRaw(t.Context(), queue.DefaultQueue, []byte("garbage")))
		w.run()
		if got := events.String(); strings.Contains(got, "BeforePerform") || !strings.Contains(got, "OnFailure") || !strings.Contains(got, "OnBury") {
			t.Errorf("the hooks were %s", got)
		}
	}, telling(events))
}

func TestSeveralHooksAreCalledInOrder(t *testing.T) {
	events := new(trace)
	named := func(name string) queue.Hooks {
		note := func(event string) { events.add(event + " " + name) }
		return queue.Hooks{
			BeforeEnqueue: func(_ context.Context, job *rawJob) error {
				note("enqueue" + job.Header["seen"])
				job.Header = map[string]string{"seen": " after " + name}
				return nil
			},
			WorkerStart:   func(context.Context) error { note("start"); return nil },
			BeforePerform: func(context.Context, *rawJob) error { note("before"); return nil },
			AfterPerform:  func(context.Context, *rawJob) { note("after") },
			WorkerStop:    func(context.Context) { note("stop") },
		}
	}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", nothing[int])
		w.enqueue("greet", 1)
		stop := runInBackground(t, w.queue)
		pass(0)
		stop()
		expectTrace(t, events, "enqueue a, enqueue after a b, start a, start b, before a, before b, after a, after b, stop a, stop b")
	}, named("a"), queue.Hooks{}, named("b"))
}

func TestBeforeEnqueueVetoes(t *testing.T) {
	for name, hooks := range map[string]queue.Hooks{
		"ready": {BeforeEnqueue: func(_ context.Context, job *rawJob) error {
			if string(job.Args) == "2" {
				return errNoLuck
			}
			return nil
		}},
		"delayed": {BeforeDelayedEnqueue: func(_ context.Context, job *rawJob, _ time.Duration) error {
			if string(job.Args) == "2" {
				return errNoLuck
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			events := new(trace)
			after := queue.Hooks{
				AfterEnqueue:  func(_ context.Context, job *rawJob) { events.add(string(job.Args)) },
				AfterSchedule: func(_ context.Context, job *rawJob, _ time.Duration) { events.add(string(job.Args)) },
			}
			inWorkshop(t, func(t *testing.T, w *workshop) {
				var options []queue.Option
				if name == "delayed" {
					options = append(options, queue.In(time.Minute))
				}
				kind := queue.Define[int]("greet", options...)
				id, err := kind.Enqueue(t.Context(), w.queue, 2)
				if !errors.Is(err, queue.ErrVetoed) || !errors.Is(err, errNoLuck) || id != "" {
					t.Errorf("got %q, %v, want ErrVetoed and its cause", id, err)
				}
				ids, err := kind.EnqueueMany(t.Context(), w.queue, []int{1, 2, 3})
				batch, ok := errors.AsType[*queue.BatchError](err)
				if !ok || batch.Errs[0] != nil || !errors.Is(batch.Errs[1], queue.ErrVetoed) || batch.Errs[2] != nil {
					t.Errorf("got %v, want a BatchError about the second", err)
				}
				if ids[0] == "" || ids[1] != "" || ids[2] == "" {
					t.Errorf("the IDs are %q", ids)
				}
				if n := len(w.peek(backend.Ready)) + len(w.peek(backend.Scheduled)); n != 2 {
					t.Errorf("%d jobs are stored, want 2", n)
				}
				expectTrace(t, events, "1, 3")
			}, hooks, after)
		})
	}
}

func TestAVetoEndsTheHooksBehindIt(t *testing.T) {
	events := new(trace)
	veto := queue.Hooks{BeforeEnqueue: func(context.Context, *rawJob) error { return errNoLuck }}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		_, err := w.queue.Enqueue(t.Context(), "greet", 1, queue.In(time.Minute))
		if !errors.Is(err, queue.ErrVetoed) {
			t.Errorf("got %v, want ErrVetoed", err)
		}
		expectTrace(t, events, "BeforeEnqueue default/1/0, BeforeDelayedEnqueue default/1/0 1m0s")
	}, telling(events), veto, telling(events))
}

func TestHeadersOfBeforeEnqueueAreStored(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", nothing[int], queue.Header("tenant", "acme"))
		w.enqueue("greet", 1, queue.ID("first"))
		w.enqueue("greet", 1, queue.ID("second"))
		var headers []string
		for _, m := range w.peek(backend.Ready) {
			headers = append(headers, fmt.Sprint(m.Header))
		}
		// The header of the first did not become the default of the kind.
		if got := strings.Join(headers, ", "); got != "map[tenant:acme trace:first], map[tenant:acme trace:second]" {
			t.Errorf("stored %s", got)
		}
	}, queue.Hooks{BeforeEnqueue: func(_ context.Context, job *rawJob) error {
		if job.Header["trace"] != "" {
			return fmt.Errorf("saw %v", job.Header)
		}
		job.Header["trace"] = job.ID
		return nil
	}})
}

func TestWhatTheBrokerRefusedIsNotAfterEnqueue(t *testing.T) {
	events := new(trace)
	inWorkshop(t, func(t *testing.T, w *workshop) {
		must(t, w.queue.Close())
		q := w.open(&fakeBroker{Backend: w.broker.Connect(), push: func(context.Context, []*backend.Message) error {
			return backend.ErrUnavailable
		}}, telling(events))
		if _, err := q.Enqueue(t.Context(), "greet", 1); !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		expectTrace(t, events, "BeforeEnqueue default/1/0")
	})
}

func TestBeforePerformVetoes(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want func(w *workshop)
		log  string
	}{
		"with an error": {errNoLuck, (*workshop).expectEmpty, `msg="job cancelled"`},
		"with Bury":     {queue.Bury(errNoLuck), func(w *workshop) { w.buried() }, `msg="job buried"`},
		"with Snooze":   {queue.Snooze(time.Hour), func(w *workshop) { w.stored() }, `msg="job put back"`},
		"with RetryIn":  {queue.RetryIn(time.Hour, nil), func(w *workshop) { w.stored() }, `msg="job failed, will be retried"`},
	} {
		t.Run(name, func(t *testing.T) {
			events := new(trace)
			veto := queue.Hooks{BeforePerform: func(context.Context, *rawJob) error { return test.err }}
			second := queue.Hooks{BeforePerform: func(context.Context, *rawJob) error { events.add("second"); return nil }}
			inWorkshop(t, func(t *testing.T, w *workshop) {
				handle(w, "greet", func(context.Context, *queue.Job[int]) error { events.add("handler"); return nil })
				w.enqueue("greet", 1)
				w.run()
				test.want(w)
				expectTrace(t, events, "")
				expectText(t, w.logs.String(), test.log)
			}, veto, second)
		})
	}
}

func TestAVetoIsLoggedWithItsReason(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", nothing[int])
		w.enqueue("greet", 1)
		w.run()
		expectText(t, w.logs.String(), queue.ErrVetoed.Error(), "no luck")
	}, queue.Hooks{BeforePerform: func(context.Context, *rawJob) error { return errNoLuck }})
}

func TestABeforePerformThatPanicsFailsTheAttempt(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", nothing[int], queue.Retry(retry.Fixed(time.Minute)))
		id := w.enqueue("greet", 1, queue.MaxAttempts(3), queue.Track())
		w.run()
		pass(time.Hour)
		if dead := w.buried(); dead.Attempt != 3 {
			t.Errorf("buried after attempt %d, want 3", dead.Attempt)
		}
		if n := strings.Count(w.logs.String(), "ouch"); n != 3 {
			t.Errorf("%d failures are logged, want 3:\n%s", n, w.logs)
		}
		if s, err := w.queue.Wait(t.Context(), id); err != nil || s.State != status.Dead {
			t.Errorf("the status is %+v, %v, want dead", s, err)
		}
	}, queue.Hooks{BeforePerform: func(context.Context, *rawJob) error { panic("ouch") }})
}

func TestAHookBehindTheDecisionThatPanicsChangesNothing(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", nothing[int])
		handle(w, "fail", func(context.Context, *queue.Job[int]) error { return queue.Bury(errNoLuck) })
		w.enqueue("greet", 1)
		w.enqueue("fail", 1)
		w.run()
		pass(time.Hour)
		if dead := w.buried(); dead.Kind != "fail" || dead.Attempt != 1 {
			t.Errorf("buried %+v, want the first attempt of fail", dead)
		}
		expectText(t, w.logs.String(), "AfterPerform", "OnFailure", "OnBury", "ouch", `msg="job done" kind=greet`)
	}, queue.Hooks{
		AfterPerform: func(context.Context, *rawJob) { panic("ouch") },
		OnFailure:    func(context.Context, *rawJob, error) { panic("ouch") },
		OnBury:       func(context.Context, *rawJob, error) { panic("ouch") },
	})
}

func TestAJobThatAHookStoppedHasItsFinalStatus(t *testing.T) {
	for state, refusal := range map[status.State]error{
		status.Cancelled: errNoLuck,
		status.Dead:      queue.Bury(errNoLuck),
	} {
		inWorkshop(t, func(t *testing.T, w *workshop) {
			handle(w, "greet", nothing[int])
			id := w.enqueue("greet", 1, queue.Track())
			w.run()
			if s, err := w.queue.Wait(t.Context(), id); err != nil || s.State != state {
				t.Errorf("the status is %+v, %v, want %s", s, err, state)
			}
		}, queue.Hooks{BeforePerform: func(context.Context, *rawJob) error { return refusal }})
	}
}

func TestAHookCanSetAHeaderWhereThereIsNone(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		var got string
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			got = job.Header["trace"]
			return nil
		})
		w.enqueue("greet", 1)
		w.run()
		pass(time.Second)
		if got != "42" {
			t.Errorf("the header is %q, want 42", got)
		}
	}, queue.Hooks{BeforeEnqueue: func(_ context.Context, job *rawJob) error {
		job.Header["trace"] = "42"
		return nil
	}})
}

func TestAnErrorOfWorkerStartEndsRunAndStopsThoseThatHaveStarted(t *testing.T) {
	events := new(trace)
	bad := queue.Hooks{
		WorkerStart: func(context.Context) error { return errNoLuck },
		WorkerStop:  func(context.Context) { events.add("never") },
	}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		w.enqueue("greet", 1)
		if err := w.queue.Run(t.Context()); !errors.Is(err, errNoLuck) {
			t.Errorf("Run returned %v, want that of the hook", err)
		}
		w.stored()
		expectTrace(t, events, "BeforeEnqueue default/1/0, AfterEnqueue default/1/0, WorkerStart, WorkerStop")
		// It can run again.
		if err := w.queue.Run(t.Context()); !errors.Is(err, errNoLuck) {
			t.Errorf("the second Run returned %v", err)
		}
	}, telling(events), bad, queue.Hooks{WorkerStop: func(context.Context) { events.add("never") }})
}

func TestHooksAsMiddlewareOfAChainOfOnesOwn(t *testing.T) {
	events := new(trace)
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", nothing[int])
		w.enqueue("greet", 1)
		w.run()
		expectTrace(t, events, "BeforePerform default/1/1, AfterPerform default/1/1")
	}, queue.UseOnly(telling(events).Middleware()))
}

func TestAfterAttemptTellsWhatBecameOfEveryAttempt(t *testing.T) {
	for name, chain := range map[string]queue.OpenOption{"default": queue.Use(), "replaced": queue.UseOnly()} {
		t.Run(name, func(t *testing.T) {
			events := new(trace)
			inWorkshop(t, func(t *testing.T, w *workshop) {
				ends := []error{errNoLuck, queue.Snooze(time.Hour), queue.RetryIn(time.Minute, errNoLuck), queue.Cancel(nil)}
				handle(w, "greet", func(context.Context, *queue.Job[int]) error {
					err := ends[0]
					ends = ends[1:]
					return err
				}, queue.Retry(retry.Fixed(time.Second)))
				handle(w, "good", nothing[int])
				handle(w, "bad", func(context.Context, *queue.Job[int]) error { panic("ouch") })
				w.run()
				w.enqueue("greet", 1)
				pass(2 * time.Hour)
				w.enqueue("good", 1)
				pass(0)
				w.enqueue("bad", 1, queue.MaxAttempts(1))
				pass(0)
				must(t, w.eye.PutRaw(t.Context(), queue.DefaultQueue, []byte(`{"job":"good","data":"x"}`)))
				pass(0)
				expectTrace(t, events, strings.Join([]string{
					"greet 1 retried in 1s: no luck",
					"greet 2 released in 1h0m0s: queue: job released for 1h0m0s",
					"greet 2 retried in 1m0s: no luck",
					"greet 3 cancelled in 0s: queue: job cancelled",
					"good 1 done in 0s: <nil>",
					"bad 1 buried in 0s: queue: handler panicked: ouch",
					"good 1 buried in 0s: " + queue.ErrInvalidArgs.Error() + ": json: cannot unmarshal string into Go value of type int",
				}, ", "))
			}, chain, queue.Workers(1), queue.Hooks{
				AfterAttempt: func(_ context.Context, job *rawJob, verdict queue.Verdict, delay time.Duration, err error) {
					events.add(fmt.Sprintf("%s %d %v in %v: %v", job.Kind, job.Attempt, verdict, delay, err))
				},
			})
		})
	}
}

func TestAnAfterAttemptThatFailsChangesNothing(t *testing.T) {
	for name, misbehave := range map[string]func(){"panics": func() { panic("ouch") }, "exits": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				handle(w, "greet", nothing[int])
				w.enqueue("greet", 1)
				w.enqueue("greet", 2)
				w.run()
				w.expectEmpty()
				expectText(t, w.logs.String(), "AfterAttempt")
			}, queue.Workers(1), queue.Hooks{
				AfterAttempt: func(context.Context, *rawJob, queue.Verdict, time.Duration, error) { misbehave() },
			})
		})
	}
}
