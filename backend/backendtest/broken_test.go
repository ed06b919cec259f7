package backendtest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/backendtest"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/store"
)

// reference is a connection to the in-memory broker, made to take messages of
// at most maxBody bytes: hundreds of runs with 16 MiB would take minutes.
type reference struct{ *memory.Backend }

const maxBody = 64 << 10

func (r reference) Limits() backend.Limits {
	l := r.Backend.Limits()
	l.MaxBody = maxBody
	return l
}

func (r reference) Push(ctx context.Context, messages []*backend.Message) error {
	var fitting []*backend.Message
	errs := make([]error, len(messages))
	for i, m := range messages {
		if len(m.Args) > maxBody {
			errs[i] = backend.ErrTooLarge
		} else {
			fitting = append(fitting, m)
		}
	}
	err := r.Backend.Push(ctx, fitting)
	for i, taken := 0, 0; i < len(errs); i++ {
		if errs[i] == nil {
			errs[i] = backend.ErrorAt(err, taken)
			taken++
		}
	}
	if len(messages) == 0 || ctx.Err() != nil || errors.Is(err, backend.ErrClosed) {
		return err
	}
	return backend.NewBatchError(errs)
}

func (r reference) Retry(ctx context.Context, replacements []backend.Replacement) error {
	for _, replacement := range replacements {
		if len(replacement.Message.Args) > maxBody {
			return backend.ErrTooLarge // the suite has such replacements alone only
		}
	}
	return r.Backend.Retry(ctx, replacements)
}

// broken is a connection to the reference of which some verbs are
// replaced. A verb that is nil is that of the reference.
type broken struct {
	reference
	shared *shared

	push    func(ctx context.Context, messages []*backend.Message) error
	reserve func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error)
	ack     func(ctx context.Context, deliveries []*backend.Delivery) error
	extend  func(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error
	retry   func(ctx context.Context, replacements []backend.Replacement) error
	release func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error
	bury    func(ctx context.Context, burials []backend.Burial) error
	close   func() error

	limits  func() backend.Limits
	queues  func(ctx context.Context) ([]string, error)
	stats   func(ctx context.Context, queue string) (backend.Stats, error)
	peek    func(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error)
	requeue func(ctx context.Context, queue string, keys ...string) (int, error)
	delete  func(ctx context.Context, queue string, keys ...string) (int, error)
	remove  func(ctx context.Context, queue string, filters ...backend.Filter) (int, error)
	purge   func(ctx context.Context, queue string) (int, error)
	pause   func(ctx context.Context, queue string) error
	store   func() store.Store
}

// shared is what the connections to one broken broker have in common.
type shared struct {
	requests atomic.Int64

	mu       sync.Mutex // guards all below
	counts   map[string]int
	pushed   map[string]*backend.Message
	receipts map[string]map[int]any // by ID and number of the delivery
	opened   []*broken
}

func (s *shared) add(id string, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[id] += n
	return s.counts[id]
}

// harness returns the harness of a new broker, each connection to which is
// broken by f.
func harness(f func(c *broken)) backendtest.Harness {
	broker := memory.NewBroker()
	s := &shared{counts: make(map[string]int), pushed: make(map[string]*backend.Message), receipts: make(map[string]map[int]any)}
	return backendtest.Harness{
		Open: func(context.Context) (backend.Backend, error) {
			c := &broken{reference: reference{broker.Connect()}, shared: s}
			f(c)
			return c, nil
		},
		PutRaw:   broker.Connect().PutRaw,
		Fresh:    func() backendtest.Harness { return harness(f) },
		Slack:    10 * time.Millisecond,
		Requests: s.requests.Load,
		Without:  []backendtest.Capability{backendtest.Checker},
	}
}

// or returns replaced, if it is set, else original.
func or[F any](set bool, replaced, original F) F {
	if set {
		return replaced
	}
	return original
}

func (c *broken) Push(ctx context.Context, messages []*backend.Message) error {
	return or(c.push != nil, c.push, c.reference.Push)(ctx, messages)
}

func (c *broken) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	c.shared.requests.Add(1)
	return or(c.reserve != nil, c.reserve, c.reference.Reserve)(ctx, queues, max, lease)
}

func (c *broken) Ack(ctx context.Context, deliveries []*backend.Delivery) error {
	return or(c.ack != nil, c.ack, c.reference.Ack)(ctx, deliveries)
}

