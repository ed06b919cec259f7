package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

func TestArgsAreCheckedAtTheDoor(t *testing.T) {
	for name, test := range map[string]struct {
		kind   string
		args   any
		stored string // empty: refused
	}{
		"its type":                  {"send_email", Email{"a@b.c"}, `{"to":"a@b.c"}`},
		"a pointer to it":           {"send_email", &Email{"a@b.c"}, `{"to":"a@b.c"}`},
		"raw JSON":                  {"send_email", queue.Raw(`{"to": "x"}`), `{"to": "x"}`},
		"another struct":            {"send_email", struct{ To string }{"a@b.c"}, ""},
		"a string":                  {"send_email", "a@b.c", ""},
		"bytes":                     {"send_email", []byte(`{"to":"x"}`), ""},
		"a pointer to a pointer":    {"send_email", new(&Email{}), ""},
		"an unknown kind":           {"unknown", map[string]int{"a": 1}, `{"a":1}`},
		"anything for any":          {"anything", 7, `7`},
		"raw for raw":               {"raw", queue.Raw(`[1]`), `[1]`},
		"a struct without fields":   {"unknown", struct{}{}, `{}`},
		"zero":                      {"unknown", 0, `0`},
		"a nil map":                 {"unknown", map[string]int(nil), `null`},
		"nil":                       {"unknown", nil, ""},
		"nil for a registered kind": {"send_email", nil, ""},
		"a nil pointer":             {"send_email", (*Email)(nil), ""},
		"nil raw":                   {"raw", queue.Raw(nil), ""},
		"raw that is not JSON":      {"raw", queue.Raw(`{"a":`), ""},
		"raw that is not UTF-8":     {"raw", queue.Raw("\"\xff\""), ""},
		"raw that is two values":    {"raw", queue.Raw(`1 2`), ""},
		"raw that nests too deep":   {"raw", queue.Raw(strings.Repeat("[", 100) + strings.Repeat("]", 100)), ""},
		"a channel":                 {"unknown", make(chan int), ""},
		"a function":                {"unknown", func() {}, ""},
		"not a number":              {"unknown", math.NaN(), ""},
		"infinity":                  {"unknown", map[string]any{"a": math.Inf(1)}, ""},
		"a MarshalJSON that fails":  {"unknown", unwilling{}, ""},
		"a MarshalJSON of nonsense": {"unknown", nonsense{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				handle(w, "send_email", nothing[Email])
				handle(w, "anything", nothing[any])
				handle(w, "raw", nothing[queue.Raw])
				id, err := w.queue.Enqueue(t.Context(), test.kind, test.args)
				if test.stored == "" {
					if !errors.Is(err, queue.ErrInvalidArgs) || id != "" {
						t.Errorf("got %q, %v, want ErrInvalidArgs", id, err)
					}
					expectText(t, fmt.Sprint(err), test.kind)
					w.expectEmpty()
					return
				}
				must(t, err)
				if got := w.stored(); string(got.Args) != test.stored || got.ID != id {
					t.Errorf("stored %s, want %s", got.Args, test.stored)
				}
			})
		})
	}
}

type unwilling struct{}

func (unwilling) MarshalJSON() ([]byte, error) { return nil, errors.New("unwilling") }

type nonsense struct{}

func (nonsense) MarshalJSON() ([]byte, error) { return []byte("{"), nil }

func TestTheWrongTypeNamesBothTypes(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "send_email", nothing[Email])
		_, err := w.queue.Enqueue(t.Context(), "send_email", 7)
		expectText(t, fmt.Sprint(err), "send_email", "queue_test.Email", "int")
	})
}

func TestRawArgsBelongToTheCallerAgain(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		raw := queue.Raw(`{"to":"a@b.c"}`)
		w.enqueue("send_email", raw)
		copy(raw, "##############")
		if got := string(w.stored().Args); got != `{"to":"a@b.c"}` {
			t.Errorf("the stored args are now %s", got)
		}
	})
}

func TestABadKindIsRefused(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		for _, kind := range []string{"", strings.Repeat("x", 256), "\xff"} {
			if _, err := w.queue.Enqueue(t.Context(), kind, 1); !errors.Is(err, queue.ErrInvalid) {
				t.Errorf("kind %.10q: got %v, want ErrInvalid", kind, err)
			}
		}
	})
}

// limited returns a queue on a broker whose limits are tight.
func limited(w *workshop) *queue.Queue {
	return w.open(&fakeBroker{Backend: w.broker.Connect(), limits: func(l *backend.Limits) {
		l.MaxBody, l.MaxDelay, l.MinPriority, l.MaxPriority = 100, 15*time.Minute, 0, 9
	}})
}

