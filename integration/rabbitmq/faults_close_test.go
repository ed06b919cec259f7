package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// leaveNothing fails the test when f leaves goroutines behind. No other test
// may run beside it.
func leaveNothing(t *testing.T, f func()) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	f()
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
}

// busy is a backend that does all that it can do.
type busy struct {
	backend.Backend
	calls sync.WaitGroup
	mu    sync.Mutex // guards errs
	errs  map[string]error
}

// makeBusy opens a backend that holds a job, waits for others, pushes, settles
// and asks. It returns when it has done each of that.
func makeBusy(t *testing.T, address string) *busy {
	t.Helper()
	b, err := backend.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	delayed := faults.Message("delayed")
	delayed.Delay = time.Hour
	push(t, b, faults.Message("dead"), delayed)
	bury(t, b, faults.Reserve(t, b, time.Minute, faults.Patience))
	key := faults.Dead(t, b)[0].Key
	push(t, b, faults.Message("held"))
	faults.Reserve(t, b, time.Minute, faults.Patience)
	made := &busy{Backend: b, errs: make(map[string]error)}
	calls := map[string]func(context.Context) error{
		"Push": func(ctx context.Context) error {
			return b.Push(ctx, []*backend.Message{messageFor("pushed", "pushed")})
		},
		"Reserve": func(ctx context.Context) error {
			_, err := b.Reserve(ctx, []string{"first", "second"}, 1, time.Minute)
			return err
		},
		"Reserve and settle": reserveAndSettle(b),
	}
	for name, ask := range questions(b, key) {
		if name != "Requeue" && name != "Delete" { // there would be nothing left to ask for
			calls[name] = ask
		}
	}
	var once sync.WaitGroup
	for name, call := range calls {
		if name != "Reserve" { // it waits in vain
			once.Add(1)
		}
		made.calls.Go(func() {
			for first := true; ; first = false {
				err := call(context.Background())
				if first && name != "Reserve" {
					once.Done()
				}
				if err != nil {
					made.mu.Lock()
					made.errs[name] = err
					made.mu.Unlock()
					return
				}
			}
		})
	}
	once.Wait()
	return made
}

// reserveAndSettle returns a call that settles a job in each of the ways.
func reserveAndSettle(b backend.Backend) func(context.Context) error {
	n := 0
	return func(ctx context.Context) error {
		settlement := settlements()[n%len(settlements())]
		n++
		name := "settled-" + fmt.Sprint(n) // what is retried does not come back here
		if err := b.Push(ctx, []*backend.Message{messageFor(name, name)}); err != nil {
			return err
		}
		deliveries, err := b.Reserve(ctx, []string{name}, 1, time.Minute)
		if err != nil {
			return err
		}
		return backend.ErrorAt(settlement.Settle(ctx, b, deliveries[0]), 0)
	}
}

// expectClosed fails the test unless Close returns in time and nil, and with it
// all calls.
func (b *busy) expectClosed(t *testing.T) {
	t.Helper()
	began := time.Now()
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() { errs <- b.Close() }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close once more: %v", err)
	}
	b.calls.Wait()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := b.Push(context.Background(), []*backend.Message{faults.Message("late")}); !errors.Is(err, backend.ErrClosed) {
		t.Errorf("Push after Close: %v; want %v", err, backend.ErrClosed)
	}
}

// expectErrClosed fails the test unless that is what ended all calls.
func (b *busy) expectErrClosed(t *testing.T) {
	t.Helper()
	for name, err := range b.errs {
		if !errors.Is(err, backend.ErrClosed) {
			t.Errorf("%s: %v; want %v", name, err, backend.ErrClosed)
		}
	}
}