func (c *broken) Extend(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error {
	return or(c.extend != nil, c.extend, c.reference.Extend)(ctx, deliveries, lease)
}

func (c *broken) Retry(ctx context.Context, replacements []backend.Replacement) error {
	return or(c.retry != nil, c.retry, c.reference.Retry)(ctx, replacements)
}

func (c *broken) Release(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
	return or(c.release != nil, c.release, c.reference.Release)(ctx, deliveries, delay)
}

func (c *broken) Bury(ctx context.Context, burials []backend.Burial) error {
	return or(c.bury != nil, c.bury, c.reference.Bury)(ctx, burials)
}

func (c *broken) Close() error { return or(c.close != nil, c.close, c.reference.Close)() }

func (c *broken) Limits() backend.Limits {
	return or(c.limits != nil, c.limits, c.reference.Limits)()
}

func (c *broken) Queues(ctx context.Context) ([]string, error) {
	return or(c.queues != nil, c.queues, c.reference.Queues)(ctx)
}

func (c *broken) Stats(ctx context.Context, queue string) (backend.Stats, error) {
	return or(c.stats != nil, c.stats, c.reference.Stats)(ctx, queue)
}

func (c *broken) Peek(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
	return or(c.peek != nil, c.peek, c.reference.Peek)(ctx, queue, state, offset, limit)
}

func (c *broken) Requeue(ctx context.Context, queue string, keys ...string) (int, error) {
	return or(c.requeue != nil, c.requeue, c.reference.Requeue)(ctx, queue, keys...)
}

func (c *broken) Delete(ctx context.Context, queue string, keys ...string) (int, error) {
	return or(c.delete != nil, c.delete, c.reference.Delete)(ctx, queue, keys...)
}

func (c *broken) Remove(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
	return or(c.remove != nil, c.remove, c.reference.Remove)(ctx, queue, filters...)
}

func (c *broken) Purge(ctx context.Context, queue string) (int, error) {
	return or(c.purge != nil, c.purge, c.reference.Purge)(ctx, queue)
}

func (c *broken) Pause(ctx context.Context, queue string) error {
	return or(c.pause != nil, c.pause, c.reference.Pause)(ctx, queue)
}

func (c *broken) Store() store.Store { return or(c.store != nil, c.store, c.reference.Store)() }

// onPush makes c store what change makes of a copy of each message.
func (c *broken) onPush(change func(m *backend.Message)) {
	c.push = func(ctx context.Context, messages []*backend.Message) error {
		var changed []*backend.Message
		for _, m := range messages {
			copied := *m
			change(&copied)
			changed = append(changed, &copied)
		}
		return c.reference.Push(ctx, changed)
	}
}

// onRetry does the same for replacements.
func (c *broken) onRetry(change func(d *backend.Delivery, m *backend.Message)) {
	c.retry = func(ctx context.Context, replacements []backend.Replacement) error {
		var changed []backend.Replacement
		for _, r := range replacements {
			copied := *r.Message
			change(r.Delivery, &copied)
			changed = append(changed, backend.Replacement{Delivery: r.Delivery, Message: &copied})
		}
		return c.reference.Retry(ctx, changed)
	}
}

// onReserve makes c change each delivery before it hands it out.
func (c *broken) onReserve(change func(d *backend.Delivery)) {
	c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
		deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
		for _, d := range deliveries {
			change(d)
		}
		return deliveries, err
	}
}

// onReserveOfAll makes c do something else when all queues are among those of a
// Reserve.
func (c *broken) onReserveOfAll(reserve func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error)) {
	c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
		if slices.Contains(queues, backend.AllQueues) {
			return reserve(ctx, queues, max, lease)
		}
		return c.reference.Reserve(ctx, queues, max, lease)
	}
}

// onMatch makes Remove compare arguments by another rule.
func (c *broken) onMatch(match func(wanted, args []byte) bool) {
	c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
		if _, err := backend.MatchAny(filters); err != nil {
			return 0, err
		}
		ready, _ := c.reference.Peek(ctx, queue, backend.Ready, 0, 100)
		scheduled, _ := c.reference.Peek(ctx, queue, backend.Scheduled, 0, 100)
		matching := []backend.Filter{{ID: "none"}}
		for _, entry := range append(ready, scheduled...) {
			for _, f := range filters {
				if (f.ID == "" || f.ID == entry.ID) && (f.Kind == "" || f.Kind == entry.Kind) && (f.Args == nil || match(f.Args, entry.Args)) {
					matching = append(matching, backend.Filter{ID: entry.ID})
				}
			}
		}
		return c.reference.Remove(ctx, queue, matching...)
	}
}

// double stores a second copy of m, which memory itself refuses to do.
func (c *broken) double(m *backend.Message) {
	if raw, err := backend.AppendEnvelope(nil, m); err == nil {
		c.reference.PutRaw(context.Background(), m.Queue, raw)
	}
}
