package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

// maxDeliveries is how often a copy of a job is handed out without being
// settled before it counts as the killer of its workers.
const maxDeliveries = 3

// unknownKinds is when a job of a kind that is not registered here is offered
// again: some other process may know it, or this one after the deployment. It
// is buried after 79 minutes.
var unknownKinds = retry.List(
	time.Second, 2*time.Second, 5*time.Second, 10*time.Second, 20*time.Second, 40*time.Second,
	time.Minute, 2*time.Minute, 5*time.Minute, 10*time.Minute, 20*time.Minute, 40*time.Minute)

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
	if r != nil && a.job.MaxAttempts == 0 { // of a producer that leaves it to us
		a.job.MaxAttempts = r.defaults.maxAttempts
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
	most := a.job.MaxAttempts // holds without MaxAttemptsOf too
	if verdict, _ := VerdictOf(err); verdict == Undecided {
		// No middleware did. This is for a chain without Retries, and for a
		// middleware that panicked.
		err = decide(a.ctx, &a.job, err, retry.Default())
		most = cmp.Or(most, DefaultMaxAttempts)
	}
	if most > 0 {
		err = limit(&a.job, err, most)
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
