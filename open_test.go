package queue_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/store"
)

var schemes atomic.Int64

// urlOf registers a driver that opens b, and returns a URL for it.
func urlOf(b backend.Backend) string {
	scheme := fmt.Sprintf("test%d", schemes.Add(1))
	backend.Register(scheme, func(context.Context, *url.URL) (backend.Backend, error) { return b, nil })
	return scheme + "://host"
}

// closing is a broker that tells whether it was closed. It has no store.
type closing struct {
	storeless
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return c.storeless.Close()
}

func TestOpenConnectsByTheSchemeOfTheURL(t *testing.T) {
	name := fmt.Sprintf("memory://open-%d", schemes.Add(1)) // shared within the process
	producer, err := queue.Open(t.Context(), name, queue.Logger(nil))
	must(t, err)
	defer producer.Close()
	_, err = producer.Enqueue(t.Context(), "greet", 1)
	must(t, err)
	other, err := queue.Open(t.Context(), name, queue.Logger(nil))
	must(t, err)
	defer other.Close()
	inspector, ok := backend.As[backend.Inspector](other.Backend())
	if !ok {
		t.Fatal("Backend hides what the broker can do")
	}
	stats, err := inspector.Stats(t.Context(), queue.DefaultQueue)
	if err != nil || stats.Ready != 1 {
		t.Errorf("got %+v, %v, want the job of the other queue", stats, err)
	}
}

func TestAURLThatCannotBeOpenedIsAnErrorThatHelps(t *testing.T) {
	for url, want := range map[string]string{
		"nosuch://host":      `unknown scheme "nosuch" (forgotten import of the driver? known: memory`,
		"":                   "has no scheme",
		"localhost:6379":     "has no scheme",
		"memory://?size=3":   "size",
		"memory://host:port": "parse",
		"memory://host/path": "nothing more",
	} {
		q, err := queue.Open(t.Context(), url)
		if !errors.Is(err, queue.ErrInvalid) || q != nil {
			t.Errorf("%s: got %v, %v, want ErrInvalid", url, q, err)
		}
		expectText(t, fmt.Sprint(err), want)
	}
}

func TestNoErrorOfOpenShowsThePassword(t *testing.T) {
	logs := new(logs)
	for _, url := range []string{
		"nosuch://user:CANARY@host", "memory://user:CANARY@host", "memory://user:CANARY@host:port", "memory://:CANARY@",
		"memory://user:CAN/CANARY@host", "memory://user:CAN%ZZCANARY@host", "memory://host?password=CANARY",
		"user:CANARY@host", "://user:CANARY@host", "memory://user:CANARY @host", "memory://user:#CANARY@host", "CANARY",
	} {
		for name, open := range map[string]func() (*queue.Queue, error){
			"Open": func() (*queue.Queue, error) { return queue.Open(t.Context(), url, queue.Logger(logs.logger())) },
			"Store": func() (*queue.Queue, error) {
				return queue.Open(t.Context(), "memory://", queue.Store(url), queue.Logger(logs.logger()))
			},
		} {
			_, err := open()
			if err == nil || strings.Contains(err.Error()+logs.String(), "CANARY") {
				t.Errorf("%s(%s): %v %s", name, url, err, logs)
			}
		}
	}
}

func TestInvalidOptionsOfOpenAreRefused(t *testing.T) {
	for want, option := range map[string]queue.OpenOption{
		"Workers(0)":  queue.Workers(0),
		"Workers(-1)": queue.Workers(-1),
		"Workers(1000000000) is not between 1 and": queue.Workers(1e9),
		"Prefetch(-1)": queue.Prefetch(-1),
		"Prefetch(1000000000) is not between 0 and": queue.Prefetch(1e9),
		"nil OpenOption": nil,
		"WithStore(nil)": queue.WithStore(nil),
		"names no queue": queue.Queues(),
		`"no spaces"`:    queue.Queues("good", "no spaces"),
		"Handlers(nil)":  queue.Handlers(nil),
		"Lease(0s)":      queue.Lease(0),
		"Lease(-1s)":     queue.Lease(-time.Second),
		"Shutdown(-1s)":  queue.Shutdown(-time.Second),
		"nil middleware": queue.Use(nil),
	} {
		b := &closing{storeless: storeless{memory.New()}}
		q, err := queue.Open(t.Context(), urlOf(b), option, queue.Workers(1))
		if !errors.Is(err, queue.ErrInvalid) || q != nil {
			t.Errorf("%s: got %v, want ErrInvalid", want, err)
		}
		expectText(t, fmt.Sprint(err), want)
		expectPanic(t, func() { queue.New(memory.New(), option) }, want)
	}
}

