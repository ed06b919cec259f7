package queue

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// worker is one Run of a queue.
//
//	fetch ──> ready ──> slots ──> settler ──> broker
//	  ^                   |          |
//	  '------ room <------'      leases: extended until settled
type worker struct {
	queue    *Queue
	queues   []string
	slots    int
	base     context.Context // parent of the jobs' contexts: values, no end
	handlers sync.Map        // *registration -> Handler[Raw], the chain around it
	wrap     Middleware
	wrapping sync.Mutex // held while wrap is called

	ready    chan *attempt // reserved, not begun; room for all that may be held
	leases   *leases
	settler  *settler
	stopping atomic.Bool    // begin no more jobs
	active   sync.WaitGroup // slots

	room chan struct{} // of capacity 1: there is some

	mu         sync.Mutex // guards all below
	held       int        // in ready or in a slot
	hungry     bool       // fetch waits for room
	prefetch   int        // jobs that may be held beside the slots
	round      int        // jobs reserved since roundBegan
	roundBegan time.Time
}

// Run takes jobs from the broker and runs their handlers until ctx ends. Then
// it reserves no more, gives back what has not begun, waits for the handlers
// that run, and returns nil. When they take longer than the grace of Shutdown
// it ends their contexts, gives their jobs back and returns
// [ErrDrainTimeout]; that takes less than a second more.
//
// The contexts of jobs carry the values of ctx. Run returns [ErrRunning] when
// the queue is running already, and [ErrClosed] after Close.
func (q *Queue) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	q.mu.Lock()
	switch {
	case q.closing:
		q.mu.Unlock()
		return ErrClosed
	case q.stopped != nil:
		q.mu.Unlock()
		return ErrRunning
	}
	q.stop, q.stopped = cancel, stopped
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.stop, q.stopped = nil, nil
		q.mu.Unlock()
		close(stopped)
	}()

	base := context.WithoutCancel(ctx)
	if err := q.hooks.workerStart(ctx); err != nil {
		return err
	}
	defer q.hooks.workerStop(base)
	return newWorker(q, base).run(ctx)
}

func newWorker(q *Queue, base context.Context) *worker {
	c := q.config
	w := &worker{
		queue:    q,
		queues:   c.queues,
		slots:    c.workers,
		prefetch: c.prefetch,
		base:     base,
		room:     make(chan struct{}, 1),
	}
	if len(w.queues) == 0 {
		w.queues = q.mux.queues()
	}
	chain := c.chain()
	w.wrap = func(h Handler[Raw]) Handler[Raw] {
		for i := len(chain) - 1; i >= 0; i-- {
			h = chain[i](h)
		}
		return h
	}
	w.ready = make(chan *attempt, w.slots+max(c.prefetch, longestPrefetch))
	w.leases = newLeases(w)
	w.settler = newSettler(w)
	return w
}

// logStart tells what this worker does, and which jobs it leaves to others: a
// kind whose queue nobody works waits in silence.
func (w *worker) logStart() {
	logger := w.queue.logger
	logger.Info("queue: worker started", "workers", w.slots, "queues", w.queues, "kinds", w.queue.mux.Kinds())
	if w.queue.config.allQueues() {
		return
	}
	for _, kind := range w.queue.mux.Kinds() {
		name := cmp.Or(w.queue.mux.lookup(kind).defaults.queue, DefaultQueue)
		if !slices.Contains(w.queues, name) {
			logger.Warn("queue: a registered kind goes to a queue that this worker does not take jobs from", "kind", kind, "queue", name)
		}
	}
}

func (w *worker) run(ctx context.Context) error {
	w.logStart()
	w.active.Add(w.slots)
	for range w.slots {
		go w.slot()
	}
	refused := make(chan error, 1)
	go func() {
		defer close(w.ready) // and with it the slots end
		refused <- w.fetch(ctx)
	}()
	var err error
	select {
	case err = <-refused:
	case <-ctx.Done(): // the broker may take its time to end a Reserve
	}
	return errors.Join(err, w.drain())
}

// slot runs one job after the other until ready is closed. A job that ends in
// runtime.Goexit takes the goroutine with it; see perform.
func (w *worker) slot() {
	for a := range w.ready {
		w.handle(a)
	}
	w.active.Done()
}
