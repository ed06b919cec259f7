package beanstalkd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// settlement is one call of a verb that settles.
type settlement struct {
	verb string
	done chan struct{} // closed when it is known how it went
	left atomic.Bool   // the caller has not waited for that
}

// claim is a delivery that a verb works on.
type claim struct {
	receipt *receipt
	place   int        // in the batch
	puts    *puts      // the command that stores what replaces it; nil if nothing does
	stored  uint64     // the job that replaces it, if any
	conn    *wire.Conn // over which that was stored
	err     error      // how it went
}

// settle claims those of deliveries that are held, has f settle them, and
// returns what became of each. When ctx ends first, f goes on, and the same
// verb is told how it went when it is called again. What belongs to the caller
// is read by prepare, if there is anything.
func (b *Backend) settle(ctx context.Context, verb string, deliveries []*backend.Delivery, prepare func(c *claim), f func(claims []claim)) error {
	if err := b.begin(ctx); err != nil {
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
		r, err := b.claim(ctx, s, d)
		if r != nil {
			claims = append(claims, claim{receipt: r, place: i})
		} else if err != nil {
			fail(i, err)
		}
	}
	if prepare != nil {
		for i := range claims {
			prepare(&claims[i])
		}
	}
	work := func() {
		defer b.calls.Done()
		if len(claims) > 0 {
			f(claims)
			s.conclude(claims)
		}
		close(s.done)
	}
	if ctx.Done() == nil {
		work()
	} else {
		go work()
		select {
		case <-s.done:
		case <-ctx.Done():
			s.left.Store(true)
			return ctx.Err()
		}
	}
	for i := range claims {
		if claims[i].err != nil {
			fail(claims[i].place, claims[i].err)
		}
	}
	if errs == nil {
		return nil
	}
	return backend.NewBatchError(errs)
}

// claim returns the receipt of d when it is held and nobody else settles it.
// Without one and without an error it has been settled by a call that was left.
func (b *Backend) claim(ctx context.Context, s *settlement, d *backend.Delivery) (*receipt, error) {
	r := b.receiptOf(d)
	if r == nil {
		return nil, fmt.Errorf("%w: not a delivery of this backend", backend.ErrLeaseLost)
	}
	mu := &r.consumer.mu
	mu.Lock()
	for r.settling != nil {
		earlier := r.settling
		mu.Unlock()
		// One whose caller waits for it is the caller's to hear of. To wait for
		// it here, with claims of our own, could be to wait for each other.
		if !earlier.left.Load() {
			return nil, fmt.Errorf("%w: it has been settled, or is about to be", backend.ErrLeaseLost)
		}
		select {
		case <-earlier.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-b.life.Done():
			return nil, backend.ErrClosed
		}
		mu.Lock()
		if r.settling == earlier {
			defer mu.Unlock()
			if earlier.verb == s.verb && !r.told {
				r.told = true
				return nil, r.outcome
			}
			return nil, backend.ErrLeaseLost
		}
	}
	defer mu.Unlock()
	if !r.isHeld(time.Now()) {
		return nil, backend.ErrLeaseLost
	}
	r.settling = s
	return r, nil
}

// isHeld reports whether the server keeps the job for its consumer, as far as
// can be told from here: the server itself would delete a job for its former
// holder that it has made ready again. The caller holds the consumer's mu.
func (r *receipt) isHeld(now time.Time) bool {
	return r.consumer.held[r.id] == r && now.Before(r.until)
}

// conclude notes how it went. What failed for another reason than a lost lease
// can be tried again.
func (s *settlement) conclude(claims []claim) {
	for i := range claims {
		c := &claims[i]
		r := c.receipt
		r.consumer.mu.Lock()
		if c.err == nil || errors.Is(c.err, backend.ErrLeaseLost) {
			r.outcome = c.err
			if r.consumer.held[r.id] == r {
				delete(r.consumer.held, r.id)
			}
		} else {
			r.settling = nil
		}
		r.consumer.mu.Unlock()
	}
}
