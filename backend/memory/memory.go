// Package memory is the broker that lives in the process: exact, and gone
// with it. It is what handlers are unit-tested on, what the other drivers are
// measured against, and enough for a service that may forget its jobs.
//
// It registers the scheme memory. The URL memory:// opens a broker of its
// own, which nobody else sees; memory://name opens the broker of that name,
// which is shared by all who name it and lives as long as the process. There
// are no parameters.
//
// It does everything that a backend can do: priorities from -32768 to 32767,
// delays and leases to the millisecond, a dead set, inspection, removal,
// pausing, a store, taking from all queues. A message that is pushed while one
// with its ID is ready, scheduled or reserved is not stored again. A job takes
// as many steps whether ten or a million wait or are scheduled; what more of
// them cost is the machine's caches and the garbage collector. A Reserve of all
// queues takes a step for each of them.
//
// It starts no goroutine, and a timer only while a Reserve waits for
// something that has a time. Under testing/synctest a job that is due in a
// day takes a day of the bubble's time and none of yours.
package memory

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/store"
)

func init() { backend.Register("memory", open) }

var named struct {
	sync.Mutex
	brokers map[string]*Broker // guarded by Mutex
}

func open(_ context.Context, u *url.URL) (backend.Backend, error) {
	if err := backend.NewParams(u).Err(); err != nil {
		return nil, err
	}
	if u.User != nil || strings.Contains(u.Host, ":") || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: a memory URL is memory:// or memory://name and nothing more", backend.ErrInvalid)
	}
	if u.Host == "" {
		return New(), nil
	}
	named.Lock()
	defer named.Unlock()
	b := named.brokers[u.Host]
	if b == nil {
		b = NewBroker()
		if named.brokers == nil {
			named.brokers = make(map[string]*Broker)
		}
		named.brokers[u.Host] = b
	}
	return b.Connect(), nil
}

// New returns a connection to a broker of its own.
func New() *Backend { return NewBroker().Connect() }

// Broker holds the messages. It is safe for concurrent use.
type Broker struct {
	store *store.Memory

	mu       sync.Mutex // guards all below
	base     time.Time  // tick 0
	lines    map[string]*line
	sorted   []*line         // all of them, by name
	ids      map[string]*job // ready, scheduled and reserved ones; more of one ID follow by twin
	timed    wheel           // scheduled and reserved ones
	sequence uint64
	keys     uint64 // of dead jobs, so far
	waiters  []*waiter
	alarm    *time.Timer // fires at alarmAt while there are waiters
	alarmAt  int64       // tick; 0 when not set
	idlers   []*idler
}

// NewBroker returns an empty broker.
func NewBroker() *Broker {
	return &Broker{
		store: store.NewMemory(),
		base:  time.Now(),
		lines: make(map[string]*line),
		ids:   make(map[string]*job),
	}
}

// Connect returns a new connection to the broker. Closing it leaves the
// broker and its messages as they are.
func (b *Broker) Connect() *Backend { return &Backend{broker: b} }

// Backend is a connection to a [Broker]. It implements backend.Backend and
// every optional interface but backend.Checker, as there is no setting to
// check, and backend.StatusReader, as nobody else keeps anything in it.
type Backend struct {
	broker *Broker
	closed bool // guarded by broker.mu
}

var _ interface {
	backend.Backend
	backend.Extender
	backend.Limiter
	backend.Inspector
	backend.Lister
	backend.DeadSet
	backend.Remover
	backend.Purger
	backend.Pauser
	backend.StoreProvider
} = (*Backend)(nil)

// Limits returns the limits of the broker.
func (c *Backend) Limits() backend.Limits { return limits }

var limits = backend.Limits{
	MaxBody:     backend.MaxEnvelope,
	MaxDelay:    maxDelay,
	MinLease:    time.Millisecond,
	MaxLease:    maxDelay,
	MinPriority: -1 << 15,
	MaxPriority: 1<<15 - 1,
	UniqueIDs:   true,
	AllQueues:   true,
}

// maxDelay is what a time.Duration can hold, less what keeps sums of it and
// the age of the broker from overflowing.
const maxDelay = 250 * 365 * 24 * time.Hour

// Store returns the broker's store. It outlives the connection.
func (c *Backend) Store() store.Store { return c.broker.store }

// Close ends the calls in progress. The broker lives on as long as something
// refers to it.
func (c *Backend) Close() error {
	b := c.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	b.waiters = slices.DeleteFunc(b.waiters, func(w *waiter) bool {
		if w.backend == c {
			close(w.deliveries)
		}
		return w.backend == c
	})
	b.idlers = slices.DeleteFunc(b.idlers, func(i *idler) bool {
		if i.backend == c {
			i.done <- backend.ErrClosed
		}
		return i.backend == c
	})
	b.setAlarm()
	return nil
}

// lock takes the broker's mutex and brings it up to date. It fails, with the
// mutex free, when ctx has ended or the connection is closed.
func (c *Backend) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.broker.mu.Lock()
	if c.closed {
		c.broker.mu.Unlock()
		return backend.ErrClosed
	}
	c.broker.advance()
	return nil
}

// unlock hands out what the call has made ready.
func (b *Broker) unlock() {
	b.serve()
	b.setAlarm()
	b.wakeIdlers()
	b.mu.Unlock()
}
