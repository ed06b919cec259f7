package queue_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

func TestInvalidOptionsAreRefused(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, option := range map[string]queue.Option{
		"negative In":                queue.In(-1),
		"queue without a name":       queue.On(""),
		"queue with a space":         queue.On("e mail"),
		"queue with a hyphen first":  queue.On("-email"),
		"long queue":                 queue.On(long),
		"no attempt":                 queue.MaxAttempts(0),
		"negative attempts":          queue.MaxAttempts(-1),
		"too many attempts":          queue.MaxAttempts(1_000_001),
		"nil policy":                 queue.Retry(nil),
		"zero timeout":               queue.Timeout(0),
		"negative timeout":           queue.Timeout(-time.Second),
		"empty ID":                   queue.ID(""),
		"long ID":                    queue.ID(long),
		"ID that is not UTF-8":       queue.ID("\xff"),
		"nil option":                 nil,
		"zero Unique":                queue.Unique(0),
		"endless Unique":             queue.Unique(math.MaxInt64),
		"endless UniqueBy":           queue.UniqueBy("key", math.MaxInt64),
		"UniqueBy without a key":     queue.UniqueBy("", time.Hour),
		"UniqueBy with a long key":   queue.UniqueBy(long, time.Hour),
		"UniqueBy without time":      queue.UniqueBy("key", 0),
		"UniqueBy that is not UTF-8": queue.UniqueBy("\xff", time.Hour),
		"header without a name":      queue.Header("", "v"),
		"header that is not UTF-8":   queue.Header("k", "\xff"),
		"policy of code":             queue.Retry(retry.PolicyFunc(nil)),
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				id, err := w.queue.Enqueue(t.Context(), "greet", 1, option)
				if !errors.Is(err, queue.ErrInvalid) || id != "" {
					t.Errorf("got %q, %v, want ErrInvalid", id, err)
				}
				expectText(t, fmt.Sprint(err), "greet")
				w.expectEmpty()
			})
		})
	}
}

func TestTheFirstInvalidOptionIsTheOneReported(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		_, err := w.queue.Enqueue(t.Context(), "greet", 1, queue.Timeout(-1), queue.In(-1), queue.On(""))
		expectText(t, fmt.Sprint(err), "Timeout(-1ns)")
	})
}

func TestOptionsBecomeTheMessage(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		now := time.Now()
		id := w.enqueue("greet", 1, queue.ID("42"), queue.MaxAttempts(3), queue.Priority(7), queue.In(time.Minute),
			queue.Header("tenant", "acme"), queue.Header("trace", "1"), queue.Header("trace", "2"))
		m := w.stored()
		if id != "42" || m.ID != "42" || m.Kind != "greet" || m.MaxAttempts != 3 || m.Priority != 7 || m.Attempt != 0 {
			t.Errorf("stored %+v", m)
		}
		if !maps.Equal(m.Header, map[string]string{"tenant": "acme", "trace": "2"}) {
			t.Errorf("the header is %v", m.Header)
		}
		if !m.DueAt.Equal(now.Add(time.Minute)) || !m.EnqueuedAt.Equal(now) {
			t.Errorf("due %v, enqueued %v, want a minute after and at %v", m.DueAt, m.EnqueuedAt, now)
		}
	})
}

func TestWithoutOptionsAJobIsReadyInTheDefaultQueueUnderARandomID(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		first, second := w.enqueue("greet", 1), w.enqueue("greet", 1)
		if len(first) != 32 || first == second {
			t.Errorf("the IDs are %s and %s, want 128 random bits each", first, second)
		}
		ready := w.peekAt("default", backend.Ready)
		if len(ready) != 2 || ready[0].ID != first || ready[0].Extra != nil || ready[0].Header != nil {
			t.Errorf("stored %+v", ready)
		}
	})
}

func TestAnOptionOfOneJobWinsOverThatOfItsKind(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		kind := handle(w, "greet", nothing[int], queue.On("slow"), queue.In(time.Hour), queue.MaxAttempts(9),
			queue.Priority(1), queue.Header("tenant", "acme"))
		expect := func(name string, state backend.State, header string, attempts, priority int) {
			t.Helper()
			m := w.peekAt(name, state)
			if len(m) != 1 || m[0].MaxAttempts != attempts || m[0].Priority != priority || fmt.Sprint(m[0].Header) != header {
				t.Errorf("in queue %s %v: %+v", name, state, m)
			}
		}
		w.enqueue("greet", 1)
		expect("slow", backend.Scheduled, "map[tenant:acme]", 9, 1)
		_, err := kind.Enqueue(t.Context(), w.queue, 1, queue.On("fast"), queue.In(0), queue.MaxAttempts(2),
			queue.Priority(0), queue.Header("trace", "1"))
		must(t, err)
		expect("fast", backend.Ready, "map[tenant:acme trace:1]", 2, 0)
		w.enqueue("greet", 1, queue.On("third"), queue.At(time.Now().Add(-time.Hour)))
		expect("third", backend.Ready, "map[tenant:acme]", 9, 1)
	})
}

func TestAJobInThePastRunsNow(t *testing.T) {
	for name, at := range map[string]time.Time{
		"an hour ago":    time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC),
		"now":            time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		"the zero time":  {},
		"before history": time.Date(-9999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				w.enqueue("greet", 1, queue.At(at))
				if n := len(w.peek(backend.Ready)); n != 1 {
					t.Errorf("%d jobs are ready, want 1", n)
				}
			})
		})
	}
}

