package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

type Email struct {
	To string `json:"to"`
}

// EmailHandler is a handler as users write them.
type EmailHandler struct{ sent []string }

func (h *EmailHandler) Handle(_ context.Context, job *queue.Job[Email]) error {
	h.sent = append(h.sent, job.Args.To)
	return nil
}

// mapHandler is a handler that can be nil without being a pointer.
type mapHandler map[string]string

func (mapHandler) Handle(context.Context, *queue.Job[Email]) error { return nil }

func nothing[T any](context.Context, *queue.Job[T]) error { return nil }

var kinds atomic.Int64

// newKind returns the name of a kind that nobody has registered: DefaultMux
// lives as long as the process.
func newKind() string { return fmt.Sprintf("kind_%d", kinds.Add(1)) }

func TestTheTypeOfTheArgsIsInferredFromTheHandler(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handler := new(EmailHandler)
		var byMethod *queue.Kind[Email] = queue.RegisterOn(w.mux, "send_email", handler)
		var byFunc *queue.Kind[int] = queue.RegisterOn(w.mux, "count", queue.HandlerFunc[int](nothing[int]))
		_, err := byMethod.Enqueue(t.Context(), w.queue, Email{"a@b.c"})
		must(t, err)
		_, err = byFunc.Enqueue(t.Context(), w.queue, 1)
		must(t, err)
		w.run()
		if got := fmt.Sprint(handler.sent); got != "[a@b.c]" {
			t.Errorf("the handler got %s, want [a@b.c]", got)
		}
		w.expectEmpty()
	})
}

func TestRegisterAndRegisterFuncAddToTheDefaultMux(t *testing.T) {
	first, second := newKind(), newKind()
	var byMethod *queue.Kind[Email] = queue.Register(first, &EmailHandler{})
	var byFunc *queue.Kind[Email] = queue.RegisterFunc(second, nothing[Email])
	if byMethod.Name() != first || byFunc.Name() != second {
		t.Errorf("the kinds are called %s and %s", byMethod.Name(), byFunc.Name())
	}
	known := " " + strings.Join(queue.DefaultMux.Kinds(), " ") + " "
	expectText(t, known, " "+first+" ", " "+second+" ")
}

func TestAKindRegisteredTwicePanics(t *testing.T) {
	kind := newKind()
	queue.Register(kind, &EmailHandler{})
	expectPanic(t, func() { queue.Register(kind, &EmailHandler{}) }, "multiple registrations", kind)
	expectPanic(t, func() { queue.RegisterFunc(kind, nothing[int]) }, "multiple registrations", kind)
}

func TestAnEmptyKindPanics(t *testing.T) {
	expectPanic(t, func() { queue.Register("", &EmailHandler{}) }, "empty kind")
	expectPanic(t, func() { queue.RegisterFunc("", nothing[Email]) }, "empty kind")
	expectPanic(t, func() { queue.Define[Email]("") }, "empty kind")
}

func TestAKindThatNoBrokerCanCarryPanics(t *testing.T) {
	for _, kind := range []string{strings.Repeat("x", 256), "send\xffemail"} {
		expectPanic(t, func() { queue.RegisterOn(new(queue.Mux), kind, &EmailHandler{}) }, "1 to 255 bytes of UTF-8")
		expectPanic(t, func() { queue.Define[Email](kind) }, "1 to 255 bytes of UTF-8")
	}
}

func TestANilHandlerPanics(t *testing.T) {
	for name, handler := range map[string]queue.Handler[Email]{
		"nil":         nil,
		"nil pointer": (*EmailHandler)(nil),
		"nil func":    queue.HandlerFunc[Email](nil),
		"nil map":     mapHandler(nil),
	} {
		t.Run(name, func(t *testing.T) {
			expectPanic(t, func() { queue.RegisterOn(new(queue.Mux), "send_email", handler) }, "nil handler", "send_email")
		})
	}
	expectPanic(t, func() { queue.RegisterFunc[Email]("send_email", nil) }, "nil handler", "send_email")
}

func TestAnInvalidDefaultPanicsAndNamesTheKind(t *testing.T) {
	for option, want := range map[string]struct {
		option queue.Option
		text   string
	}{
		"In":          {queue.In(-time.Second), "In(-1s) is negative"},
		"On":          {queue.On("no spaces"), `"no spaces"`},
		"MaxAttempts": {queue.MaxAttempts(0), "MaxAttempts(0)"},
		"Timeout":     {queue.Timeout(0), "Timeout(0s)"},
		"Retry":       {queue.Retry(nil), "Retry(nil)"},
		"ID":          {queue.ID("42"), "ID cannot be the default of a kind"},
	} {
		t.Run(option, func(t *testing.T) {
			expectPanic(t, func() { queue.RegisterOn(new(queue.Mux), "send_email", &EmailHandler{}, want.option) },
				"send_email", want.text)
			expectPanic(t, func() { queue.Define[Email]("send_email", want.option) }, "send_email", want.text)
		})
	}
}

