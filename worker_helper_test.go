package queue_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/retry"
)

// rig is a queue in memory whose calls to the broker are watched.
type rig struct {
	t      *testing.T
	broker *memory.Broker
	spy    *spy
	mux    *queue.Mux
	logs   *logBook
	queue  *queue.Queue
}

// newRig returns a rig on a broker of its own.
func newRig(t *testing.T, options ...queue.OpenOption) *rig {
	return newRigOn(t, memory.NewBroker(), options...)
}

// newRigOn returns one process more of those that share a broker.
func newRigOn(t *testing.T, broker *memory.Broker, options ...queue.OpenOption) *rig {
	r := &rig{t: t, broker: broker, mux: new(queue.Mux), logs: new(logBook)}
	r.spy = &spy{Backend: broker.Connect()}
	r.open(r.spy, options...)
	return r
}

// open puts the queue on b, which leads to the rig's broker.
func (r *rig) open(b backend.Backend, options ...queue.OpenOption) {
	r.queue = queue.New(b, append([]queue.OpenOption{queue.Handlers(r.mux), queue.Logger(slog.New(r.logs))}, options...)...)
	r.t.Cleanup(func() { r.queue.Close() })
}

type handlerFunc = func(context.Context, *queue.Job[int]) error

// handle registers f for a kind. A failed attempt is repeated after a second
// unless options say otherwise.
func (r *rig) handle(kind string, f handlerFunc, options ...queue.Option) {
	defaults := []queue.Option{queue.Retry(retry.Fixed(time.Second))}
	queue.RegisterOn(r.mux, kind, queue.HandlerFunc[int](f), append(defaults, options...)...)
}

func (r *rig) enqueue(kind string, args int, options ...queue.Option) string {
	r.t.Helper()
	id, err := r.queue.Enqueue(context.Background(), kind, args, options...)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// enqueueAll adds n jobs in one batch, with the args 0 to n-1.
func (r *rig) enqueueAll(kind string, n int) []string {
	r.t.Helper()
	requests := make([]queue.Request, n)
	for i := range requests {
		requests[i] = queue.Request{Kind: kind, Args: i}
	}
	ids, err := r.queue.EnqueueMany(context.Background(), requests...)
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

// run is a Run in progress.
type run struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error // of capacity 1
}

func (r *rig) start() *run {
	ctx, cancel := context.WithCancel(context.Background())
	running := &run{r.t, cancel, make(chan error, 1)}
	go func() { running.done <- r.queue.Run(ctx) }()
	return running
}

// stop ends the Run and returns how long it took to return, and its error.
func (r *run) stop() (time.Duration, error) {
	start := time.Now()
	r.cancel()
	err := <-r.done
	return time.Since(start), err
}

// mustStop expects a clean end.
func (r *run) mustStop() {
	r.t.Helper()
	if _, err := r.stop(); err != nil {
		r.t.Errorf("Run ended with %v", err)
	}
}

func (r *rig) stats() backend.Stats {
	r.t.Helper()
	s, err := r.broker.Connect().Stats(context.Background(), queue.DefaultQueue)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// expectStats checks how many jobs stand where.
func (r *rig) expectStats(ready, scheduled, reserved, dead int64) {
	r.t.Helper()
	want := backend.Stats{Queue: queue.DefaultQueue, Ready: ready, Scheduled: scheduled, Reserved: reserved, Dead: dead}
	if got := r.stats(); got != want {
		r.t.Errorf("the broker holds %+v, want %+v", got, want)
	}
}

func (r *rig) peek(state backend.State) []*backend.Entry {
	r.t.Helper()
	entries, err := r.broker.Connect().Peek(context.Background(), queue.DefaultQueue, state, 0, 1<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}

// only returns the one job that is in a state.
func (r *rig) only(state backend.State) *backend.Entry {
	r.t.Helper()
	entries := r.peek(state)
	if len(entries) != 1 {
		r.t.Fatalf("%d jobs are %v, want 1", len(entries), state)
	}
	return entries[0]
}

// expectBuried checks that one job is dead, of a reason that mentions why.
func (r *rig) expectBuried(why string) *backend.Entry {
	r.t.Helper()
	dead := r.only(backend.Dead)
	if dead.Failure == nil || !strings.Contains(dead.Failure.Error, why) {
		r.t.Errorf("the job was buried with %+v, want %q", dead.Failure, why)
	}
	return dead
}

// spy is a backend that notes the calls to it and lets a test meddle with
// them. It hides none of the optional interfaces.
type spy struct {
	*memory.Backend

	mu     sync.Mutex
	calls  []call                                           // guarded by mu
	meddle func(ctx context.Context, c call) error          // guarded by mu
	after  func(ctx context.Context, c call, e error) error // guarded by mu
}

// call is one call of the broker.
type call struct {
	verb  string // such as "Ack"
	size  int    // of the batch; the most of a Reserve
	ids   []string
	delay time.Duration // of a Release, or of the first message of a Retry
	at    time.Time
}

// before makes f run ahead of every call; its error is the call's.
func (s *spy) before(f func(ctx context.Context, c call) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meddle = f
}

// replies makes f replace the error of every call that the broker has served.
func (s *spy) replies(f func(ctx context.Context, c call, err error) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = f
}

func (s *spy) do(ctx context.Context, c call, f func() error) error {
	c.at = time.Now()
	s.mu.Lock()
	s.calls = append(s.calls, c)
	meddle, after := s.meddle, s.after
	s.mu.Unlock()
	if meddle != nil {
		if err := meddle(ctx, c); err != nil {
			return err
		}
	}
	err := f()
	if after != nil {
		err = after(ctx, c, err)
	}
	return err
}

// of returns the calls of a verb so far, or all when it is "".
func (s *spy) of(verb string) []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.calls), func(c call) bool { return verb != "" && c.verb != verb })
}

