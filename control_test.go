package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

func TestVerdictOf(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		verdict queue.Verdict
		delay   time.Duration
		text    string
	}{
		"nil":              {nil, queue.Done, 0, "done"},
		"an error":         {errNoLuck, queue.Undecided, 0, "undecided"},
		"RetryIn":          {queue.RetryIn(time.Minute, errNoLuck), queue.Retried, time.Minute, "retried"},
		"RetryIn nil":      {queue.RetryIn(time.Minute, nil), queue.Retried, time.Minute, "retried"},
		"negative RetryIn": {queue.RetryIn(-time.Minute, errNoLuck), queue.Retried, 0, "retried"},
		"Snooze":           {queue.Snooze(time.Minute), queue.Released, time.Minute, "released"},
		"negative Snooze":  {queue.Snooze(-time.Minute), queue.Released, 0, "released"},
		"Bury":             {queue.Bury(errNoLuck), queue.Buried, 0, "buried"},
		"Bury nil":         {queue.Bury(nil), queue.Buried, 0, "buried"},
		"Cancel":           {queue.Cancel(errNoLuck), queue.Cancelled, 0, "cancelled"},
		"Cancel nil":       {queue.Cancel(nil), queue.Cancelled, 0, "cancelled"},
		"wrapped":          {fmt.Errorf("greet: %w", queue.RetryIn(time.Minute, nil)), queue.Retried, time.Minute, "retried"},
		"joined":           {errors.Join(errNoLuck, queue.Cancel(nil)), queue.Cancelled, 0, "cancelled"},
		"the outer of two": {queue.Bury(queue.RetryIn(time.Minute, errNoLuck)), queue.Buried, 0, "buried"},
		"the first of two": {errors.Join(queue.RetryIn(1, nil), queue.Bury(nil)), queue.Retried, 1, "retried"},
	} {
		t.Run(name, func(t *testing.T) {
			verdict, delay := queue.VerdictOf(test.err)
			if verdict != test.verdict || delay != test.delay || verdict.String() != test.text {
				t.Errorf("got %v in %v, want %v in %v", verdict, delay, test.verdict, test.delay)
			}
		})
	}
	if got := queue.Verdict(99).String(); got != "Verdict(99)" {
		t.Errorf("an unknown verdict is called %s", got)
	}
}

func TestControlErrorsWrapTheCauseAndSaySo(t *testing.T) {
	for text, err := range map[string]error{
		"retried in 1m0s: no luck": queue.RetryIn(time.Minute, errNoLuck),
		"retried: no luck":         queue.RetryIn(0, errNoLuck),
		"buried: no luck":          queue.Bury(errNoLuck),
		"cancelled: no luck":       queue.Cancel(errNoLuck),
	} {
		if !errors.Is(err, errNoLuck) || err.Error() != text {
			t.Errorf("got %q, want %q, wrapping its cause", err, text)
		}
	}
	for text, err := range map[string]error{
		"queue: job released for 1m0s": queue.Snooze(time.Minute),
		"queue: job retried in 1m0s":   queue.RetryIn(time.Minute, nil),
		"queue: job buried":            queue.Bury(nil),
		"queue: job cancelled":         queue.Cancel(nil),
	} {
		if err.Error() != text || errors.Unwrap(err) != nil {
			t.Errorf("got %q, want %q", err, text)
		}
	}
}

// ends runs a job that ends its attempts in turn with errs, and then well,
// and returns when each began.
func ends(t *testing.T, w *workshop, errs ...error) *trace {
	ran, start := new(trace), time.Now()
	handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
		ran.add(fmt.Sprintf("%d after %v", job.Attempt, time.Since(start)))
		if len(errs) == 0 {
			return nil
		}
		err := errs[0]
		errs = errs[1:]
		return err
	}, queue.Retry(retry.Fixed(time.Hour)))
	w.enqueue("greet", 1, queue.MaxAttempts(3))
	w.run()
	pass(100 * time.Hour)
	return ran
}

