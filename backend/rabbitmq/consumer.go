package rabbitmq

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
)

// consumer hands out the messages of all queues that are consumed from.
//
// To ask RabbitMQ for a message takes it a millisecond or two; a consumer, once
// it is there, is sent the next one as soon as another is settled. So those of a
// queue are kept from one Reserve to the next, with as much credit as what is
// held and what is asked for, and are ended when nobody asks for restAfter.
type consumer struct {
	backend *Backend

	mu     sync.Mutex       // guards all below, and the fields of lines and channels that say so
	lines  map[string]*line // by the name of the queue
	closed bool
}

// waiter is a Reserve that has found nothing.
type waiter struct {
	demand int
	wake   chan struct{} // of capacity 1

	// Guarded by consumer.mu.
	curious *line // must know whether this one is empty; nil for none
	err     error // why there will be nothing
}

// notify has the waiter look again.
func (w *waiter) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Reserve takes messages; see [backend.Backend]. RabbitMQ knows no leases: what
// is reserved is held until it is settled or its channel is lost.
func (b *Backend) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	if err := b.checkReserve(queues, max, lease); err != nil {
		return nil, err
	}
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	loans, err := b.consumer.take(ctx, queues, max)
	if len(loans) == 0 {
		return nil, err
	}
	deliveries := make([]*backend.Delivery, len(loans))
	for i, l := range loans {
		deliveries[i] = b.deliver(l)
	}
	return deliveries, nil
}

func (b *Backend) checkReserve(queues []string, max int, lease time.Duration) error {
	if len(queues) == 0 {
		return fmt.Errorf("%w: Reserve without a queue", backend.ErrInvalid)
	}
	for i, queue := range queues {
		if queue == backend.AllQueues {
			if i < len(queues)-1 {
				return fmt.Errorf("%w: %q stands before other queues", backend.ErrInvalid, queue)
			}
			return fmt.Errorf("%w: RabbitMQ has no consumer of all queues; name them", backend.ErrUnsupported)
		}
		if err := checkQueue(queue); err != nil {
			return err
		}
	}
	if max < 1 {
		return fmt.Errorf("%w: Reserve of %d messages", backend.ErrInvalid, max)
	}
	if lease <= 0 {
		return fmt.Errorf("%w: lease of %v", backend.ErrInvalid, lease)
	}
	return nil
}

// deliver returns what a worker is given for a loan.
func (b *Backend) deliver(l *loan) *backend.Delivery {
	d := &backend.Delivery{Deliveries: l.count + 1, Raw: l.message.Body, Receipt: l}
	d.Message, d.Malformed = b.settings.decode(l.channel.line.queue, &l.message)
	if d.Malformed == nil {
		d.Attempt = min(d.Attempt+d.Deliveries, maxAttempt)
		l.id = d.ID
	}
	return d
}

// take takes up to max messages of queues, in this order, and waits until there
// is one.
func (c *consumer) take(ctx context.Context, queues []string, max int) ([]*loan, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.linesOf(queues)
	var w *waiter
	for {
		loans, reach := collect(lines, max)
		switch {
		case len(loans) > 0:
			c.handOn(lines, reach)
			return loans, nil
		case w != nil && w.err != nil:
			c.handOn(lines, reach)
			return nil, w.err
		case c.closed:
			return nil, backend.ErrClosed
		case ctx.Err() != nil:
			c.handOn(lines, reach)
			return nil, ctx.Err()
		}
		if w == nil {
			w = &waiter{demand: min(max, maxDemand), wake: make(chan struct{}, 1)}
		}
		for i, l := range lines[:reach] {
			l.enlist(w, i == reach-1 && reach < len(lines))
		}
		c.mu.Unlock()
		for _, l := range lines[reach:] {
			c.backend.topology.prepare(l.queue) // it may be its turn soon
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
		case <-c.backend.life.Done():
		}
		c.mu.Lock()
		for _, l := range lines[:reach] {
			l.strike(w)
		}
	}
}

// maxDemand is how many messages are fetched for one Reserve at most. It takes
// what there is, and so may be given more.
const maxDemand = 1000

// linesOf returns the lines of queues. The caller holds mu.
func (c *consumer) linesOf(queues []string) []*line {
	lines := make([]*line, 0, len(queues))
	for _, queue := range queues {
		l := c.lines[queue]
		if l == nil {
			l = newLine(c, queue)
			c.lines[queue] = l
		}
		if !slices.Contains(lines, l) {
			lines = append(lines, l)
		}
	}
	return lines
}

// collect takes what the lines have, up to max. A line is passed over for the
// next only when it is known that the broker holds nothing ready there; reach is
// how many lines that allows to wait for. The caller holds mu.
func collect(lines []*line, max int) (loans []*loan, reach int) {
	for i, l := range lines {
		loans = append(loans, l.takeUpTo(max-len(loans))...)
		if len(loans) == max || !l.empty {
			return loans, i + 1
		}
	}
	return loans, len(lines)
}

// handOn lets others have what a Reserve leaves that has asked the first lines up
// to reach: those that wait, and if there are none the broker, after a while. The
// caller holds mu.
func (c *consumer) handOn(lines []*line, reach int) {
	now := time.Now()
	for i, l := range lines {
		l.wakeOne()
		if l.needsCredit() {
			l.nudge()
		}
		if i < reach {
			l.asked = now
		}
		l.mayRest()
	}
}

// untilHeard returns how long to wait before the connection is closed: RabbitMQ
// forgets the latest of many acks when it is at once.
func (c *consumer) untilHeard() (wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		wait = max(wait, 2*hearing-time.Since(l.settled))
	}
	return wait
}

// close has the lines end their consumers, and give back what was fetched and is
// on loan to nobody, until the deadline.
func (c *consumer) close(deadline time.Time) {
	c.mu.Lock()
	c.closed = true
	var ended []chan struct{}
	for _, l := range c.lines {
		for _, w := range l.waiting {
			w.notify()
		}
		if l.tending != nil {
			ended = append(ended, l.tending)
			l.nudge()
		}
	}
	c.mu.Unlock()
	timeout := time.NewTimer(time.Until(deadline) / 2)
	defer timeout.Stop()
	for _, one := range ended {
		select {
		case <-one:
		case <-timeout.C:
			return
		}
	}
}
