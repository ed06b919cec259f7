package queue

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/store"
)

// OpenOption is an option of Open and New: one of the functions that return
// it, or a [Hooks].
type OpenOption interface{ applyOpen(*config) }

type openOption func(*config)

func (f openOption) applyOpen(c *config) { f(c) }

// Defaults of the options of Open.
const (
	DefaultWorkers  = 10
	DefaultLease    = 30 * time.Second
	DefaultShutdown = 25 * time.Second // less than the 30 s that Kubernetes grants
)

// config is what OpenOptions set.
type config struct {
	workers     int
	prefetch    int
	prefetchSet bool // by Prefetch; else it adapts
	queues      []string
	mux         *Mux
	middleware  []Middleware
	replaced    bool // middleware is the whole chain
	hooks       hookList
	logger      *slog.Logger
	logArgs     bool
	lease       time.Duration // 0: the default, within the broker's limits
	shutdown    time.Duration
	storeURL    string
	store       store.Store
	err         error // of the first option that was invalid
}

func newConfig(options []OpenOption) *config {
	c := &config{
		workers:  DefaultWorkers,
		mux:      DefaultMux,
		logger:   slog.Default(),
		shutdown: DefaultShutdown,
	}
	for _, option := range options {
		if option == nil {
			c.fail("nil OpenOption")
			continue
		}
		option.applyOpen(c)
	}
	if !c.prefetchSet {
		c.prefetch = c.workers
	}
	return c
}

func (c *config) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
}

// fit checks the lease and the queues against what the broker can do.
func (c *config) fit(l backend.Limits) {
	if c.lease == 0 {
		c.lease = max(cmp.Or(l.DefaultLease, DefaultLease), l.MinLease)
		if l.MaxLease > 0 {
			c.lease = min(c.lease, l.MaxLease)
		}
	}
	if c.lease < l.MinLease || l.MaxLease > 0 && c.lease > l.MaxLease {
		if c.err == nil {
			c.err = fmt.Errorf("%w: lease of %v; the broker takes %v to %v", ErrUnsupported, c.lease, l.MinLease, l.MaxLease)
		}
	}
	if c.allQueues() && !l.AllQueues && c.err == nil {
		c.err = fmt.Errorf("%w: Queues(%q): it cannot take from all queues; name them", ErrUnsupported, backend.AllQueues)
	}
}

// allQueues reports whether Run takes jobs from every queue.
func (c *config) allQueues() bool { return slices.Contains(c.queues, backend.AllQueues) }

// maxWorkers is far above what a process can use.
const maxWorkers = 100_000

// Workers is how many jobs run at a time, each on a goroutine of its own.
// The default is [DefaultWorkers].
func Workers(n int) OpenOption {
	return openOption(func(c *config) {
		if n < 1 || n > maxWorkers {
			c.fail("Workers(%d) is not between 1 and %d", n, maxWorkers)
		}
		c.workers = n
	})
}

// Prefetch is how many jobs are reserved ahead of the workers, so that none
// waits for the broker. They are extended and given back like those that run.
// The default is as many as there are workers and, while jobs are so short that
// those wait for some milliseconds only, up to 64. What is prefetched is out of
// the reach of other processes, and of what comes with a higher priority; 0
// reserves a job only for a worker that is free, which suits long jobs.
func Prefetch(n int) OpenOption {
	return openOption(func(c *config) {
		if n < 0 || n > maxWorkers {
			c.fail("Prefetch(%d) is not between 0 and %d", n, maxWorkers)
		}
		c.prefetch, c.prefetchSet = n, true
	})
}

// Queues is what Run takes jobs from, in the order of their priority: a job
// of a later queue waits until the earlier ones are empty. The default is
// [DefaultQueue] and those that On names as the default of a registered kind,
// each of which comes first in turn.
//
// The last may be "*": every other queue, in the alphabetical order of their
// names, also one that comes into being while Run waits. Jobs of a kind that
// is not registered here are then taken too, and put back for a process that
// knows it; see [ErrUnknownKind]. A broker that cannot take from all queues
// makes Open fail with [ErrUnsupported].
func Queues(names ...string) OpenOption {
	return openOption(func(c *config) {
		if len(names) == 0 {
			c.fail("Queues names no queue")
		}
		if err := backend.CheckQueues(names, true); err != nil && c.err == nil {
			c.err = err
		}
		c.queues = slices.Clone(names)
	})
}