func TestANilPointerIsNoStore(t *testing.T) {
	var s *store.Memory
	_, err := queue.Open(t.Context(), "memory://", queue.WithStore(s))
	if !errors.Is(err, queue.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	expectText(t, fmt.Sprint(err), "WithStore(nil)")
}

func TestNewPanicsWhereItCannotOpen(t *testing.T) {
	expectPanic(t, func() { queue.New(memory.New(), queue.Store("memory://")) }, "WithStore")
	expectPanic(t, func() { queue.New(nil) }, "nil backend")
}

func TestALeaseThatTheBrokerCannotGrantIsUnsupported(t *testing.T) {
	for _, test := range []struct {
		lease, least, most time.Duration
		ok                 bool
	}{
		{time.Second, 0, 0, true}, {time.Second, time.Second, time.Second, true},
		{time.Second, 2 * time.Second, 0, false}, {time.Hour, 0, time.Minute, false}, {time.Hour, 0, time.Hour, true},
		// The default gives way to what the broker can do.
		{0, time.Hour, 0, true}, {0, 0, time.Second, true},
	} {
		b := &fakeBroker{Backend: memory.New(), limits: func(l *backend.Limits) {
			l.MinLease, l.MaxLease = test.least, test.most
		}}
		var options []queue.OpenOption
		if test.lease > 0 {
			options = append(options, queue.Lease(test.lease))
		}
		q, err := queue.Open(t.Context(), urlOf(b), options...)
		if ok := err == nil; ok != test.ok || !ok && !errors.Is(err, queue.ErrUnsupported) {
			t.Errorf("a lease of %v on a broker that takes %v to %v: %v", test.lease, test.least, test.most, err)
		}
		if q != nil {
			must(t, q.Close())
			continue
		}
		expectText(t, err.Error(), fmt.Sprint(test.lease))
		if err := b.Push(t.Context(), []*backend.Message{{ID: "1"}}); !errors.Is(err, backend.ErrClosed) {
			t.Errorf("the backend that is not used was left open: %v", err)
		}
	}
}

func TestWarningsOfTheBrokerAreLogged(t *testing.T) {
	logs := new(logs)
	b := &fakeBroker{Backend: memory.New(), check: func(context.Context) ([]string, error) {
		return []string{"no persistence; set appendonly yes", "eviction is on"}, nil
	}}
	q, err := queue.Open(t.Context(), urlOf(b), queue.Logger(logs.logger()))
	must(t, err)
	defer q.Close()
	want := "level=WARN msg=\"queue: no persistence; set appendonly yes\"\nlevel=WARN msg=\"queue: eviction is on\"\n"
	if got := logs.String(); got != want {
		t.Errorf("logged\n%swant\n%s", got, want)
	}
}

func TestACheckThatFailsFailsOpenAndClosesTheBroker(t *testing.T) {
	b := &fakeBroker{Backend: memory.New(), check: func(context.Context) ([]string, error) { return nil, backend.ErrUnavailable }}
	if _, err := queue.Open(t.Context(), urlOf(b)); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if err := b.Push(t.Context(), []*backend.Message{{ID: "1"}}); !errors.Is(err, backend.ErrClosed) {
		t.Errorf("the backend was left open: %v", err)
	}
}

func TestStorePairsABrokerWithTheStoreOfAnother(t *testing.T) {
	shared := fmt.Sprintf("memory://store-%d", schemes.Add(1))
	b := &closing{storeless: storeless{memory.New()}}
	q, err := queue.Open(t.Context(), urlOf(b), queue.Store(shared), queue.Logger(nil))
	must(t, err)
	id, err := q.Enqueue(t.Context(), "greet", 1, queue.Track())
	must(t, err)
	other, err := queue.Open(t.Context(), shared, queue.Logger(nil))
	must(t, err)
	defer other.Close()
	if s, err := other.Status(t.Context(), id); err != nil || s.Kind != "greet" {
		t.Errorf("got %+v, %v", s, err)
	}
	must(t, q.Close())
	if !b.closed {
		t.Error("the broker was left open")
	}
}

func TestAStoreThatCannotBeOpenedFailsOpenAndClosesTheBroker(t *testing.T) {
	for _, test := range []struct {
		url  string
		want error
		text string
	}{
		{"nosuch://host", queue.ErrInvalid, "store: "},
		{urlOf(storeless{memory.New()}), queue.ErrUnsupported, "holds no store"},
	} {
		b := &closing{storeless: storeless{memory.New()}}
		_, err := queue.Open(t.Context(), urlOf(b), queue.Store(test.url))
		if !errors.Is(err, test.want) || !b.closed {
			t.Errorf("got %v, closed %v, want %v", err, b.closed, test.want)
		}
		expectText(t, fmt.Sprint(err), test.text)
	}
}

func TestWithStoreIsUsedAndLeftOpen(t *testing.T) {
	s := store.NewMemory()
	q := queue.New(storeless{memory.New()}, queue.WithStore(s), queue.Logger(nil))
	_, err := q.Enqueue(t.Context(), "greet", 1, queue.Unique(time.Hour))
	must(t, err)
	must(t, q.Close())
	if items, err := s.List(t.Context(), ""); err != nil || len(items) != 1 {
		t.Errorf("the store holds %v, %v, want the lock", items, err)
	}
}

func TestCloseTwiceIsNoError(t *testing.T) {
	b := &closing{storeless: storeless{memory.New()}}
	q := queue.New(b, queue.Logger(nil))
	must(t, q.Close())
	must(t, q.Close())
	if err := q.Run(t.Context()); !errors.Is(err, queue.ErrClosed) || !b.closed {
		t.Errorf("Run after Close returned %v", err)
	}
}

func TestOptionsCanBeUsedForSeveralQueues(t *testing.T) {
	shared := []queue.Middleware{queue.Recover(), queue.Recover(), queue.Recover()}
	first := shared[:1]
	queue.New(memory.New(), queue.UseOnly(first...), queue.Use(nil...), queue.Use(queue.Timeouts(0))).Close()
	if shared[1] == nil || fmt.Sprintf("%p", shared[1]) == fmt.Sprintf("%p", queue.Timeouts(0)) {
		t.Error("an option changed the caller's slice")
	}
}
