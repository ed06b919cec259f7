package beanstalkd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// Extend prolongs leases; see [backend.Extender].
func (b *Backend) Extend(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error {
	if err := b.checkLease(lease); err != nil {
		return err
	}
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.calls.Done()
	errs := make([]error, len(deliveries))
	var receipts []*receipt
	var places []int
	now := time.Now()
	for i, d := range deliveries {
		r := b.receiptOf(d)
		if r == nil || !r.prolong(now, lease) {
			errs[i] = backend.ErrLeaseLost
			continue
		}
		receipts, places = append(receipts, r), append(places, i)
	}
	var all sync.WaitGroup
	for _, part := range byConsumer(receipts) {
		all.Go(func() {
			err := part.touch(ctx)
			for k, place := range part.places {
				errs[places[place]] = err
				if err == nil && !part.receipts[k].isTouched() {
					errs[places[place]] = backend.ErrLeaseLost
				}
			}
		})
	}
	all.Wait()
	b.keep(receipts...)
	return backend.NewBatchError(errs)
}

// prolong notes until when the job is to be kept, if it still is.
func (r *receipt) prolong(now time.Time, lease time.Duration) bool {
	r.consumer.mu.Lock()
	defer r.consumer.mu.Unlock()
	if !r.isHeld(now) {
		return false
	}
	r.leaseEnd = now.Add(lease)
	return true
}

// isTouched reports whether the job is held after a touch.
func (r *receipt) isTouched() bool {
	r.consumer.mu.Lock()
	defer r.consumer.mu.Unlock()
	return r.isHeld(time.Now())
}

// part are the receipts of one consumer.
type part struct {
	consumer *consumer
	receipts []*receipt
	places   []int // in what it is a part of
}

// byConsumer divides receipts. They are of few consumers, usually one or two.
func byConsumer(receipts []*receipt) []*part {
	var parts []*part
	for i, r := range receipts {
		at := slices.IndexFunc(parts, func(p *part) bool { return p.consumer == r.consumer })
		if at < 0 {
			at = len(parts)
			parts = append(parts, &part{consumer: r.consumer})
		}
		p := parts[at]
		p.receipts, p.places = append(p.receipts, r), append(p.places, i)
	}
	return parts
}

// touch begins the TTR of jobs anew. One that the server does not keep any more
// is noted as lost. An error leaves open which were touched.
func (p *part) touch(ctx context.Context) error {
	var request []byte
	for _, r := range p.receipts {
		request = appendCommand(request, "touch", r.id)
	}
	sent := time.Now()
	s := p.consumer.server
	replies, err := p.consumer.conn.Do(ctx, request, len(p.receipts))
	if err != nil {
		if p.consumer.conn.Err() != nil && s.backend.life.Err() == nil {
			return fmt.Errorf("%w: beanstalkd at %s: %w", backend.ErrLeaseLost, s.address, err)
		}
		return s.explain(ctx, err)
	}
	now := time.Now()
	p.consumer.mu.Lock()
	defer p.consumer.mu.Unlock()
	for i, r := range p.receipts {
		if replies[i].Word == wire.Touched {
			r.until, r.latest = sent.Add(r.ttr), now.Add(r.ttr)
		} else {
			r.until = time.Time{}
			if r.settling == nil && p.consumer.held[r.id] == r {
				delete(p.consumer.held, r.id)
			}
		}
	}
	return nil
}

// keeper looks after the jobs in hand. Those whose lease is longer than their
// TTR it touches, so that they come back when the lease ends and not before.
//
// When a TTR is over it sends a command over the connection that holds the job:
// beanstalkd 1.12 forgets when the time of a connection comes as soon as another
// one is used, and gives a job back late, or never, unless something happens on
// the connection itself. (Its heap of connections takes the first one for any
// that is not in it.)
//
// It has a timer only while there are jobs in hand.
type keeper struct {
	mu    sync.Mutex
	timer *time.Timer // guarded by mu; nil while there is none
	at    time.Time   // guarded by mu: when timer fires
}

// keep looks after more jobs.
func (b *Backend) keep(receipts ...*receipt) {
	var next time.Time
	for _, r := range receipts {
		r.consumer.mu.Lock()
		at := r.nextStep()
		r.consumer.mu.Unlock()
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	b.schedule(next)
}

// nextStep returns when to look after the job next: when its TTR is over or,
// while the lease is longer, a third of its TTR after the last touch, and for
// the last time so that the TTR ends with the lease. The caller holds the
// consumer's mu.
func (r *receipt) nextStep() time.Time {
	if !r.leaseEnd.After(r.until) {
		return r.latest
	}
	at := r.until.Add(-2 * r.ttr / 3)
	if last := r.leaseEnd.Add(-r.ttr); last.Before(at) {
		return last
	}
	return at
}

// schedule has the timer fire at next, or before.
func (b *Backend) schedule(next time.Time) {
	k := &b.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if next.IsZero() || k.timer != nil && !next.Before(k.at) || b.life.Err() != nil {
		return
	}
	if k.timer != nil {
		k.timer.Stop()
	}
	k.at = next
	k.timer = time.AfterFunc(time.Until(next), b.lookAfter)
}

// lookAfter is called by the timer.
func (b *Backend) lookAfter() {
	b.keeper.mu.Lock()
	b.keeper.timer = nil
	b.keeper.mu.Unlock()
	now := time.Now()
	var next time.Time
	var all sync.WaitGroup
	for _, s := range b.servers {
		s.mu.Lock()
		consumers := slices.Clone(s.consumers)
		s.mu.Unlock()
		for _, c := range consumers {
			touch, over, at := c.due(now)
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
			if over { // any command will do
				c.conn.Start([]byte(ping), 1, 0)
				b.losses.Tell()
			}
			if len(touch) > 0 {
				p := &part{consumer: c, receipts: touch}
				all.Go(func() {
					if p.touch(context.Background()) == nil {
						b.keep(touch...)
					}
					if slices.ContainsFunc(touch, func(r *receipt) bool { return !r.isTouched() }) {
						b.losses.Tell()
					}
				})
			}
		}
	}
	b.schedule(next)
	all.Wait()
}

// due returns the jobs to touch, whether the TTR of others is over, and when
// the next of c is to be looked after.
func (c *consumer) due(now time.Time) (touch []*receipt, over bool, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, r := range c.held {
		at := r.nextStep()
		switch {
		case r.settling != nil:
			at = now.Add(time.Second) // see what has become of it
		case !now.Before(r.latest):
			over = true
			delete(c.held, id)
			continue
		case !at.After(now):
			touch = append(touch, r)
			continue
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return touch, over, next
}

// close ends the touching.
func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
	}
}

// NotifyLost has f called when a connection that holds jobs is lost, when the
// server says that it does not keep one any more, and when a TTR is over; see
// [backend.LossNotifier].
func (b *Backend) NotifyLost(f func()) (stop func()) { return b.losses.Add(f) }

// Lost reports whether the server is known not to keep the job of d any more.
func (b *Backend) Lost(d *backend.Delivery) bool {
	r := b.receiptOf(d)
	if r == nil {
		return false
	}
	r.consumer.mu.Lock()
	defer r.consumer.mu.Unlock()
	return r.settling == nil && !r.isHeld(time.Now())
}
