package queue_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/store"
)

// workshop is a broker in memory, and a queue on it with handlers of its own.
// It lives in a bubble of synctest, as all does here that has to do with time.
type workshop struct {
	t      *testing.T
	mux    *queue.Mux
	broker *memory.Broker
	eye    *memory.Backend // a connection to look at the broker
	queue  *queue.Queue
	logs   *logs
}

// inWorkshop runs f in a bubble.
func inWorkshop(t *testing.T, f func(t *testing.T, w *workshop), options ...queue.OpenOption) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &workshop{t: t, mux: new(queue.Mux), broker: memory.NewBroker(), logs: new(logs)}
		w.eye = w.broker.Connect()
		w.queue = w.open(w.broker.Connect(), options...)
		f(t, w)
	})
}

// open returns another queue with the same handlers.
func (w *workshop) open(b backend.Backend, options ...queue.OpenOption) *queue.Queue {
	defaults := []queue.OpenOption{queue.Handlers(w.mux), queue.Logger(w.logs.logger())}
	q := queue.New(b, append(defaults, options...)...)
	w.t.Cleanup(func() { q.Close() })
	return q
}

// handle registers f as the handler of a kind.
func handle[T any](w *workshop, kind string, f func(context.Context, *queue.Job[T]) error, options ...queue.Option) *queue.Kind[T] {
	return queue.RegisterOn(w.mux, kind, queue.HandlerFunc[T](f), options...)
}

func (w *workshop) enqueue(kind string, args any, options ...queue.Option) (id string) {
	w.t.Helper()
	id, err := w.queue.Enqueue(w.t.Context(), kind, args, options...)
	must(w.t, err)
	return id
}

// run runs the queue until the end of the test, and waits until it has
// nothing to do.
func (w *workshop) run() {
	w.t.Helper()
	w.runOther(w.queue)
}

func (w *workshop) runOther(q *queue.Queue) {
	w.t.Helper()
	w.t.Cleanup(runInBackground(w.t, q))
	synctest.Wait()
}

// runInBackground returns a function that ends the Run and expects it to be
// clean.
func runInBackground(t *testing.T, q *queue.Queue) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

// pass lets time pass, and waits until all that is due has been done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// peek returns the entries of the default queue that are in a state.
func (w *workshop) peek(state backend.State) []*backend.Entry {
	w.t.Helper()
	return w.peekAt(queue.DefaultQueue, state)
}

func (w *workshop) peekAt(name string, state backend.State) []*backend.Entry {
	w.t.Helper()
	entries, err := w.eye.Peek(context.Background(), name, state, 0, 1000)
	must(w.t, err)
	return entries
}

// stored returns the only entry of the default queue that waits.
func (w *workshop) stored() *backend.Entry {
	w.t.Helper()
	entries := append(w.peek(backend.Ready), w.peek(backend.Scheduled)...)
	if len(entries) != 1 {
		w.t.Fatalf("%d jobs wait, want 1", len(entries))
	}
	return entries[0]
}

// buried returns the only entry of the dead set.
func (w *workshop) buried() *backend.Entry {
	w.t.Helper()
	dead := w.peek(backend.Dead)
	if len(dead) != 1 {
		w.t.Fatalf("%d jobs are dead, want 1; the log:\n%s", len(dead), w.logs)
	}
	return dead[0]
}

// expectEmpty fails the test when the default queue holds any job.
func (w *workshop) expectEmpty() {
	w.t.Helper()
	stats, err := w.eye.Stats(context.Background(), queue.DefaultQueue)
	must(w.t, err)
	if stats.Ready+stats.Scheduled+stats.Reserved+stats.Dead > 0 {
		w.t.Errorf("the queue is not empty: %+v; the log:\n%s", stats, w.logs)
	}
}

// logs keeps what is logged, one line for each record, without its time, but
// not that a worker has started.
type logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Contains(p, []byte("queue: worker started")) {
		return len(p), nil
	}
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// trace is what happened, in order.
type trace struct {
	mu     sync.Mutex // guards events
	events []string
}

func (tr *trace) add(event string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.events = append(tr.events, event)
}

func (tr *trace) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.events, ", ")
}

// fakeBroker is a broker in memory of which a test replaces a part.
type fakeBroker struct {
	*memory.Backend
	limits func(*backend.Limits)
	push   func(ctx context.Context, messages []*backend.Message) error
	check  func(ctx context.Context) ([]string, error)
}

func (f *fakeBroker) Limits() backend.Limits {
	l := f.Backend.Limits()
	if f.limits != nil {
		f.limits(&l)
	}
	return l
}

func (f *fakeBroker) Push(ctx context.Context, messages []*backend.Message) error {
	if f.push != nil {
		return f.push(ctx, messages)
	}
	return f.Backend.Push(ctx, messages)
}

func (f *fakeBroker) Check(ctx context.Context) ([]string, error) {
	if f.check != nil {
		return f.check(ctx)
	}
	return nil, nil
}

// storeless is a broker that cannot hold a store.
type storeless struct{ backend.Backend }

// fakeStore is a store that counts its calls, and that can be made to fail or
// to hang.
type fakeStore struct {
	store.Store

	mu    sync.Mutex // guards what follows
	calls int
	call  func(ctx context.Context) error // nil: as it is
}

func (s *fakeStore) set(call func(ctx context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call = call
}

func (s *fakeStore) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *fakeStore) begin(ctx context.Context) error {
	s.mu.Lock()
	s.calls++
	call := s.call
	s.mu.Unlock()
	if call == nil {
		return nil
	}
	return call(ctx)
}

func (s *fakeStore) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, key)
}

func (s *fakeStore) SetNX(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	return s.Store.SetNX(ctx, key, value, ttl)
}

func (s *fakeStore) CompareAndDelete(ctx context.Context, key string, value []byte) (bool, error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	return s.Store.CompareAndDelete(ctx, key, value)
}

func (s *fakeStore) Apply(ctx context.Context, ops []store.Op) ([]store.Result, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	return s.Store.Apply(ctx, ops)
}

// hang is a call to a store behind a wall that drops packets.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expectPanic fails the test unless f panics with a message that contains
// each of want.
func expectPanic(t *testing.T, f func(), want ...string) {
	t.Helper()
	defer func() {
		t.Helper()
		message, ok := recover().(string)
		if !ok {
			t.Errorf("want a panic with a message that contains %q", want)
		}
		expectText(t, message, want...)
	}()
	f()
}

// expectText fails the test unless text contains each of want.
func expectText(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("got %q, want it to contain %q", text, part)
		}
	}
}
