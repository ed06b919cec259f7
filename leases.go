package queue

import (
	"context"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
)

// leases keeps what is reserved for a worker reserved: every third of the
// lease one call extends all of it, whether it waits for a slot, runs or is
// being settled. It has a timer only while there is something to extend.
type leases struct {
	worker   *worker
	extender backend.Extender     // nil where the broker has no leases
	notifier backend.LossNotifier // nil where only Extend tells of a loss
	stop     func()               // ends the notices; nil without a notifier
	lease    time.Duration
	ctx      context.Context // of the calls; ends with the worker
	cancel   context.CancelFunc

	mu      sync.Mutex // guards all below and the fields that attempt says
	first   *attempt
	timer   *time.Timer
	ticking bool // the timer is set, or tick runs
	closed  bool
}

func newLeases(w *worker) *leases {
	l := &leases{worker: w, lease: w.queue.config.lease}
	l.extender, _ = backend.As[backend.Extender](w.queue.backend)
	l.ctx, l.cancel = context.WithCancel(w.base)
	var tells bool
	if l.notifier, tells = backend.As[backend.LossNotifier](w.queue.backend); tells {
		l.stop = l.notifier.NotifyLost(l.notice)
	}
	return l
}

func (l *leases) add(attempts []attempt) {
	until := time.Now().Add(l.lease)
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.first
	for i := range attempts {
		a := &attempts[i]
		a.until = until
		a.next = l.first
		if l.first != nil {
			l.first.prev = a
		}
		l.first = a
	}
	if l.notifier != nil { // the notice may have come before
		l.loseUntil(known)
	}
	if !l.ticking && !l.closed {
		l.ticking = true
		l.schedule(l.lease / 3)
	}
}

func (l *leases) schedule(d time.Duration) {
	if l.timer == nil {
		l.timer = time.AfterFunc(d, l.tick)
	} else {
		l.timer.Reset(d)
	}
}

// begin notes that the context of a can now be cancelled, and reports whether
// its lease is still held and the worker goes on: what begins later than the
// shutdown looks for would never be cancelled.
func (l *leases) begin(a *attempt) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.begun = !a.lost && !l.worker.stopping.Load()
	return a.begun
}

// lose ends the context of a, whose lease is no longer held. The caller holds
// mu.
func (l *leases) lose(a *attempt) {
	a.lost = true
	if a.begun {
		a.cancel(ErrLeaseLost)
		a.expire(time.Now()) // it is stuck too if it ignores this
	}
}

// notice is called after the driver has learned of a loss.
func (l *leases) notice() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loseUntil(nil)
}

// loseUntil loses what the driver knows to be lost of the attempts from the
// first up to end, which is not one of them. The caller holds mu.
func (l *leases) loseUntil(end *attempt) {
	var lost int
	for a := l.first; a != end; a = a.next {
		if !a.lost && !a.settled.Load() && l.notifier.Lost(a.delivery) {
			lost++
			l.lose(a)
		}
	}
	if lost > 0 {
		l.logLost(lost, ErrLeaseLost)
	}
}

func (l *leases) logLost(jobs int, err error) {
	l.worker.queue.logger.Error("queue: leases lost; the jobs will run again", "jobs", jobs, "error", err)
}

func (l *leases) remove(attempts ...*attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range attempts {
		switch {
		case a.prev != nil:
			a.prev.next = a.next
		case l.first == a:
			l.first = a.next
		default:
			continue // removed before
		}
		if a.next != nil {
			a.next.prev = a.prev
		}
		a.prev, a.next = nil, nil
	}
}

// over reports whether the lease of a is lost or has ended by the clock of
// this process.
func (l *leases) over(a *attempt) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return a.lost || l.extender != nil && time.Now().After(a.until)
}

// each calls f for what is held. f may not call methods of l but lose.
func (l *leases) each(f func(*attempt)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a := l.first; a != nil; a = a.next {
		f(a)
	}
}

func (l *leases) close() {
	l.cancel()
	if l.stop != nil {
		l.stop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

func (l *leases) tick() {
	now := time.Now()
	l.worker.settler.abortHanging(now)
	var held []*attempt
	var deliveries []*backend.Delivery
	timeout := l.lease / 3
	l.each(func(a *attempt) {
		l.reportStuck(a, now)
		left := a.until.Sub(now)
		if !a.lost && left < l.lease*5/6 {
			held, deliveries = append(held, a), append(deliveries, a.delivery)
			if left > 0 { // a job must hear in time that its lease has ended
				timeout = min(timeout, left)
			}
		}
	})
	next := l.lease / 3
	if l.extender != nil && len(held) > 0 && !l.extend(now, timeout, held, deliveries) {
		next = l.lease / 12 // there is time for another try, and one more
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ticking = l.first != nil && !l.closed
	if l.ticking {
		l.schedule(next)
	}
}

// extend prolongs leases from now, and loses those that the broker no longer
// grants or that have ended while it could not be asked. It reports whether
// the broker answered.
func (l *leases) extend(now time.Time, timeout time.Duration, held []*attempt, deliveries []*backend.Delivery) bool {
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	err := l.extender.Extend(ctx, deliveries, l.lease)
	answered := true
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost int
	for i, a := range held {
		err := backend.ErrorAt(err, i)
		switch {
		case err == nil:
			a.until = now.Add(l.lease)
			continue
		case a.settled.Load():
			continue // settled meanwhile; whether it counted the settle tells
		case a.lost:
			continue // the driver told of it meanwhile
		case isLeaseLost(err):
		default:
			answered = false
			if time.Now().Before(a.until) {
				continue
			}
		}
		lost++
		l.lose(a)
	}
	switch {
	case lost > 0:
		l.logLost(lost, err)
	case !answered:
		l.worker.queue.logger.Warn("queue: leases not extended", "jobs", len(held), "error", err)
	}
	return answered
}

// reportStuck tells once of a handler that runs on after its timeout or the
// loss of its lease. The caller holds mu.
func (l *leases) reportStuck(a *attempt, now time.Time) {
	expires := a.expires.Load()
	if a.stuck || expires == 0 || a.settled.Load() || now.UnixNano() < expires {
		return
	}
	// One tick of patience, so that a handler which is about to return is not
	// called stuck.
	if late := now.Sub(time.Unix(0, expires)); late < l.lease/3 {
		return
	}
	a.stuck = true
	l.worker.queue.logger.Error("queue: handler is stuck: it ignores that its context has ended, and keeps its worker",
		"kind", a.delivery.Kind, "id", a.delivery.ID, "attempt", a.delivery.Attempt,
		"context_ended", time.Unix(0, expires))
}