func TestWhatTheBrokerCannotDoIsAnErrorAtTheDoor(t *testing.T) {
	for name, test := range map[string]struct {
		args   any
		option queue.Option
		want   error
		text   string
	}{
		"args at the limit":    {strings.Repeat("x", 98), queue.In(0), nil, ""},
		"args above the limit": {strings.Repeat("x", 99), queue.In(0), queue.ErrTooLarge, "101 bytes, at most 100"},
		"the longest delay":    {1, queue.In(15 * time.Minute), nil, ""},
		"a longer delay":       {1, queue.In(15*time.Minute + 1), queue.ErrUnsupported, "at most 15m0s"},
		"the longest In":       {1, queue.In(math.MaxInt64), queue.ErrUnsupported, "at most 15m0s"},
		"a far time":           {1, queue.At(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), queue.ErrUnsupported, "at most 15m0s"},
		"the highest priority": {1, queue.Priority(9), nil, ""},
		"a higher priority":    {1, queue.Priority(10), queue.ErrUnsupported, "priority 10 is not between 0 and 9"},
		"a lower priority":     {1, queue.Priority(-1), queue.ErrUnsupported, "priority -1 is not between 0 and 9"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				_, err := limited(w).Enqueue(t.Context(), "greet", test.args, test.option)
				if !errors.Is(err, test.want) || test.want != nil && err == nil {
					t.Fatalf("got %v, want %v", err, test.want)
				}
				if test.want == nil {
					w.stored()
					return
				}
				expectText(t, err.Error(), "greet", test.text)
				w.expectEmpty()
			})
		})
	}
}

func TestABrokerThatTellsNoLimitsHasNoPriorities(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		q := w.open(storeless{w.broker.Connect()})
		if _, err := q.Enqueue(t.Context(), "greet", 1, queue.Priority(1)); !errors.Is(err, queue.ErrUnsupported) {
			t.Errorf("got %v, want ErrUnsupported", err)
		}
		_, err := q.Enqueue(t.Context(), "greet", 1, queue.In(1000*time.Hour))
		must(t, err)
	})
}

func TestEnqueueManyReturnsTheIDsInOrder(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		kind := handle(w, "greet", nothing[int], queue.MaxAttempts(4))
		ids, err := w.queue.EnqueueMany(t.Context(),
			queue.Request{Kind: "greet", Args: 1},
			queue.Request{Kind: "other", Args: "x", Options: []queue.Option{queue.ID("42")}})
		must(t, err)
		more, err := kind.EnqueueMany(t.Context(), w.queue, []int{7, 8}, queue.Header("k", "v"))
		must(t, err)
		var got, want []string
		for _, m := range w.peek(backend.Ready) {
			got = append(got, fmt.Sprintf("%s %s %s %d %v", m.ID, m.Kind, m.Args, m.MaxAttempts, m.Header))
		}
		want = append(want, ids[0]+" greet 1 4 map[]", `42 other "x" 0 map[]`,
			more[0]+" greet 7 4 map[k:v]", more[1]+" greet 8 4 map[k:v]")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("stored %q\nwant %q", got, want)
		}
	})
}

func TestEnqueueManyOfNothingIsNothing(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		ids, err := w.queue.EnqueueMany(t.Context())
		if len(ids) != 0 || err != nil {
			t.Errorf("got %v, %v", ids, err)
		}
	})
}

func TestOneInvalidJobMakesTheBatchStoreNone(t *testing.T) {
	for name, bad := range map[string]struct {
		request queue.Request
		want    error
	}{
		"no kind":       {queue.Request{Args: 1}, queue.ErrInvalid},
		"nil args":      {queue.Request{Kind: "greet"}, queue.ErrInvalidArgs},
		"wrong type":    {queue.Request{Kind: "greet", Args: "x"}, queue.ErrInvalidArgs},
		"a bad option":  {queue.Request{Kind: "greet", Args: 1, Options: []queue.Option{queue.In(-1)}}, queue.ErrInvalid},
		"far too large": {queue.Request{Kind: "other", Args: strings.Repeat("x", 100)}, queue.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			inWorkshop(t, func(t *testing.T, w *workshop) {
				handle(w, "greet", nothing[int])
				good := queue.Request{Kind: "greet", Args: 1}
				ids, err := limited(w).EnqueueMany(t.Context(), good, bad.request, good)
				if !errors.Is(err, bad.want) || ids != nil {
					t.Errorf("got %v, %v, want %v", ids, err, bad.want)
				}
				if _, batch := errors.AsType[*queue.BatchError](err); batch {
					t.Error("a BatchError means that some were stored")
				}
				w.expectEmpty()
			})
		})
	}
}

func TestWhatTheBrokerRefusesOfABatchIsNamedAndTheRestIsStored(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		inner := w.broker.Connect()
		q := w.open(&fakeBroker{Backend: inner, push: func(ctx context.Context, messages []*backend.Message) error {
			errs := make([]error, len(messages))
			for i, m := range messages {
				if string(m.Args) == "2" {
					errs[i] = fmt.Errorf("%w: 2 is large", backend.ErrTooLarge)
					continue
				}
				must(t, inner.Push(ctx, []*backend.Message{m}))
			}
			return backend.NewBatchError(errs)
		}})
		ids, err := queue.Define[int]("greet").EnqueueMany(t.Context(), q, []int{1, 2, 3})
		batch, ok := errors.AsType[*queue.BatchError](err)
		if !ok || len(batch.Errs) != 3 || batch.Errs[0] != nil || batch.Errs[2] != nil || !errors.Is(batch.Errs[1], queue.ErrTooLarge) {
			t.Fatalf("got %v, want a BatchError about the second", err)
		}
		if ids[0] == "" || ids[1] != "" || ids[2] == "" || len(w.peek(backend.Ready)) != 2 {
			t.Errorf("the IDs are %q, want that of the second to be empty", ids)
		}
		_, err = q.Enqueue(t.Context(), "greet", 2)
		if !errors.Is(err, queue.ErrTooLarge) {
			t.Errorf("a lone job: got %v, want ErrTooLarge", err)
		}
		if _, batch := errors.AsType[*queue.BatchError](err); batch {
			t.Error("a lone job got a BatchError")
		}
	})
}

