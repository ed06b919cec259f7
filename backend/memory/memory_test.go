package memory_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

// lease is that of every reservation unless a test is about leases.
const lease = time.Minute

// push pushes jobs to the queue q, one for each ID.
func push(t testing.TB, m *memory.Backend, ids ...string) {
	t.Helper()
	for _, id := range ids {
		pushMessage(t, m, backend.Message{ID: id})
	}
}

// pushMessage pushes one job, by default of kind k in queue q.
func pushMessage(t testing.TB, m *memory.Backend, job backend.Message) {
	t.Helper()
	if job.Kind == "" {
		job.Kind = "k"
	}
	if job.Queue == "" {
		job.Queue = "q"
	}
	if err := m.Push(t.Context(), []*backend.Message{&job}); err != nil {
		t.Fatalf("push %s: %v", job.ID, err)
	}
}

// reserve takes up to max jobs of the queue q that are ready now. Call it in a
// bubble: it waits for a millisecond of its time.
func reserve(t testing.TB, m *memory.Backend, max int) []*backend.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	ds, err := m.Reserve(ctx, []string{"q"}, max, lease)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("reserve: %v", err)
	}
	return ds
}

// idsOf returns the IDs of deliveries, separated by spaces.
func idsOf(ds []*backend.Delivery) string {
	var ids []string
	for _, d := range ds {
		ids = append(ids, d.ID)
	}
	return strings.Join(ids, " ")
}

// wantNext fails t unless those, and no others, are ready in the queue q.
func wantNext(t testing.TB, m *memory.Backend, ids string) []*backend.Delivery {
	t.Helper()
	ds := reserve(t, m, 1_000_000)
	if got := idsOf(ds); got != ids {
		t.Errorf("reserved %q, want %q", got, ids)
	}
	return ds
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantStats fails t unless the queue q has these counts.
func wantStats(t testing.TB, m *memory.Backend, ready, scheduled, reserved, dead int64) {
	t.Helper()
	want := backend.Stats{Queue: "q", Ready: ready, Scheduled: scheduled, Reserved: reserved, Dead: dead}
	if got, err := m.Stats(t.Context(), "q"); err != nil || got != want {
		t.Errorf("Stats = %+v, %v, want %+v", got, err, want)
	}
}

func bury(t testing.TB, m *memory.Backend, d *backend.Delivery) {
	t.Helper()
	message := d.Message
	must(t, m.Bury(t.Context(), []backend.Burial{{Delivery: d, Message: &message, Failure: backend.Failure{Error: "boom"}}}))
}

func open(t testing.TB, url string) *memory.Backend {
	t.Helper()
	b, err := backend.Open(t.Context(), url)
	must(t, err)
	return b.(*memory.Backend)
}

func TestNamedBrokersAreSharedAndPrivateOnesAreNot(t *testing.T) {
	a, b := open(t, "memory://shared"), open(t, "memory://shared/")
	push(t, a, "1")
	ds, err := b.Reserve(t.Context(), []string{"q"}, 9, lease)
	if idsOf(ds) != "1" || err != nil {
		t.Errorf("the other connection reserved %q, %v", idsOf(ds), err)
	}
	must(t, a.Ack(t.Context(), ds))
	if a.Store() != b.Store() {
		t.Error("connections of one broker have different stores")
	}
	for _, url := range []string{"memory://", "memory:///", "memory://other"} {
		other := open(t, url)
		wantStats(t, other, 0, 0, 0, 0)
		if other.Store() == a.Store() {
			t.Errorf("%s has the store of another broker", url)
		}
	}
}

func TestClosingAConnectionLeavesTheBrokerAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := memory.NewBroker()
		a, b := broker.Connect(), broker.Connect()
		push(t, a, "1", "2")
		ds := reserve(t, a, 1)
		must(t, a.Close())
		if err := a.Push(t.Context(), nil); !errors.Is(err, backend.ErrClosed) {
			t.Errorf("Push after Close: %v", err)
		}
		wantStats(t, b, 1, 0, 1, 0)
		must(t, b.Ack(t.Context(), ds))
		wantNext(t, b, "2")
	})
}