// sizes returns the size of every call of a verb.
func (s *spy) sizes(verb string) []int {
	var sizes []int
	for _, c := range s.of(verb) {
		sizes = append(sizes, c.size)
	}
	return sizes
}

func idsOf(ds []*backend.Delivery) []string {
	ids := make([]string, len(ds))
	for i, d := range ds {
		ids[i] = d.ID
	}
	return ids
}

func (s *spy) Push(ctx context.Context, ms []*backend.Message) error {
	return s.do(ctx, call{verb: "Push", size: len(ms)}, func() error { return s.Backend.Push(ctx, ms) })
}

func (s *spy) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) (ds []*backend.Delivery, err error) {
	err = s.do(ctx, call{verb: "Reserve", size: max}, func() error {
		ds, err = s.Backend.Reserve(ctx, queues, max, lease)
		return err
	})
	return ds, err
}

func (s *spy) Ack(ctx context.Context, ds []*backend.Delivery) error {
	c := call{verb: "Ack", size: len(ds), ids: idsOf(ds)}
	return s.do(ctx, c, func() error { return s.Backend.Ack(ctx, ds) })
}

func (s *spy) Extend(ctx context.Context, ds []*backend.Delivery, lease time.Duration) error {
	c := call{verb: "Extend", size: len(ds), ids: idsOf(ds)}
	return s.do(ctx, c, func() error { return s.Backend.Extend(ctx, ds, lease) })
}

func (s *spy) Retry(ctx context.Context, rs []backend.Replacement) error {
	c := call{verb: "Retry", size: len(rs)}
	for _, r := range rs {
		c.ids, c.delay = append(c.ids, r.Delivery.ID), rs[0].Message.Delay
	}
	return s.do(ctx, c, func() error { return s.Backend.Retry(ctx, rs) })
}

func (s *spy) Release(ctx context.Context, ds []*backend.Delivery, delay time.Duration) error {
	c := call{verb: "Release", size: len(ds), ids: idsOf(ds), delay: delay}
	return s.do(ctx, c, func() error { return s.Backend.Release(ctx, ds, delay) })
}

func (s *spy) Bury(ctx context.Context, bs []backend.Burial) error {
	c := call{verb: "Bury", size: len(bs)}
	for _, b := range bs {
		c.ids = append(c.ids, b.Delivery.ID)
	}
	return s.do(ctx, c, func() error { return s.Backend.Bury(ctx, bs) })
}

// leaseless hides every optional interface of a backend.
type leaseless struct{ backend.Backend }

// isSettle reports whether a verb ends a delivery.
func isSettle(verb string) bool {
	return slices.Contains([]string{"Ack", "Retry", "Release", "Bury"}, verb)
}

// die makes the process of a spy dead for its broker: it settles and extends
// nothing any more.
func (s *spy) die() {
	s.before(func(ctx context.Context, c call) error {
		if c.verb == "Push" {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
}

// logBook is a slog.Handler that keeps what it is told.
type logBook struct {
	mu      sync.Mutex
	records []slog.Record // guarded by mu
}

func (b *logBook) Enabled(context.Context, slog.Level) bool { return true }
func (b *logBook) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *logBook) WithGroup(string) slog.Handler            { return b }

func (b *logBook) Handle(_ context.Context, r slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, r)
	return nil
}

// with returns the records whose message contains text.
func (b *logBook) with(text string) []slog.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.records), func(r slog.Record) bool { return !strings.Contains(r.Message, text) })
}

// tally counts by name, from many goroutines.
type tally struct {
	mu     sync.Mutex
	counts map[string]int // guarded by mu
}

func (t *tally) add(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[string]int)
	}
	t.counts[name]++
	return t.counts[name]
}

func (t *tally) all() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

// expect compares with what was counted.
func (t *tally) expect(tb testing.TB, want map[string]int) {
	tb.Helper()
	if got := t.all(); !maps.Equal(got, want) {
		tb.Errorf("counted %v, want %v", got, want)
	}
}

// bubble runs f where time is fake and costs nothing.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