// Handlers is the mux whose kinds the queue knows, in place of [DefaultMux].
func Handlers(mux *Mux) OpenOption {
	return openOption(func(c *config) {
		if mux == nil {
			c.fail("Handlers(nil)")
			return
		}
		c.mux = mux
	})
}

// Use adds middleware to the chain, inside of the default one and around the
// handler, the first outermost: it sees the handler's own error and may give
// it a verdict. It does not see what never comes to a handler: malformed bytes,
// unknown kinds, jobs that kill their workers; [Hooks.AfterAttempt] sees all.
func Use(middleware ...Middleware) OpenOption {
	return openOption(func(c *config) { c.use(middleware) })
}

// UseOnly replaces the whole chain, the default one included: the first is
// the outermost. Without Retries and MaxAttemptsOf the worker decides by
// their defaults; without Logging, Tracking or [Hooks.Middleware] there is
// none of that.
func UseOnly(middleware ...Middleware) OpenOption {
	return openOption(func(c *config) {
		c.middleware, c.replaced = nil, true
		c.use(middleware)
	})
}

func (c *config) use(middleware []Middleware) {
	for _, m := range middleware {
		if m == nil {
			c.fail("nil middleware")
			return
		}
	}
	c.middleware = append(c.middleware, middleware...)
}

// Logger is where the queue and the default Logging write. The default is
// [slog.Default] at the time of Open.
func Logger(logger *slog.Logger) OpenOption {
	return openOption(func(c *config) {
		if logger == nil {
			logger = slog.New(slog.DiscardHandler)
		}
		c.logger = logger
	})
}

// LogArgs makes the default Logging show the arguments of jobs.
func LogArgs() OpenOption { return openOption(func(c *config) { c.logArgs = true }) }

// Lease is how long a job stays reserved for this process without being
// extended, which happens every third of it for as long as the handler runs:
// the time after which the jobs of a process that died run elsewhere. The
// default is [DefaultLease], or what comes next to it among what the broker
// can do.
func Lease(d time.Duration) OpenOption {
	return openOption(func(c *config) {
		if d <= 0 {
			c.fail("Lease(%v) is not positive", d)
		}
		c.lease = d
	})
}

// Shutdown is the grace that running handlers have when Run ends, before
// their contexts end. The default is [DefaultShutdown]; Run returns within a
// second of it.
func Shutdown(grace time.Duration) OpenOption {
	return openOption(func(c *config) {
		if grace < 0 {
			c.fail("Shutdown(%v) is negative", grace)
		}
		c.shutdown = grace
	})
}

// Store pairs the queue with the store of another broker, for Track and
// Unique, when its own has none: the URL is one that Open takes. It works with
// Open only; see WithStore for New.
func Store(url string) OpenOption { return openOption(func(c *config) { c.storeURL = url }) }

// WithStore pairs the queue with a store, for Track and Unique. Closing the
// queue leaves it open.
func WithStore(s store.Store) OpenOption {
	return openOption(func(c *config) {
		if isNil(s) {
			c.fail("WithStore(nil)")
			return
		}
		c.store = s
	})
}

// openStore opens the store that the options name, and returns the backend
// behind it.
func (c *config) openStore(ctx context.Context) (backend.Backend, error) {
	if c.storeURL == "" {
		return nil, nil
	}
	b, err := backend.Open(ctx, c.storeURL)
	if err != nil {
		return nil, fmt.Errorf("queue: store: %w", err)
	}
	provider, ok := backend.As[backend.StoreProvider](b)
	if !ok {
		b.Close()
		return nil, fmt.Errorf("%w: Store: this broker holds no store; use one such as redis://", ErrUnsupported)
	}
	c.store = provider.Store()
	return b, nil
}
