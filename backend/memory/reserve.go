package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goferhq/queue/backend"
)

// waiter is a Reserve that found nothing. Whoever makes a job ready takes it
// on behalf of the waiter that has waited longest, so that one job wakes one
// goroutine and none is woken for nothing.
type waiter struct {
	backend    *Backend
	lines      []*line
	all        bool // and then every other line
	max        int
	lease      time.Duration
	deliveries chan []*backend.Delivery // of capacity 1; closed by Close
}

// Reserve implements backend.Backend.
func (c *Backend) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	if err := backend.CheckQueues(queues, true); err != nil {
		return nil, err
	}
	if max < 1 {
		return nil, fmt.Errorf("%w: Reserve of at most %d", backend.ErrInvalid, max)
	}
	if err := checkLease(lease); err != nil {
		return nil, err
	}
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	b := c.broker
	all := queues[len(queues)-1] == backend.AllQueues
	if all {
		queues = queues[:len(queues)-1]
	}
	var space [4]*line
	lines := space[:0]
	for _, name := range queues {
		lines = append(lines, b.line(name))
	}
	if taken := b.reserve(lines, all, max, lease); taken != nil {
		b.unlock()
		return taken, nil
	}
	w := &waiter{c, slices.Clone(lines), all, max, lease, make(chan []*backend.Delivery, 1)}
	b.waiters = append(b.waiters, w)
	b.unlock()

	select {
	case taken, open := <-w.deliveries:
		if !open {
			return nil, backend.ErrClosed
		}
		return taken, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	if i := slices.Index(b.waiters, w); i >= 0 {
		b.waiters = slices.Delete(b.waiters, i, i+1)
		b.setAlarm()
	}
	b.mu.Unlock()
	// What was taken for this waiter while ctx ended is on loan: return it.
	select {
	case taken, open := <-w.deliveries:
		if open {
			return taken, nil
		}
	default:
	}
	return nil, ctx.Err()
}

// serve hands ready jobs to the waiters, the one that has waited longest
// first.
func (b *Broker) serve() {
	if len(b.waiters) == 0 {
		return
	}
	b.waiters = slices.DeleteFunc(b.waiters, func(w *waiter) bool {
		taken := b.reserve(w.lines, w.all, w.max, w.lease)
		if taken != nil {
			w.deliveries <- taken
		}
		return taken != nil
	})
}

// setAlarm keeps the timer set to when the waiters may be served next, and
// stopped while nobody waits or nothing has a time.
func (b *Broker) setAlarm() {
	tick, timed := int64(0), false
	if len(b.waiters) > 0 {
		tick, timed = b.timed.next()
	}
	switch {
	case !timed:
		if b.alarmAt != 0 {
			b.alarm.Stop()
			b.alarmAt = 0
		}
		return
	case b.alarmAt != 0 && b.alarmAt <= tick:
		return // it fires earlier than needed and is set again then
	}
	b.alarmAt = max(tick, 1)
	wait := time.Until(b.timeOf(tick))
	if b.alarm == nil {
		b.alarm = time.AfterFunc(wait, b.ring)
	} else {
		b.alarm.Reset(wait)
	}
}

func (b *Broker) ring() {
	b.mu.Lock()
	b.alarmAt = 0
	b.advance()
	b.unlock()
}