func TestRetryInOverridesThePolicy(t *testing.T) {
	for _, wrap := range []func(error) error{
		func(err error) error { return err },
		func(err error) error { return fmt.Errorf("greet: %w", err) },
		func(err error) error { return errors.Join(errNoLuck, err) },
	} {
		inWorkshop(t, func(t *testing.T, w *workshop) {
			expectTrace(t, ends(t, w, errNoLuck, wrap(queue.RetryIn(time.Minute, errNoLuck))),
				"1 after 0s, 2 after 1h0m0s, 3 after 1h1m0s")
			w.expectEmpty()
		})
	}
}

func TestANegativeRetryInIsNow(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		expectTrace(t, ends(t, w, queue.RetryIn(-time.Hour, nil)), "1 after 0s, 2 after 0s")
		w.expectEmpty()
	})
}

func TestRetryInAtTheLastAttemptBuries(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		again := queue.RetryIn(time.Minute, errNoLuck)
		expectTrace(t, ends(t, w, again, again, again), "1 after 0s, 2 after 1m0s, 3 after 2m0s")
		if dead := w.buried(); dead.Attempt != 3 || dead.Failure.Error != "no luck" {
			t.Errorf("buried %+v because of %+v", dead, dead.Failure)
		}
	})
}

func TestRetryInForEverIsBuriedAfterTheLastAttempt(t *testing.T) {
	again := queue.RetryIn(time.Minute, errNoLuck)
	before := queue.Hooks{BeforePerform: func(context.Context, *rawJob) error { return again }}
	for name, test := range map[string]struct {
		option queue.OpenOption
		ran    string
	}{
		"from the handler":                           {queue.Use(), "0s, 1m0s"},
		"from the handler without any middleware":    {queue.UseOnly(), "0s, 1m0s"},
		"from BeforePerform":                         {before, ""},
		"from BeforePerform in a chain of one's own": {queue.UseOnly(before.Middleware()), ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				ran, start := new(trace), time.Now()
				handle(w, "greet", func(context.Context, *queue.Job[int]) error {
					ran.add(time.Since(start).String())
					return again
				})
				id := w.enqueue("greet", 1, queue.MaxAttempts(2), queue.Track())
				w.run()
				pass(time.Hour)
				expectTrace(t, ran, test.ran)
				dead := w.buried()
				if dead.Attempt != 2 || dead.ID != id {
					t.Errorf("buried %+v, want it after the second attempt", dead)
				}
				expectText(t, dead.Failure.Error, "no luck")
			}, test.option)
		})
	}
}

func TestASnoozedJobKeepsAllItsAttempts(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		later := queue.Snooze(time.Minute)
		expectTrace(t, ends(t, w, later, later, fmt.Errorf("wrapped: %w", later), errNoLuck, later, later),
			"1 after 0s, 1 after 1m0s, 1 after 2m0s, 1 after 3m0s, 2 after 1h3m0s, 2 after 1h4m0s, 2 after 1h5m0s")
		w.expectEmpty()
	})
}

func TestBuryGoesToTheDeadSetAtOnce(t *testing.T) {
	for text, err := range map[string]error{
		"no luck":           queue.Bury(errNoLuck),
		"queue: job buried": queue.Bury(nil),
		"x: buried: no luck": fmt.Errorf("x: %w",
			queue.Bury(errNoLuck)),
	} {
		inWorkshop(t, func(t *testing.T, w *workshop) {
			expectTrace(t, ends(t, w, err), "1 after 0s")
			dead := w.buried()
			if dead.Attempt != 1 || dead.Failure.Error != text || string(dead.Args) != "1" || dead.Failure.Worker == "" {
				t.Errorf("buried %+v because of %+v, want %q", dead, dead.Failure, text)
			}
		})
	}
}

func TestCancelDropsTheJob(t *testing.T) {
	for _, err := range []error{queue.Cancel(errNoLuck), queue.Cancel(nil), fmt.Errorf("x: %w", queue.Cancel(nil))} {
		inWorkshop(t, func(t *testing.T, w *workshop) {
			expectTrace(t, ends(t, w, err), "1 after 0s")
			w.expectEmpty()
		})
	}
}

// fixture is a handler with SetUp and TearDown.
type fixture struct {
	trace                   *trace
	setUp, handle, tearDown func() error
}

func (f *fixture) step(name string, result func() error, job *queue.Job[Email]) error {
	f.trace.add(fmt.Sprint(name, " ", job.Args.To))
	if result == nil {
		return nil
	}
	return result()
}

