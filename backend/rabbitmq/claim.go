package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/goferhq/queue/backend"
)

// settlement is one call of a verb that settles.
type settlement struct {
	verb string
	done chan struct{} // closed when it is known how it went
	left atomic.Bool   // the caller has not waited for that
}

// claim is a delivery that a verb works on.
type claim struct {
	loan  *loan
	place int   // in the batch
	err   error // how it went
}

// settle claims those of deliveries that are held, has work settle them, and
// returns what became of each. When ctx ends first, work goes on, and the same
// verb is told how it went when it is called again. What belongs to the caller
// is read by prepare, which returns the work.
func (b *Backend) settle(ctx context.Context, verb string, deliveries []*backend.Delivery, prepare func(claims []claim) (work func())) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	s := &settlement{verb: verb, done: make(chan struct{})}
	claims := make([]claim, 0, len(deliveries))
	var errs []error
	fail := func(i int, err error) {
		if errs == nil {
			errs = make([]error, len(deliveries))
		}
		errs[i] = err
	}
	for i, d := range deliveries {
		l, err := b.claim(ctx, s, d)
		if l != nil {
			claims = append(claims, claim{loan: l, place: i})
		} else if err != nil {
			fail(i, err)
		}
	}
	if len(claims) > 0 {
		work := prepare(claims)
		conclude := func() {
			work()
			b.conclude(claims)
			close(s.done)
		}
		if verb == verbAck { // does not wait for the broker
			conclude()
		} else if err := s.await(ctx, conclude); err != nil {
			return err
		}
		for i := range claims {
			if claims[i].err != nil {
				fail(claims[i].place, claims[i].err)
			}
		}
	}
	if errs == nil {
		return nil
	}
	return backend.NewBatchError(errs)
}

// await calls work, and leaves it to itself when ctx ends.
func (s *settlement) await(ctx context.Context, work func()) error {
	go work()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		s.left.Store(true)
		return ctx.Err()
	}
}

// claim returns the loan of d when it is held and nobody else settles it.
// Without one and without an error it has been settled by a call that was left.
func (b *Backend) claim(ctx context.Context, s *settlement, d *backend.Delivery) (*loan, error) {
	l, ok := d.Receipt.(*loan)
	if !ok || l.channel.line.consumer.backend != b {
		return nil, fmt.Errorf("%w: not a delivery of this backend", backend.ErrLeaseLost)
	}
	l.mu.Lock()
	for l.settling != nil && !l.over {
		earlier := l.settling
		l.mu.Unlock()
		// One whose caller waits for it is the caller's to hear of. To wait for
		// it here, with claims of our own, could be to wait for each other.
		if !earlier.left.Load() {
			return nil, fmt.Errorf("%w: it is about to be settled", backend.ErrLeaseLost)
		}
		select {
		case <-earlier.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-b.life.Done():
			return nil, backend.ErrClosed
		}
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	if l.over {
		if l.settling.left.Load() && l.settling.verb == s.verb && !l.told {
			l.told = true
			return nil, l.outcome
		}
		return nil, fmt.Errorf("%w: it has been settled", backend.ErrLeaseLost)
	}
	if l.channel.lost.Load() {
		return nil, l.channel.lostError()
	}
	l.settling = s
	return l, nil
}

// conclude notes how it went. What failed for another reason than a lost lease
// can be tried again.
func (b *Backend) conclude(claims []claim) {
	for i := range claims {
		c := &claims[i]
		c.loan.mu.Lock()
		if c.err == nil || errors.Is(c.err, backend.ErrLeaseLost) {
			c.loan.over, c.loan.outcome = true, c.err
		} else {
			c.loan.settling = nil
		}
		c.loan.mu.Unlock()
	}
}