func TestAJobRunsAtItsTimeInWhateverZone(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		start := time.Now()
		var ran time.Duration
		handle(w, "greet", func(context.Context, *queue.Job[int]) error {
			ran = time.Since(start)
			return nil
		})
		w.enqueue("greet", 1, queue.At(start.Add(36*time.Hour).In(time.FixedZone("Kathmandu", 20700))))
		w.run()
		pass(48 * time.Hour)
		if ran != 36*time.Hour {
			t.Errorf("the job ran after %v, want 36h", ran)
		}
	})
}

// attempts registers a kind that always fails, and returns when it ran.
func attempts(w *workshop, kind string, options ...queue.Option) *trace {
	ran, start := new(trace), time.Now()
	handle(w, kind, func(context.Context, *queue.Job[int]) error {
		ran.add(fmt.Sprint(time.Since(start)))
		return errors.New("no luck")
	}, options...)
	return ran
}

func expectTrace(t *testing.T, got *trace, want string) {
	t.Helper()
	if got := got.String(); got != want {
		t.Errorf("got:  %s\nwant: %s", got, want)
	}
}

func TestThePolicyOfAKindIsAskedWhereTheJobRuns(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		once := errors.New("no luck")
		ran := attempts(w, "greet", queue.Retry(retry.If(retry.Is(once), retry.Never(), retry.List(time.Minute, time.Hour))))
		w.enqueue("greet", 1)
		if extra := w.stored().Extra; extra != nil {
			t.Errorf("the message carries %v, want nothing", extra)
		}
		w.run()
		pass(24 * time.Hour)
		expectTrace(t, ran, "0s, 1m0s, 1h1m0s")
		w.buried()
	})
}

func TestThePolicyOfOneJobTravelsWithIt(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		producer := w.open(w.broker.Connect(), queue.Handlers(new(queue.Mux)))
		_, err := producer.Enqueue(t.Context(), "greet", 1, queue.Retry(retry.Fixed(time.Minute).Max(3)))
		must(t, err)
		ran := attempts(w, "greet", queue.Retry(retry.Never()))
		w.run()
		pass(time.Hour)
		expectTrace(t, ran, "0s, 1m0s, 2m0s")
		if dead := w.buried(); dead.Attempt != 3 || string(dead.Extra["retry"]) != `"fixed(1m0s).max(3)"` {
			t.Errorf("buried %+v", dead)
		}
	})
}

func TestThePolicyOfADefinedKindTravelsAndOneJobCanChangeIt(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		producer := w.open(w.broker.Connect(), queue.Handlers(new(queue.Mux)))
		kind := queue.Define[int]("greet", queue.Retry(retry.Fixed(time.Minute).Max(2)), queue.Timeout(time.Second))
		for _, options := range [][]queue.Option{nil, {queue.Retry(retry.Never())}, {queue.MaxAttempts(9)}} {
			_, err := kind.Enqueue(t.Context(), producer, 1, options...)
			must(t, err)
		}
		var extra []string
		for _, m := range w.peek(backend.Ready) {
			extra = append(extra, fmt.Sprintf("%s %s", m.Extra["retry"], m.Extra["timeout"]))
		}
		want := `"fixed(1m0s).max(2)" "1s", "never" "1s", "fixed(1m0s).max(2)" "1s"`
		if got := strings.Join(extra, ", "); got != want {
			t.Errorf("the messages carry %s\nwant %s", got, want)
		}
		ran := attempts(w, "greet")
		w.run()
		pass(time.Hour)
		expectTrace(t, ran, "0s, 0s, 0s, 1m0s, 1m0s")
	})
}

func TestTheTimeoutOfOneJobTravelsWithIt(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		producer := w.open(w.broker.Connect(), queue.Handlers(new(queue.Mux)))
		_, err := producer.Enqueue(t.Context(), "greet", 1, queue.Timeout(1500*time.Microsecond))
		must(t, err)
		var took time.Duration
		handle(w, "greet", func(ctx context.Context, _ *queue.Job[int]) error {
			start := time.Now()
			<-ctx.Done()
			took = time.Since(start)
			return nil
		}, queue.Timeout(time.Hour))
		w.run()
		pass(time.Second)
		if took != 1500*time.Microsecond {
			t.Errorf("the context ended after %v, want 1.5ms", took)
		}
	})
}

func TestHeadersReachTheHandlerAndItsChangesGoNowhere(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		seen := new(trace)
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			seen.add(fmt.Sprint(job.Header))
			job.Header["tenant"] = "changed"
			if job.Attempt == 1 {
				return queue.RetryIn(0, nil)
			}
			return nil
		}, queue.Header("tenant", "acme"))
		w.enqueue("greet", 1)
		w.run()
		w.enqueue("greet", 1, queue.Header("trace", "1"))
		pass(0)
		expectTrace(t, seen, "map[tenant:acme], map[tenant:acme], map[tenant:acme trace:1], map[tenant:acme trace:1]")
	})
}

func TestHigherPriorityGoesFirst(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		order := new(trace)
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			order.add(fmt.Sprint(job.Args))
			return nil
		})
		for i, p := range []int{0, -1, 5, 0} {
			w.enqueue("greet", i, queue.Priority(p))
		}
		w.run()
		expectTrace(t, order, "2, 0, 3, 1")
	}, queue.Workers(1))
}
