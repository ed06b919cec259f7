package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/retry"
)

func TestLoggingTellsTheLifeOfAJob(t *testing.T) {
	const job = " kind=greet id=42 queue=default attempt="
	for name, test := range map[string]struct {
		err  error
		want string // of the first attempt
	}{
		"done":         {nil, `level=INFO msg="job done"` + job + `1 duration=3s`},
		"snoozed":      {queue.Snooze(time.Minute), `level=INFO msg="job put back"` + job + `1 duration=3s in=1m0s error="queue: job released for 1m0s"`},
		"cancelled":    {queue.Cancel(errNoLuck), `level=INFO msg="job cancelled"` + job + `1 duration=3s error="no luck"`},
		"retried":      {errNoLuck, `level=WARN msg="job failed, will be retried"` + job + `1 duration=3s in=1h0m0s error="no luck"`},
		"retried soon": {queue.RetryIn(time.Minute, errNoLuck), `level=WARN msg="job failed, will be retried"` + job + `1 duration=3s in=1m0s error="no luck"`},
		"buried":       {queue.Bury(errNoLuck), `level=ERROR msg="job buried"` + job + `1 duration=3s error="no luck"`},
		"wrapped burial": {fmt.Errorf("x: %w", queue.Bury(errNoLuck)),
			`level=ERROR msg="job buried"` + job + `1 duration=3s error="x: buried: no luck"`},
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				handle(w, "greet", func(context.Context, *queue.Job[string]) error {
					time.Sleep(3 * time.Second)
					return test.err
				}, queue.Retry(retry.Fixed(time.Hour)))
				w.enqueue("greet", "CANARY", queue.ID("42"), queue.Header("k", "CANARY"))
				w.run()
				pass(3 * time.Second)
				want := `level=DEBUG msg="job started"` + job + "1\n" + test.want + "\n"
				if got := w.logs.String(); got != want {
					t.Errorf("logged\n%swant\n%s", got, want)
				}
			})
		})
	}
}

func TestTheLastAttemptIsLoggedAsBuried(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		attempts(w, "greet", queue.Retry(retry.Fixed(time.Hour)))
		w.enqueue("greet", 1, queue.MaxAttempts(2))
		w.run()
		pass(time.Hour)
		expectText(t, w.logs.String(), "attempt=1 duration=0s in=1h0m0s", `level=ERROR msg="job buried"`, "attempt=2 duration=0s error")
	})
}

func TestWhatNeedsNoHandlerIsLoggedWithoutAStart(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		must(t, w.eye.PutRaw(t.Context(), queue.DefaultQueue, []byte("CANARY")))
		w.enqueue("unknown", "CANARY")
		w.run()
		expectText(t, w.logs.String(), `level=ERROR msg="job buried"`, "malformed",
			`level=WARN msg="job put back" kind=unknown`, "in=1s", "unknown kind")
		if got := w.logs.String(); strings.Contains(got, "job started") || strings.Contains(got, "CANARY") {
			t.Errorf("logged %s", got)
		}
	})
}

func TestAPanicIsLoggedAsAFailure(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(context.Context, *queue.Job[int]) error { panic("ouch") })
		w.enqueue("greet", 1)
		w.run()
		expectText(t, w.logs.String(), "level=WARN", "handler panicked: ouch")
	})
}

func TestArgsAreLoggedOnlyWhenAskedFor(t *testing.T) {
	logs := new(logs)
	for name, test := range map[string]struct {
		option queue.OpenOption
		shown  bool
	}{
		"default":     {queue.Use(), false},
		"LogArgs":     {queue.LogArgs(), true},
		"Logging":     {queue.UseOnly(queue.Logging(logs.logger())), false},
		"LoggingArgs": {queue.UseOnly(queue.LoggingArgs(logs.logger())), true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				handle(w, "greet", nothing[string])
				w.enqueue("greet", "CANARY")
				w.run()
				got := w.logs.String() + logs.String()
				logs.buf.Reset()
				if shown := strings.Contains(got, "CANARY"); shown != test.shown || !strings.Contains(got, "job done") {
					t.Errorf("logged %s", got)
				}
			}, test.option)
		})
	}
}

func TestLoggerLevelsAreObeyed(t *testing.T) {
	logs := new(logs)
	options := &slog.HandlerOptions{Level: slog.LevelWarn}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "good", nothing[int])
		attempts(w, "bad")
		w.enqueue("good", 1)
		w.enqueue("bad", 1)
		w.run()
		if got := logs.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") {
			t.Errorf("logged %s, want the retry only", got)
		}
	}, queue.Logger(slog.New(slog.NewTextHandler(logs, options))))
}

func TestANilLoggerLogsNothing(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(context.Context, *queue.Job[int]) error { return errors.New("no luck") })
		w.enqueue("greet", 1, queue.MaxAttempts(1))
		w.run()
		w.buried()
	}, queue.Logger(nil))
}

func TestLoggingWithoutALoggerPanicsWhereItIsWritten(t *testing.T) {
	expectPanic(t, func() { queue.Logging(nil) }, "nil logger")
	expectPanic(t, func() { queue.LoggingArgs(nil) }, "nil logger")
}

func TestAWorkerTellsWhatItDoes(t *testing.T) {
	for name, test := range map[string]struct {
		options []queue.OpenOption
		queues  []string
		warned  []string // of the queues that nobody works here
	}{
		"without Queues":             {nil, []string{"bulk", "default", "mail"}, nil},
		"with Queues that name all":  {[]queue.OpenOption{queue.Queues("mail", "default", "bulk")}, []string{"mail", "default", "bulk"}, nil},
		"with Queues that lack some": {[]queue.OpenOption{queue.Queues("default", "other")}, []string{"default", "other"}, []string{"bulk", "mail"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, append(test.options, queue.Workers(3))...)
				r.handle("plain", nothing[int])
				r.handle("newsletter", nothing[int], queue.On("bulk"))
				r.handle("reset", nothing[int], queue.On("mail"))
				running := r.start()
				synctest.Wait()
				running.mustStop()
				started := r.logs.with("worker started")
				if len(started) != 1 {
					t.Fatalf("the start was logged %d times", len(started))
				}
				got := attrsOf(started[0])
				want := map[string]any{"workers": int64(3), "queues": test.queues, "kinds": []string{"newsletter", "plain", "reset"}}
				if started[0].Level != slog.LevelInfo || !reflect.DeepEqual(got, want) {
					t.Errorf("logged %v, want %v", got, want)
				}
				var warned []string
				for _, r := range r.logs.with("does not take jobs from") {
					if r.Level != slog.LevelWarn {
						t.Errorf("it is logged as %v", r.Level)
					}
					warned = append(warned, attrsOf(r)["queue"].(string))
				}
				if !reflect.DeepEqual(warned, test.warned) {
					t.Errorf("warned of %v, want %v", warned, test.warned)
				}
			})
		})
	}
}

func attrsOf(r slog.Record) map[string]any {
	attrs := make(map[string]any)
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.Any()
		return true
	})
	return attrs
}
