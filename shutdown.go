package queue

import (
	"fmt"
	"time"
)

const (
	// cancelGrace is how long handlers have to return after their contexts
	// have ended by ErrShutdown. What is settled then may take settleTimeout,
	// and the statuses that are written statusTimeout. Together they stay
	// below the second that Shutdown promises.
	cancelGrace   = 300 * time.Millisecond
	settleTimeout = 300 * time.Millisecond
	statusTimeout = 300 * time.Millisecond
)

// drain ends a worker that fetches no more. It takes the grace of Shutdown and
// less than a second.
func (w *worker) drain() error {
	w.stopping.Store(true)
	w.settler.hurry()
	started := time.Now()
	grace := w.queue.config.shutdown
	cancelled, stuck := 0, 0
	ended := func() {
		for a := range w.ready { // together with the slots that are free
			w.giveBack(a, 0)
		}
		w.active.Wait()
	}
	if !within(grace, ended) {
		cancelled = w.cancelHandlers()
		if !within(cancelGrace, w.active.Wait) {
			stuck = w.releaseRunning()
		}
	}
	left := max(grace+cancelGrace-time.Since(started), 0) + settleTimeout
	if !within(left, w.settler.wait) {
		w.queue.logger.Error("queue: not everything could be settled before the end; the rest will run again")
	}
	w.settler.cancel()
	w.leases.close()
	w.queue.flushStatus()
	if cancelled > 0 {
		return fmt.Errorf("%w: %d were cancelled, %d of them did not return", ErrDrainTimeout, cancelled, stuck)
	}
	return nil
}

// within reports whether wait returned before d was over.
func within(d time.Duration, wait func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// cancelHandlers ends the contexts of the handlers that run, and returns how
// many.
func (w *worker) cancelHandlers() int {
	n := 0
	w.leases.each(func(a *attempt) {
		if a.begun && !a.settled.Load() {
			a.cancel(ErrShutdown)
			n++
		}
	})
	return n
}

// releaseRunning gives back the jobs of handlers that have not returned, so
// that another process can have them, and returns how many. What these
// handlers return in the end is dropped.
func (w *worker) releaseRunning() int {
	var running []*attempt
	w.leases.each(func(a *attempt) {
		if a.begun && a.claim() {
			running = append(running, a)
		}
	})
	for _, a := range running {
		d := a.delivery
		w.queue.logger.Error("queue: handler did not return in time; its job is given back",
			"kind", d.Kind, "id", d.ID, "attempt", d.Attempt)
		w.settler.add(settlement{attempt: a, verdict: Released, record: a.outcome(Snooze(0))})
	}
	return len(running)
}