func (f *fixture) SetUp(_ context.Context, job *queue.Job[Email]) error {
	return f.step("set up", f.setUp, job)
}

func (f *fixture) Handle(_ context.Context, job *queue.Job[Email]) error {
	return f.step("handle", f.handle, job)
}

func (f *fixture) TearDown(_ context.Context, job *queue.Job[Email]) error {
	return f.step("tear down", f.tearDown, job)
}

var (
	_ queue.SetUpper[Email]   = (*fixture)(nil)
	_ queue.TearDowner[Email] = (*fixture)(nil)
)

func TestSetUpAndTearDownRunAroundHandle(t *testing.T) {
	fail := func() error { return errNoLuck }
	panics := func() error { panic("ouch") }
	for name, test := range map[string]struct {
		handler fixture
		trace   string
		failure []string // in the error of the dead job; none for success
	}{
		"all well":                          {fixture{}, "set up x, handle x, tear down x", nil},
		"SetUp fails":                       {fixture{setUp: fail}, "set up x", []string{"no luck"}},
		"SetUp panics":                      {fixture{setUp: panics}, "set up x", []string{"ouch"}},
		"Handle fails":                      {fixture{handle: fail}, "set up x, handle x, tear down x", []string{"no luck"}},
		"Handle panics":                     {fixture{handle: panics}, "set up x, handle x, tear down x", []string{"ouch"}},
		"TearDown fails":                    {fixture{tearDown: fail}, "set up x, handle x, tear down x", []string{"no luck"}},
		"TearDown panics":                   {fixture{tearDown: panics}, "set up x, handle x, tear down x", []string{"ouch"}},
		"both fail":                         {fixture{handle: func() error { return errors.New("first") }, tearDown: fail}, "set up x, handle x, tear down x", []string{"first", "no luck"}},
		"Handle panics, and TearDown fails": {fixture{handle: panics, tearDown: fail}, "set up x, handle x, tear down x", []string{"ouch"}},
	} {
		t.Run(name, func(t *testing.T) {
			events := new(trace)
			inWorkshop(t, func(t *testing.T, w *workshop) {
				test.handler.trace = events
				queue.RegisterOn(w.mux, "send_email", &test.handler, queue.Retry(retry.Never()))
				w.enqueue("send_email", Email{"x"})
				w.run()
				want := "used in, " + test.trace + ", used undecided"
				switch {
				case len(test.failure) == 0:
					want = "used in, " + test.trace + ", used done"
				case strings.Contains(name, "panics"): // it passes all that is used
					want = "used in, " + test.trace
				}
				expectTrace(t, events, want)
				if len(test.failure) == 0 {
					w.expectEmpty()
					return
				}
				expectText(t, w.buried().Failure.Error, test.failure...)
			}, queue.Use(tracing(events, "used")))
		})
	}
}

func TestSetUpCanSnoozeAndTearDownKeepsTheVerdict(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		early := true
		h := &fixture{
			trace: new(trace),
			setUp: func() (err error) {
				if early {
					err = queue.Snooze(time.Hour)
				}
				early = false
				return err
			},
			handle:   func() error { return queue.Bury(errors.New("first")) },
			tearDown: func() error { return errNoLuck },
		}
		queue.RegisterOn(w.mux, "send_email", h)
		w.enqueue("send_email", Email{"x"})
		w.run()
		if stored := w.stored(); stored.State != backend.Scheduled || stored.Attempt != 0 {
			t.Errorf("after a SetUp that snoozes: %+v", stored)
		}
		pass(time.Hour)
		expectText(t, w.buried().Failure.Error, "first", "no luck")
	})
}

func TestArgsThatDoNotDecodeAreBuriedAtOnce(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		called := 0
		handle(w, "send_email", func(context.Context, *queue.Job[Email]) error {
			called++
			return nil
		})
		must(t, w.eye.PutRaw(t.Context(), queue.DefaultQueue, []byte(`{"job":"send_email","data":[1,2]}`)))
		w.enqueue("send_email", Email{"a@b.c"})
		w.run()
		dead := w.buried()
		expectText(t, dead.Failure.Error, queue.ErrInvalidArgs.Error(), "array")
		if called != 1 || string(dead.Args) != "[1,2]" || dead.Attempt != 1 {
			t.Errorf("the handler was called %d times, want once; buried %+v", called, dead)
		}
	})
}

