package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
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

	mu       sync.Mutex
	prefetch int           // guarded by mu: jobs that may be held beside the slots
	round    int           // guarded by mu: jobs reserved since roundBegan
	held     int           // guarded by mu: in ready or in a slot
	hungry   bool          // guarded by mu: fetch waits for room
	room     chan struct{} // of capacity 1

	roundBegan time.Time // guarded by mu
}

const (
	// maxDeliveries is how often a copy of a job is handed out without being
	// settled before it counts as the killer of its workers.
	maxDeliveries = 3

	// cancelGrace is how long handlers have to return after their contexts
	// have ended by ErrShutdown. What is settled then may take settleTimeout,
	// and the statuses that are written statusTimeout. Together they stay
	// below the second that Shutdown promises.
	cancelGrace   = 300 * time.Millisecond
	settleTimeout = 300 * time.Millisecond
	statusTimeout = 300 * time.Millisecond
)

// unknownKinds is when a job of a kind that is not registered here is offered
// again: some other process may know it, or this one after the deployment. It
// is buried after 79 minutes.
var unknownKinds = retry.List(
	time.Second, 2*time.Second, 5*time.Second, 10*time.Second, 20*time.Second, 40*time.Second,
	time.Minute, 2*time.Minute, 5*time.Minute, 10*time.Minute, 20*time.Minute, 40*time.Minute)

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
	w.logStart()
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
	for _, name := range w.queue.mux.queues() {
		if !slices.Contains(w.queues, name) && name != DefaultQueue {
			logger.Warn("queue: a registered kind goes to a queue that this worker does not take jobs from", "queue", name)
		}
	}
}

func (w *worker) run(ctx context.Context) error {
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

// fetch reserves jobs whenever enough of the capacity is free, until ctx ends
// or the broker refuses for good.
func (w *worker) fetch(ctx context.Context) error {
	pause := backoff{least: 100 * time.Millisecond, most: 5 * time.Second}
	for {
		free := w.awaitRoom(ctx)
		if free == 0 {
			return nil
		}
		deliveries, err := w.queue.backend.Reserve(ctx, w.turn(), free, w.queue.config.lease)
		w.accept(deliveries)
		w.adapt(len(deliveries))
		switch {
		case len(deliveries) > 0:
			pause.reset()
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrInvalid), errors.Is(err, ErrUnsupported), errors.Is(err, ErrClosed):
			return fmt.Errorf("queue: reserve: %w", err)
		default: // a driver that returned neither jobs nor an error must not spin
			wait := pause.next()
			w.queue.logger.WarnContext(ctx, "queue: cannot reserve jobs", "error", err, "next_try_in", wait)
			sleep(ctx, wait)
		}
	}
}

// turn returns the queues in the order of their priority, or, where nobody has
// set one, so that each comes first in turn.
func (w *worker) turn() []string {
	if len(w.queue.config.queues) == 0 && len(w.queues) > 1 {
		w.queues = append(w.queues[1:len(w.queues):len(w.queues)], w.queues[0])
	}
	return w.queues
}

// awaitRoom waits until enough capacity is free and returns how much there
// is, or 0 when ctx has ended.
func (w *worker) awaitRoom(ctx context.Context) int {
	for ctx.Err() == nil {
		w.mu.Lock()
		free, enough := w.free()
		w.hungry = !enough
		w.mu.Unlock()
		if enough {
			return free
		}
		select {
		case <-w.room:
		case <-ctx.Done():
		}
	}
	return 0
}

// free returns how many jobs may be reserved, and whether that is worth a
// call. The caller holds mu.
func (w *worker) free() (jobs int, enough bool) {
	jobs = w.slots + w.prefetch - w.held
	return jobs, jobs >= max(w.prefetch/2, 1)
}

const (
	// longestPrefetch is how far the default prefetch grows: no batch much
	// larger makes a job cheaper.
	longestPrefetch = 64

	// shortRound and longRound are how long as many jobs as may be held may
	// last for the default to grow, and above which it shrinks: what waits
	// here waits for some milliseconds that it might have run elsewhere.
	shortRound = 10 * time.Millisecond
	longRound  = 40 * time.Millisecond
)