func TestDefineRefusesAPolicyThatCannotTravel(t *testing.T) {
	policy := retry.If(retry.Is(context.Canceled), retry.Never(), retry.Default())
	expectPanic(t, func() { queue.Define[Email]("send_email", queue.Retry(policy)) }, "send_email", "cannot travel")
}

func TestAKindCanBeDefinedAnyNumberOfTimes(t *testing.T) {
	kind := newKind()
	queue.Define[Email](kind)
	queue.Define[int](kind)
	queue.Register(kind, &EmailHandler{})
	queue.Define[Email](kind)
}

func TestKindsAreSorted(t *testing.T) {
	mux := new(queue.Mux)
	if got := mux.Kinds(); len(got) != 0 {
		t.Errorf("an empty mux has kinds %v", got)
	}
	for _, kind := range []string{"b", "c", "a"} {
		queue.RegisterOn(mux, kind, &EmailHandler{})
	}
	if got := fmt.Sprint(mux.Kinds()); got != "[a b c]" {
		t.Errorf("got %s, want [a b c]", got)
	}
}

func TestAMuxIsSafeForConcurrentUse(t *testing.T) {
	mux := new(queue.Mux)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			queue.RegisterOn(mux, fmt.Sprint("kind", i), &EmailHandler{})
			mux.Kinds()
		})
	}
	all.Wait()
	if n := len(mux.Kinds()); n != 50 {
		t.Errorf("%d kinds are registered, want 50", n)
	}
}

func TestAKindCanBeRegisteredWhileTheQueueRuns(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		w.run()
		w.enqueue("late", 1)
		pass(0)
		done := 0
		handle(w, "late", func(context.Context, *queue.Job[int]) error {
			done++
			return nil
		})
		pass(time.Second) // when an unknown kind is offered again
		if done != 1 {
			t.Errorf("the handler was called %d times, want once", done)
		}
		w.expectEmpty()
	})
}

func TestWorkIsTakenFromTheQueuesThatTheKindsGoTo(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		done := new(trace)
		note := func(_ context.Context, job *queue.Job[int]) error {
			done.add(job.Queue)
			return nil
		}
		handle(w, "bulk", note, queue.On("email.bulk"))
		handle(w, "plain", note)
		w.enqueue("bulk", 1)
		w.enqueue("plain", 1)
		w.enqueue("plain", 1, queue.On("elsewhere")) // nobody works there
		w.run()
		if got := done.String(); got != "default, email.bulk" && got != "email.bulk, default" {
			t.Errorf("jobs came from %s", got)
		}
		if n := len(w.peekAt("elsewhere", backend.Ready)); n != 1 {
			t.Errorf("%d jobs wait in the queue that no kind goes to, want 1", n)
		}
	})
}

func TestAJobMadeByHandCanReportProgress(t *testing.T) {
	job := &queue.Job[Email]{Args: Email{"a@b.c"}}
	job.Progress(1, 2)
	must(t, job.SetResult("ignored"))
	if job.SetResult(make(chan int)) == nil {
		t.Error("a result that has no JSON form is taken, which it is not in production")
	}
	must(t, new(EmailHandler).Handle(t.Context(), job))
}

func TestHandlerOfAMuxDecodesTheArgs(t *testing.T) {
	mux, handler := new(queue.Mux), new(EmailHandler)
	queue.RegisterOn(mux, "send_email", handler)
	must(t, mux.Handler("send_email").Handle(t.Context(), &queue.Job[queue.Raw]{Args: queue.Raw(`{"to":"a@b.c"}`)}))
	if got := fmt.Sprint(handler.sent); got != "[a@b.c]" {
		t.Errorf("the handler got %s", got)
	}
	err := mux.Handler("send_email").Handle(t.Context(), &queue.Job[queue.Raw]{Args: queue.Raw(`7`)})
	if verdict, _ := queue.VerdictOf(err); verdict != queue.Buried || !errors.Is(err, queue.ErrInvalidArgs) {
		t.Errorf("args that do not decode: got %v", err)
	}
	if mux.Handler("unknown") != nil || new(queue.Mux).Handler("send_email") != nil {
		t.Error("there is a handler of a kind that is not registered")
	}
}