func TestABrokerThatIsDownRefusesTheWholeBatch(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		q := w.open(&fakeBroker{Backend: w.broker.Connect(), push: func(context.Context, []*backend.Message) error {
			return fmt.Errorf("%w: connection refused", backend.ErrUnavailable)
		}})
		ids, err := queue.Define[int]("greet").EnqueueMany(t.Context(), q, []int{1, 2})
		if !errors.Is(err, queue.ErrUnavailable) || fmt.Sprintf("%q", ids) != `["" ""]` {
			t.Errorf("got %q, %v", ids, err)
		}
		if id, err := q.Enqueue(t.Context(), "greet", 1); !errors.Is(err, queue.ErrUnavailable) || id != "" {
			t.Errorf("got %q, %v", id, err)
		}
	})
}

func TestEnqueueAfterCloseIsErrClosed(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		kind := handle(w, "greet", nothing[int])
		must(t, w.queue.Close())
		_, err := w.queue.Enqueue(t.Context(), "greet", 1)
		_, errMany := w.queue.EnqueueMany(t.Context(), queue.Request{Kind: "greet", Args: 1})
		_, errKind := kind.Enqueue(t.Context(), w.queue, 1)
		_, errAll := kind.EnqueueMany(t.Context(), w.queue, []int{1, 2})
		for _, err := range []error{err, errMany, errKind, errAll} {
			if !errors.Is(err, queue.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
		w.expectEmpty()
	})
}

func TestEnqueueWithAnEndedContextStoresNothing(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, option := range []queue.Option{queue.In(0), queue.Track(), queue.Unique(time.Hour)} {
			if _, err := w.queue.Enqueue(ctx, "greet", 1, option); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
		}
		w.expectEmpty()
	})
}

func TestAnIDIsStoredOnceWhileItsJobWaits(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		w.enqueue("greet", 1, queue.ID("42"))
		w.enqueue("greet", 1, queue.ID("42")) // as after a lost reply
		w.stored()
	})
}

func TestAHandlerCanEnqueue(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		done := new(trace)
		handle(w, "countdown", func(ctx context.Context, job *queue.Job[int]) error {
			done.add(fmt.Sprint(job.Args))
			if job.Args == 0 {
				return nil
			}
			_, err := w.queue.Enqueue(ctx, job.Kind, job.Args-1)
			return err
		})
		w.enqueue("countdown", 3)
		w.run()
		expectTrace(t, done, "3, 2, 1, 0")
	}, queue.Workers(1), queue.Prefetch(0))
}

// FuzzRawArgs checks that whatever is let in at the door comes out of the
// envelope as it was.
func FuzzRawArgs(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `"\ud800"`, `[[[]]]`, ` 1 `, "\"\xff\"", `1e999`, `{"a":1,"a":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		broker := memory.New()
		q := queue.New(broker, queue.Handlers(new(queue.Mux)), queue.Logger(nil))
		defer q.Close()
		if _, err := q.Enqueue(t.Context(), "greet", queue.Raw(data)); err != nil {
			if !errors.Is(err, queue.ErrInvalidArgs) && !errors.Is(err, queue.ErrTooLarge) {
				t.Errorf("%q: %v", data, err)
			}
			return
		}
		entries, err := broker.Peek(t.Context(), queue.DefaultQueue, backend.Ready, 0, 1)
		must(t, err)
		envelope, err := backend.AppendEnvelope(nil, &entries[0].Message)
		if err != nil {
			t.Fatalf("%q was let in and has no envelope: %v", data, err)
		}
		m, err := backend.DecodeEnvelope(envelope)
		if err != nil || string(m.Args) != strings.Trim(string(data), " \t\r\n") {
			t.Errorf("%q came out as %q, %v", data, m.Args, err)
		}
	})
}

func TestCloseEndsAnEnqueueInProgress(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		closed := make(chan struct{})
		q := w.open(&fakeBroker{Backend: w.broker.Connect(), push: func(context.Context, []*backend.Message) error {
			<-closed
			return backend.ErrClosed
		}})
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := q.Enqueue(context.Background(), "greet", 1)
				errs <- err
			}()
		}
		synctest.Wait()
		must(t, q.Close())
		close(closed)
		for range 2 {
			if err := <-errs; !errors.Is(err, queue.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
	})
}
