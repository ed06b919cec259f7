package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/goferhq/queue/backend"
	_ "github.com/goferhq/queue/backend/memory" // memory:// is always there
	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

// Queue is a connection to a broker, to enqueue jobs and to run them. It is
// safe for concurrent use, and meant to be opened once in a process.
type Queue struct {
	backend backend.Backend
	limits  backend.Limits
	config  *config
	mux     *Mux
	hooks   hookList
	logger  *slog.Logger
	pusher  pusher

	store        store.Store     // nil when there is none
	storeBackend backend.Backend // behind the store, when Store opened it
	tracker      *status.Tracker // nil when there is no store

	closed   atomic.Bool   // Enqueue refuses
	closeEnd chan struct{} // closed when Close has done its work
	closeErr error         // of Close, once that is over

	life context.Context // ends with Close
	die  context.CancelFunc

	mu      sync.Mutex
	closing bool                // guarded by mu: Close was called
	stop    context.CancelFunc  // guarded by mu: ends the Run in progress
	stopped chan struct{}       // guarded by mu: closed when that has returned; nil without one
	running map[string]*attempt // guarded by mu: by the ID of the job, across Runs
}

// Open connects to the broker of a URL such as memory://. Except for that one,
// the package of the driver has to be imported, as with database/sql.
//
// Settings of the broker that weaken a guarantee are logged as warnings; that
// they could not be read is an error. No error shows a password of the URL.
func Open(ctx context.Context, url string, options ...OpenOption) (*Queue, error) {
	c := newConfig(options)
	if c.err != nil {
		return nil, c.err
	}
	b, err := backend.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	storeBackend, err := c.openStore(ctx)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	q := newQueue(b, c)
	q.storeBackend = storeBackend
	if c.err != nil {
		return nil, errors.Join(c.err, q.Close())
	}
	if checker, ok := backend.As[backend.Checker](b); ok {
		warnings, err := checker.Check(ctx)
		if err != nil {
			return nil, errors.Join(err, q.Close())
		}
		for _, warning := range warnings {
			c.logger.WarnContext(ctx, "queue: "+warning)
		}
	}
	return q, nil
}

// New returns a queue on an open backend, which Close will close. It panics
// when that is nil or an option is invalid.
func New(b backend.Backend, options ...OpenOption) *Queue {
	if b == nil {
		panic("queue: New with a nil backend")
	}
	c := newConfig(options)
	if c.storeURL != "" {
		c.fail("Store works with Open; give New a WithStore")
	}
	q := newQueue(b, c)
	if c.err != nil {
		panic(c.err.Error())
	}
	return q
}

func newQueue(b backend.Backend, c *config) *Queue {
	limits := backend.LimitsOf(b)
	c.fit(limits)
	q := &Queue{
		backend:  b,
		limits:   limits,
		config:   c,
		mux:      c.mux,
		hooks:    c.hooks,
		logger:   c.logger,
		store:    c.store,
		running:  make(map[string]*attempt),
		closeEnd: make(chan struct{}),
	}
	q.life, q.die = context.WithCancel(context.Background())
	q.pusher.backend = b
	q.pusher.most = limits.MaxBatch
	if q.pusher.most == 0 {
		q.pusher.most = 1000
	}
	if q.store == nil {
		if provider, ok := backend.As[backend.StoreProvider](b); ok {
			q.store = provider.Store()
		}
	}
	if q.store != nil {
		q.tracker = status.New(q.store)
	}
	return q
}

// Backend returns the backend of the queue, for what this package does not
// offer: backend.As finds its optional interfaces.
func (q *Queue) Backend() backend.Backend { return q.backend }

// Status returns what is known of a job that was enqueued with Track. It
// trails the job by as long as the store takes; a job that was requeued from
// the dead set is dead until it runs.
//
// Of a job of another library, on a broker where that keeps a status of its
// own (see [backend.StatusReader]), it returns the ID, the state, times and the
// result. Wait knows nothing of those.
//
// A job without a status is [ErrNotTracked]. Where there is neither a store
// nor such a broker it is [ErrNoStore].
func (q *Queue) Status(ctx context.Context, id string) (Status, error) {
	reader, _ := backend.As[backend.StatusReader](q.backend)
	switch {
	case q.tracker == nil && reader == nil:
		return Status{}, ErrNoStore
	case q.closed.Load():
		return Status{}, ErrClosed
	}
	if q.tracker != nil {
		s, err := q.tracker.Get(ctx, id)
		if reader == nil || !errors.Is(err, ErrNotTracked) {
			return s, err
		}
	}
	return foreignStatus(ctx, reader, id)
}

// Wait waits until a job that was enqueued with Track is done, buried or
// cancelled, and returns its status. The broker has settled the job by then.
// Close ends it with [ErrClosed].
func (q *Queue) Wait(ctx context.Context, id string) (Status, error) {
	switch {
	case q.tracker == nil:
		return Status{}, ErrNoStore
	case q.closed.Load():
		return Status{}, ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(q.life, func() { cancel(ErrClosed) })()
	s, err := q.tracker.Wait(ctx, id)
	if err != nil && context.Cause(ctx) == ErrClosed {
		err = ErrClosed
	}
	return s, err
}

// Close ends a Run in progress, as the end of its context does, waits for it,
// and lets go of the broker. Closing twice, or at the same time, is not an
// error. A handler must not call it: Run waits for the handler.
func (q *Queue) Close() error {
	q.mu.Lock()
	first, stop, stopped := !q.closing, q.stop, q.stopped
	q.closing = true
	q.mu.Unlock()
	if !first {
		<-q.closeEnd
		return q.closeErr
	}
	defer close(q.closeEnd)
	if stopped != nil {
		stop()
		<-stopped // its handlers may still enqueue jobs
	}
	q.closed.Store(true)
	q.flushStatus()
	q.die()
	q.closeErr = q.backend.Close()
	if q.storeBackend != nil {
		q.closeErr = errors.Join(q.closeErr, q.storeBackend.Close())
	}
	return q.closeErr
}

// flushStatus waits, for a moment, until the statuses are written.
func (q *Queue) flushStatus() {
	if q.tracker == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	if err := q.tracker.Flush(ctx); err != nil {
		q.logger.Warn("queue: statuses not written", "error", err)
	}
}
