package rabbitmq

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/losses"
)

// Backend is a connection to a RabbitMQ. It implements backend.Backend and the
// optional interfaces listed below. It is safe for concurrent use.
type Backend struct {
	settings settings
	host     atomic.Uint32 // the one to dial first

	// Messages are published over one connection and consumed over another: the
	// broker stops reading from a connection that publishes when it runs short
	// of memory.
	publishing *link
	consuming  *link

	publisher publisher
	topology  topology
	consumer  consumer
	turns     turns
	losses    losses.Listeners

	life    context.Context // ends with Close
	die     context.CancelFunc
	running sync.WaitGroup // goroutines that end with life
	closing sync.Once
}

var _ interface {
	backend.Backend
	backend.LossNotifier
	backend.Limiter
	backend.Inspector
	backend.Lister
	backend.DeadSet
	backend.Checker
} = (*Backend)(nil)

func newBackend(s settings) *Backend {
	b := &Backend{settings: s}
	b.life, b.die = context.WithCancel(context.Background())
	b.publishing = &link{backend: b, purpose: "publishing"}
	b.consuming = &link{backend: b, purpose: "consuming"}
	b.publisher = publisher{link: b.publishing, work: make(chan struct{}, 1)}
	b.topology.backend = b
	b.consumer = consumer{backend: b, lines: make(map[string]*line)}
	return b
}

// Limits returns what the queues can hold and do.
func (b *Backend) Limits() backend.Limits {
	most := int64(backend.MaxEnvelope)
	if told := b.publisher.sizes.most.Load(); told > 0 {
		most = min(most, told)
	}
	return backend.Limits{
		MaxBody:     int(most),
		MaxDelay:    maxDelay,
		MaxPriority: b.settings.maxPriority,
	}
}

// usable returns why the backend cannot be used with ctx, if it cannot.
func (b *Backend) usable(ctx context.Context) error {
	if b.life.Err() != nil {
		return backend.ErrClosed
	}
	return ctx.Err()
}

// pause waits for d, or until ctx ends or the backend is closed.
func (b *Backend) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-b.life.Done():
	}
}

// await calls f, which knows of no context, and returns what it does, or the
// error of ctx when that ends before. f then goes on by itself: until the broker
// answers, or the connection is lost.
func await[T any](ctx context.Context, b *Backend, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	var none T
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-b.life.Done():
		return none, backend.ErrClosed
	}
}

// maxGoodbye is how long Close waits for the broker.
const maxGoodbye = 400 * time.Millisecond

// Close ends every call in progress and the connections; see [backend.Backend].
// What is on loan comes back at once, and counts as handed out. What was fetched
// and is on loan to nobody is given back before, if that can be done soon.
func (b *Backend) Close() error {
	b.closing.Do(func() {
		deadline := time.Now().Add(maxGoodbye)
		b.consumer.close(deadline)
		b.die()
		time.Sleep(b.consumer.untilHeard())
		var all sync.WaitGroup
		for _, l := range []*link{b.consuming, b.publishing} {
			all.Go(func() { l.close(deadline) })
		}
		all.Wait()
		b.running.Wait()
	})
	return nil
}