func TestTheErrorOfArgsThatDoNotDecodeIsErrInvalidArgs(t *testing.T) {
	var seen error
	keep := queue.Hooks{OnBury: func(_ context.Context, _ *queue.Job[queue.Raw], err error) { seen = err }}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "send_email", nothing[Email])
		w.enqueue("send_email", queue.Raw(`"a string"`))
		w.run()
		if !errors.Is(seen, queue.ErrInvalidArgs) {
			t.Errorf("got %v, want ErrInvalidArgs", seen)
		}
	}, keep)
}

func TestForeignEnvelopes(t *testing.T) {
	for name, test := range map[string]struct {
		envelope string
		ran      string   // attempts of the handler, which always fails
		failure  []string // of the dead job
	}{
		"a plain one":          {`{"job":"greet","data":1,"max_attempts":2}`, "0s, 1m0s", []string{"no luck"}},
		"error.bury":           {`{"job":"greet","data":1,"error":{"bury":true}}`, "0s", []string{"no luck"}},
		"error.bury false":     {`{"job":"greet","data":1,"error":{"bury":false},"max_attempts":2}`, "0s, 1m0s", []string{"no luck"}},
		"a policy":             {`{"job":"greet","data":1,"retry":"list(1s,2s)"}`, "0s, 1s, 3s", []string{"no luck"}},
		"nulls":                {`{"job":"greet","data":1,"retry":null,"timeout":null,"track":null,"error":null,"max_attempts":2}`, "0s, 1m0s", []string{"no luck"}},
		"a bad lock":           {`{"job":"greet","data":1,"max_attempts":1,"unique":"x"}`, "0s", []string{"no luck"}},
		"unknown fields":       {`{"job":"greet","data":1,"max_attempts":1,"color":"red"}`, "0s", []string{"no luck"}},
		"a bad policy":         {`{"job":"greet","data":1,"retry":"often"}`, "", []string{"malformed", `"retry"`, "often"}},
		"a policy of Sidekiq":  {`{"job":"greet","data":1,"retry":true}`, "", []string{"malformed", `"retry"`}},
		"a bad timeout":        {`{"job":"greet","data":1,"timeout":"soon"}`, "", []string{"malformed", `"timeout"`, "soon"}},
		"a timeout in seconds": {`{"job":"greet","data":1,"timeout":30}`, "", []string{"malformed", `"timeout"`}},
		"a negative timeout":   {`{"job":"greet","data":1,"timeout":"-1s"}`, "", []string{"malformed", `"timeout"`, "not positive"}},
		"a bad error":          {`{"job":"greet","data":1,"error":"bury"}`, "", []string{"malformed", `"error"`}},
		"no data":              {`{"job":"greet"}`, "", []string{"malformed", `"data"`}},
		"no JSON":              {"\x00\xff garbage", "", []string{"malformed"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				ran := attempts(w, "greet", queue.Retry(retry.Fixed(time.Minute)))
				must(t, w.eye.PutRaw(t.Context(), queue.DefaultQueue, []byte(test.envelope)))
				w.run()
				pass(24 * time.Hour)
				expectTrace(t, ran, test.ran)
				dead := w.buried()
				expectText(t, dead.Failure.Error, test.failure...)
				if dead.Malformed != nil && string(dead.Raw) != test.envelope {
					t.Errorf("the dead set has %q", dead.Raw)
				}
				if name == "unknown fields" && string(dead.Extra["color"]) != `"red"` {
					t.Errorf("the unknown field became %s", dead.Extra["color"])
				}
			})
		})
	}
}

func TestForeignJobsHaveTheAttemptsOfTheRegistration(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		ran := attempts(w, "greet", queue.Retry(retry.Fixed(time.Minute)), queue.MaxAttempts(2))
		must(t, w.eye.PutRaw(t.Context(), queue.DefaultQueue, []byte(`{"job":"greet","data":1}`)))
		w.run()
		pass(24 * time.Hour)
		expectTrace(t, ran, "0s, 1m0s")
		if dead := w.buried(); dead.Attempt != 2 {
			t.Errorf("buried %+v, want attempt 2", dead)
		}
	})
}