// adapt lets the default prefetch grow while jobs are short, so that the calls
// to the broker are fewer, and shrink to the number of slots when they are not.
// It is told of every Reserve.
func (w *worker) adapt(reserved int) {
	if w.queue.config.prefetchSet || w.slots >= longestPrefetch {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.round += reserved; w.round < w.slots+w.prefetch {
		return
	}
	now := time.Now()
	lasted := now.Sub(w.roundBegan)
	w.round, w.roundBegan = 0, now
	switch {
	case lasted < shortRound:
		w.prefetch = min(2*w.prefetch, longestPrefetch)
	case lasted > longRound:
		w.prefetch = max(w.prefetch/2, w.slots)
	}
}

func (w *worker) accept(deliveries []*backend.Delivery) {
	if len(deliveries) == 0 {
		return
	}
	w.mu.Lock()
	w.held += len(deliveries)
	w.mu.Unlock()
	attempts := make([]attempt, len(deliveries)) // one allocation for all
	for i, d := range deliveries {
		attempts[i].delivery = d
	}
	w.leases.add(attempts)
	for i := range attempts {
		w.ready <- &attempts[i]
	}
}

// releaseRoom gives back the capacity that a job has taken.
func (w *worker) releaseRoom() {
	w.mu.Lock()
	w.held--
	_, enough := w.free()
	wake := w.hungry && enough
	if wake {
		w.hungry = false
	}
	w.mu.Unlock()
	if wake {
		w.room <- struct{}{}
	}
}

// slot runs one job after the other until ready is closed. A job that ends in
// runtime.Goexit takes the goroutine with it; see perform.
func (w *worker) slot() {
	for a := range w.ready {
		w.handle(a)
	}
	w.active.Done()
}

func (w *worker) handle(a *attempt) {
	if w.stopping.Load() {
		w.giveBack(a, 0)
		return
	}
	r := w.prepare(a)
	if !w.queue.begin(a) {
		// A broker that lost this process's lease has handed the job out
		// again while its handler still runs here.
		w.giveBack(a, w.queue.config.lease/3)
		return
	}
	a.ctx, a.cancel = context.WithCancelCause(w.base)
	if !w.leases.begin(a) { // another has it by now, or the worker ends
		w.queue.end(a)
		w.giveBack(a, 0)
		return
	}
	w.finish(a, w.perform(a, r))
}

// giveBack puts back a job that has not begun.
func (w *worker) giveBack(a *attempt, delay time.Duration) {
	if a.claim() {
		w.settler.add(settlement{attempt: a, verdict: Released, delay: delay})
	}
	w.releaseRoom()
}

// prepare fills in the job and returns the registration of its kind, or nil.
func (w *worker) prepare(a *attempt) *registration {
	d := a.delivery
	a.job = jobOf(&d.Message)
	a.job.attempt = a
	if a.job.Header == nil && len(w.queue.config.middleware) > 0 {
		a.job.Header = make(map[string]string) // a middleware may set a field
	}
	var r *registration
	if d.Malformed == nil {
		r = w.queue.mux.lookup(d.Kind)
	}
	err := a.settings.readAll(r, &d.Message)
	switch {
	case d.Malformed != nil:
		a.foregone = Bury(malformed(d.Malformed))
	case err != nil:
		a.foregone = Bury(err)
	case d.Deliveries > maxDeliveries:
		a.foregone = Bury(fmt.Errorf("%w: handed out %d times without being settled", ErrCrashLoop, d.Deliveries))
	case r == nil:
		a.foregone = postpone(a)
	}
	if a.settings.track && w.queue.tracker != nil {
		a.tracker, a.began = w.queue.tracker, time.Now()
	}
	return r
}

func malformed(err error) error {
	if errors.Is(err, ErrMalformed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// postpone decides on a job whose kind nobody here knows.
func postpone(a *attempt) error {
	err := fmt.Errorf("%w: %q is not registered in this process", ErrUnknownKind, a.job.Kind)
	delay, again := unknownKinds.Next(retry.Attempt{Number: a.settings.postponed + 1})
	if !again {
		return Bury(err)
	}
	return &decision{verdict: Released, delay: delay, err: err, postponed: true}
}

// handler returns the chain around the handler of r; r may be nil.
func (w *worker) handler(r *registration) Handler[Raw] {
	if h, ok := w.handlers.Load(r); ok {
		return h.(Handler[Raw])
	}
	w.wrapping.Lock() // so that middleware is applied once
	defer w.wrapping.Unlock()
	if h, ok := w.handlers.Load(r); ok {
		return h.(Handler[Raw])
	}
	var innermost Handler[Raw] // without a registration every attempt is foregone
	if r != nil {
		innermost = r.handler
	}
	h := w.wrap(innermost)
	w.handlers.Store(r, h)
	return h
}

// perform calls the chain around the handler of r, decides on what it
// returned, and survives all of the user's code on the way. A panic that no
// middleware made an error is one here. What called runtime.Goexit cannot be
// stopped from ending its goroutine: the slot goes on in a new one, where the
// chain runs again over an attempt that has failed, so that all middleware
// sees it.
func (w *worker) perform(a *attempt, r *registration) (s settlement) {
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover()
		failure := &PanicError{Value: v, Stack: debug.Stack()}
		if v != nil {
			s = w.lastResort(a, failure)
			return
		}
		failure.Value = ErrGoexit
		again := a.foregone == nil
		a.foregone = failure
		go func() {
			if again {
				w.finish(a, w.perform(a, r))
			} else { // it was not the handler that called Goexit
				w.finish(a, w.lastResort(a, failure))
			}
			w.slot()
		}()
	}()
	s = w.conclude(a, w.handler(r).Handle(a.ctx, &a.job))
	returned = true
	return s
}

// conclude settles an attempt by what its handler returned.
func (w *worker) conclude(a *attempt, err error) settlement {
	if verdict, _ := VerdictOf(err); verdict == Undecided {
		// No middleware did. This is for a chain without Retries, and for a
		// middleware that panicked.
		err = decide(a.ctx, &a.job, err, retry.Default())
		if verdict, _ := VerdictOf(err); verdict == Retried && a.job.Attempt >= DefaultMaxAttempts && a.job.MaxAttempts == 0 {
			err = Bury(err)
		}
	}
	if verdict, _ := VerdictOf(err); verdict == Retried && a.job.MaxAttempts > 0 && a.job.Attempt >= a.job.MaxAttempts {
		err = Bury(err) // what a job asks for holds without MaxAttemptsOf too
	}
	return w.settlement(a, err)
}

// lastResort is conclude without any code of the user's, which has just
// misbehaved where nobody else could deal with it.
func (w *worker) lastResort(a *attempt, failure *PanicError) settlement {
	if err, ok := failure.Value.(error); ok && err != ErrGoexit {
		failure.Value = textOf(err) // has no methods that could panic again
	}
	if _, ok := a.settings.retry.(retry.Backoff); !ok {
		a.settings.retry = nil
	}
	return w.conclude(a, failure)
}

// finish ends an attempt whose handler has returned. Should a hook call
// runtime.Goexit, the slot goes on in a new goroutine.
func (w *worker) finish(a *attempt, s settlement) {
	claimed, returned := a.claim(), false
	defer func() {
		w.queue.end(a)
		a.cancel(nil)
		if claimed {
			w.settler.add(s)
		}
		w.releaseRoom()
		if !returned {
			go w.slot()
		}
	}()
	if claimed && len(w.queue.hooks) > 0 && context.Cause(a.ctx) != ErrLeaseLost {
		w.queue.hooks.afterAttempt(a.ctx, &a.job, s.err, w.queue.logger)
	}
	returned = true
}

// settlement translates the error of an attempt for the broker.
func (w *worker) settlement(a *attempt, err error) settlement {
	s := settlement{attempt: a, err: err}
	s.verdict, s.delay = VerdictOf(err)
	m := &a.delivery.Message
	switch s.verdict {
	case Released:
		if d, ok := errors.AsType[*decision](err); ok && d.postponed {
			s.verdict = Retried
			s.message = postponed(m, a.settings.postponed+1)
		}
	case Retried:
		s.message = known(m)
	case Buried:
		if a.delivery.Malformed == nil {
			s.message = known(m)
		}
		s.failure = failureOf(err)
	}
	s.record = a.outcome(err)
	if most := w.queue.limits.MaxDelay; most > 0 && s.delay > most {
		w.queue.logger.Error("queue: the broker cannot delay a job this long; it will come earlier",
			"kind", m.Kind, "id", m.ID, "delay", s.delay, "most", most)
		s.delay = most
	}
	if s.message != nil {
		s.message.Delay = s.delay
	}
	return s
}

// known returns a copy of m that no longer counts how often its kind was
// unknown.
func known(m *backend.Message) *backend.Message {
	copied := *m
	if copied.Extra[extraPostpone] != nil {
		copied.Extra = maps.Clone(copied.Extra)
		delete(copied.Extra, extraPostpone)
	}
	return &copied
}

// begin enters a job among those that run, and reports whether it was not
// there yet.
func (q *Queue) begin(a *attempt) bool {
	if a.delivery.Malformed != nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running[a.delivery.ID] != nil {
		return false
	}
	q.running[a.delivery.ID] = a
	return true
}

func (q *Queue) end(a *attempt) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running[a.delivery.ID] == a {
		delete(q.running, a.delivery.ID)
	}
}

// backoff is a pause that doubles, with jitter.
type backoff struct{ least, most, current time.Duration }

func (b *backoff) reset() { b.current = 0 }

func (b *backoff) next() time.Duration {
	b.current = min(max(2*b.current, b.least), b.most)
	return b.current/2 + rand.N(b.current/2+1)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