func TestURLOfMemoryHasNothingButAName(t *testing.T) {
	for _, url := range []string{
		"memory://ann:canary@name", "memory://@name", "memory://name:1", "memory://name:", "memory://a,b:1",
		"memory://name/path", "memory:///path", "memory://?x=canary", "memory://?canary", "memory://name#canary",
	} {
		b, err := backend.Open(t.Context(), url)
		if b != nil || !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("Open(%q) = %v, %v, want ErrInvalid", url, b, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("Open(%q) tells the secret: %v", url, err)
		}
	}
}

func TestInvalidArgumentsAreRefused(t *testing.T) {
	m := memory.New()
	ctx := t.Context()
	reserve := func(queue string, max int, lease time.Duration) error {
		_, err := m.Reserve(ctx, []string{queue}, max, lease)
		return err
	}
	pushed := func(message *backend.Message) error { return m.Push(ctx, []*backend.Message{message}) }
	_, fromNone := m.Reserve(ctx, nil, 1, lease)
	_, filter := m.Remove(ctx, "q", backend.Filter{})
	_, offset := m.Peek(ctx, "q", backend.Ready, -1, 1)
	_, state := m.Peek(ctx, "q", -1, 0, 1)
	for name, err := range map[string]error{
		"no queue":           fromNone,
		"an empty queue":     reserve("", 1, lease),
		"none at most":       reserve("q", 0, lease),
		"too short a lease":  reserve("q", 1, time.Millisecond-1),
		"too long a lease":   reserve("q", 1, 1<<63-1),
		"no message":         pushed(nil),
		"no ID":              pushed(&backend.Message{Kind: "k", Queue: "q"}),
		"no kind":            pushed(&backend.Message{ID: "1", Queue: "q"}),
		"a bad queue":        pushed(&backend.Message{ID: "1", Kind: "k", Queue: "-"}),
		"a negative delay":   pushed(&backend.Message{ID: "1", Kind: "k", Queue: "q", Delay: -1}),
		"too long a delay":   pushed(&backend.Message{ID: "1", Kind: "k", Queue: "q", Delay: 1<<63 - 1}),
		"no lease":           m.Extend(ctx, nil, 0),
		"an endless lease":   m.Extend(ctx, nil, 1<<63-1),
		"a negative release": m.Release(ctx, nil, -1),
		"raw without queue":  m.PutRaw(ctx, "", nil),
		"idle without queue": m.Idle(ctx, ""),
		"an empty filter":    filter,
		"a negative offset":  offset,
		"no such state":      state,
		"pause of no queue":  m.Pause(ctx, ""),
	} {
		if !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	for _, priority := range []int{-1<<15 - 1, 1 << 15} {
		if err := pushed(&backend.Message{ID: "1", Kind: "k", Queue: "q", Priority: priority}); !errors.Is(err, backend.ErrUnsupported) {
			t.Errorf("priority %d: %v, want ErrUnsupported", priority, err)
		}
	}
	wantStats(t, m, 0, 0, 0, 0)
}

func TestDeliveriesOfAnotherBrokerAreNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memory.New(), memory.New()
		push(t, a, "1")
		push(t, b, "1")
		ds := reserve(t, a, 1)
		reserve(t, b, 1)
		for name, d := range map[string]*backend.Delivery{
			"of another broker": ds[0], "without a receipt": {Message: ds[0].Message}, "with a foreign receipt": {Receipt: 7}, "nil": nil,
		} {
			if err := b.Ack(t.Context(), []*backend.Delivery{d}); !errors.Is(err, backend.ErrLeaseLost) {
				t.Errorf("a delivery %s: %v, want ErrLeaseLost", name, err)
			}
		}
		must(t, a.Ack(t.Context(), ds))
	})
}