// expectHeldIsBack fails the test unless the job that was held is there again.
func expectHeldIsBack(t *testing.T, address string) {
	t.Helper()
	b := faults.Open(t, address)
	if d := faults.Reserve(t, b, time.Minute, faults.Prompt); d.ID != "held" || d.Attempt != 2 {
		t.Errorf("the job that is back is %s, attempt %d; want held, 2", d.ID, d.Attempt)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	address := place(t)
	leaveNothing(t, func() {
		b := makeBusy(t, address)
		b.expectClosed(t)
		b.expectErrClosed(t)
	})
	expectHeldIsBack(t, address)
}

func TestCloseLeavesNothingBehindWhenTheServerDoesNotAnswer(t *testing.T) {
	address := place(t)
	network := faults.NewProxy(t, address)
	leaveNothing(t, func() {
		b := makeBusy(t, network.URL())
		network.Blackhole()
		defer network.Heal()
		b.expectClosed(t)
		b.expectErrClosed(t)
	})
	expectHeldIsBack(t, address)
}

func TestCloseLeavesNothingBehindWhenTheServerIsGone(t *testing.T) {
	address := place(t)
	network := faults.NewProxy(t, address)
	leaveNothing(t, func() {
		b := makeBusy(t, network.URL())
		network.Sever()
		b.expectClosed(t)
		// What was on its way ended with the connection.
	})
	expectHeldIsBack(t, address)
}

func TestCloseLeavesNothingBehindWhenTheNetworkTakesNoMore(t *testing.T) {
	address := place(t)
	network := faults.NewProxy(t, address)
	leaveNothing(t, func() {
		b, err := backend.Open(t.Context(), network.URL())
		if err != nil {
			t.Fatal(err)
		}
		push(t, b, messageFor("large", "declared"))
		network.Blackhole()
		defer network.Heal()
		made := &busy{Backend: b, errs: make(map[string]error)}
		for _, m := range largeMessages() {
			made.calls.Go(func() {
				err := b.Push(context.Background(), []*backend.Message{m})
				made.mu.Lock()
				defer made.mu.Unlock()
				made.errs["Push of "+m.ID] = err
			})
		}
		faults.OnTime(t, "Push", func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{faults.Message("late")}) })
		made.expectClosed(t)
		made.expectErrClosed(t)
	})
}

// A backend that is closed while it looks for its server.
func TestCloseEndsTheSearchForTheServer(t *testing.T) {
	address := place(t)
	network := faults.NewProxy(t, with(address, "timeout", "30s"))
	leaveNothing(t, func() {
		b, err := backend.Open(t.Context(), network.URL())
		if err != nil {
			t.Fatal(err)
		}
		push(t, b, faults.Message("held"))
		d := faults.Reserve(t, b, time.Minute, faults.Patience)
		notifier, losses := told(t, b)
		network.Sever()
		awaitLost(t, notifier, losses, d)
		made := &busy{Backend: b, errs: make(map[string]error)}
		for name, call := range map[string]func(context.Context) error{
			"Push":  func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{faults.Message("late")}) },
			"Stats": questions(b, "")["Stats"],
			"Reserve": func(ctx context.Context) error {
				_, err := b.Reserve(ctx, []string{"default"}, 1, time.Minute)
				return err
			},
		} {
			made.calls.Go(func() {
				err := call(context.Background())
				made.mu.Lock()
				defer made.mu.Unlock()
				made.errs[name] = err
			})
		}
		made.expectClosed(t)
		made.expectErrClosed(t)
	})
	expectHeldIsBack(t, address)
}

// What belongs to a connection ends with it, and not only with Close.
func TestReconnectsLeaveNothingBehind(t *testing.T) {
	address := place(t)
	network := faults.NewProxy(t, address)
	b := faults.Open(t, network.URL())
	before := 0
	for cuts := range 15 {
		push(t, b, messageFor("held", fmt.Sprint(cuts)))
		held := reserve(t, b, "held", faults.Patience)
		notifier, losses := told(t, b)
		if before == 0 {
			before = runtime.NumGoroutine()
		}
		network.CutAll()
		awaitLost(t, notifier, losses, held)
		ack(t, b, reserve(t, b, "held", recovery))
	}
	faults.Eventually(t, faults.Prompt, func() error {
		if after := runtime.NumGoroutine(); after > before {
			return fmt.Errorf("there are %d goroutines, and were %d", after, before)
		}
		return nil
	})
}
