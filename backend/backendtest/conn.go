package backendtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

// conn is a connection to the broker. Its verbs in lower case are steps: they
// show in the record of the case. Those whose name begins with try return the
// error; the others fail the case.
type conn struct {
	backend.Backend
	bench *bench
	name  string
}

func (c *conn) begin(verb, on string) *step {
	return c.bench.begin(c.name + "." + verb + "(" + on + ")")
}

// clone returns a copy of m that shares nothing with it: a broker in this
// process may hold what it is given, and then a change there must not change
// what the case expects.
func clone(m *backend.Message) *backend.Message {
	copied := *m
	copied.Args = slices.Clone(m.Args)
	copied.Header = maps.Clone(m.Header)
	copied.Extra = maps.Clone(m.Extra)
	for name, value := range copied.Extra {
		copied.Extra[name] = slices.Clone(value)
	}
	return &copied
}

func clones(messages []*backend.Message) []*backend.Message {
	var copied []*backend.Message
	for _, m := range messages {
		copied = append(copied, clone(m))
	}
	return copied
}

// must ends the case when err is not nil.
func (c *conn) must(verb string, err error) {
	if err != nil {
		c.bench.fail("%s failed: %v", verb, err)
	}
}

func (c *conn) tryPush(messages ...*backend.Message) error {
	s := c.begin("Push", messageNames(messages))
	err := c.Push(c.bench.ctx, clones(messages))
	s.end(outcome(err))
	return err
}

func (c *conn) push(messages ...*backend.Message) { c.must("Push", c.tryPush(messages...)) }

// tryReserve is one call of Reserve that may take as long as wait.
func (c *conn) tryReserve(ctx context.Context, wait, lease time.Duration, max int, queues ...string) ([]*backend.Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	s := c.begin("Reserve", fmt.Sprintf("%s, max %d, lease %v", strings.Join(queues, " "), max, lease))
	deliveries, err := c.Reserve(ctx, queues, max, lease)
	if err != nil {
		s.end(outcome(err))
	} else {
		s.end(deliveryNames(deliveries))
	}
	return deliveries, err
}

// reserve is one call of Reserve, for the queue of the case unless others are
// given.
func (c *conn) reserve(max int, queues ...string) []*backend.Delivery {
	return c.reserveFor(c.bench.longLease(), max, queues...)
}

func (c *conn) reserveFor(lease time.Duration, max int, queues ...string) []*backend.Delivery {
	if len(queues) == 0 {
		queues = []string{c.bench.queue}
	}
	deliveries, err := c.tryReserve(c.bench.ctx, c.bench.patience(), lease, max, queues...)
	if errors.Is(err, context.DeadlineExceeded) {
		c.bench.fail("Reserve handed out nothing within %v, want a message", c.bench.patience())
	}
	c.must("Reserve", err)
	if len(deliveries) == 0 {
		c.bench.fail("Reserve returned no delivery and no error, want at least one delivery")
	}
	return deliveries
}

// take reserves until it has n deliveries.
func (c *conn) take(n int, queues ...string) []*backend.Delivery {
	return c.takeFor(c.bench.longLease(), n, queues...)
}

func (c *conn) takeFor(lease time.Duration, n int, queues ...string) []*backend.Delivery {
	var taken []*backend.Delivery
	for len(taken) < n {
		taken = append(taken, c.reserveFor(lease, n-len(taken), queues...)...)
	}
	return taken
}

// one reserves one message.
func (c *conn) one(queues ...string) *backend.Delivery { return c.take(1, queues...)[0] }

// lent reserves one message for the shortest lease.
func (c *conn) lent(queues ...string) *backend.Delivery {
	return c.takeFor(c.bench.Lease, 1, queues...)[0]
}

// nothing fails the case when Reserve hands out a message within wait.
func (c *conn) nothing(wait time.Duration, queues ...string) {
	if len(queues) == 0 {
		queues = []string{c.bench.queue}
	}
	deliveries, err := c.tryReserve(c.bench.ctx, wait, c.bench.longLease(), 10, queues...)
	switch {
	case len(deliveries) > 0:
		c.bench.fail("Reserve handed out %s, want nothing for %v", deliveryNames(deliveries), wait)
	case err == nil:
		c.bench.fail("Reserve returned no delivery and no error, want the error of its context")
	case !errors.Is(err, context.DeadlineExceeded):
		c.bench.fail("Reserve failed with %q, want the error of its context", err)
	}
}

// waiting is a call of Reserve in the background.
type waiting struct {
	deliveries []*backend.Delivery
	err        error
	at         time.Time // when it returned
	done       chan struct{}
	bench      *bench
}

// wait begins to wait in Reserve for up to max messages, and returns when it
// surely does.
func (c *conn) wait(ctx context.Context, max int, queues ...string) *waiting {
	if len(queues) == 0 {
		queues = []string{c.bench.queue}
	}
	w := &waiting{done: make(chan struct{}), bench: c.bench}
	lease, timeout := c.bench.longLease(), c.bench.caseTimeout()
	c.bench.spawn(func() {
		defer close(w.done)
		w.deliveries, w.err = c.tryReserve(ctx, timeout, lease, max, queues...)
		w.at = time.Now()
	})
	c.bench.sleep(50 * time.Millisecond)
	return w
}

// isStillWaiting fails the case when the Reserve has returned.
func (w *waiting) isStillWaiting() {
	select {
	case <-w.done:
		w.bench.fail("Reserve of an empty queue returned %s and the error %v, want it to wait", deliveryNames(w.deliveries), w.err)
	default:
	}
}

// ended waits until the Reserve has returned, at most for the given time.
func (w *waiting) ended(within time.Duration, after string) {
	select {
	case <-w.done:
	case <-time.After(within):
		w.bench.fail("a waiting Reserve did not return within %v after %s", within, after)
	}
}

// one returns the message that the Reserve was woken for, at most within after
// what was done.
func (w *waiting) one(within time.Duration, after string) *backend.Delivery {
	w.ended(within, after)
	if w.err != nil {
		w.bench.fail("a waiting Reserve failed after %s: %v", after, w.err)
	}
	if len(w.deliveries) != 1 {
		w.bench.fail("a waiting Reserve returned %d deliveries after %s, want 1", len(w.deliveries), after)
	}
	return w.deliveries[0]
}

func (c *conn) try(v verb, deliveries ...*backend.Delivery) error {
	s := c.begin(v.name, deliveryNames(deliveries))
	err := v.do(c, deliveries)
	s.end(outcome(err))
	return err
}

func (c *conn) do(v verb, deliveries ...*backend.Delivery) {
	c.must(v.name, c.try(v, deliveries...))
}

func (c *conn) ack(deliveries ...*backend.Delivery) { c.do(ack, deliveries...) }

func (c *conn) retry(d *backend.Delivery, m *backend.Message) {
	c.must("Retry", c.tryRetry(d, m))
}

func (c *conn) tryRetry(d *backend.Delivery, m *backend.Message) error {
	s := c.begin("Retry", fmt.Sprintf("%s by attempt %d after %v", d.ID, m.Attempt, m.Delay))
	err := c.Retry(c.bench.ctx, []backend.Replacement{{Delivery: d, Message: clone(m)}})
	s.end(outcome(err))
	return err
}

func (c *conn) release(delay time.Duration, deliveries ...*backend.Delivery) {
	s := c.begin("Release", fmt.Sprintf("%s, after %v", deliveryNames(deliveries), delay))
	err := c.Release(c.bench.ctx, deliveries, delay)
	s.end(outcome(err))
	c.must("Release", err)
}

func (c *conn) bury(d *backend.Delivery, failure backend.Failure) {
	s := c.begin("Bury", deliveryNames([]*backend.Delivery{d}))
	buried := burial(d)
	buried.Failure = failure
	err := c.Bury(c.bench.ctx, []backend.Burial{buried})
	s.end(outcome(err))
	c.must("Bury", err)
}

// refused fails the case unless err refuses the only item of a batch because
// its lease is lost.
func (c *conn) refused(what string, err error) {
	if err := backend.ErrorAt(err, 0); !errors.Is(err, backend.ErrLeaseLost) {
		c.bench.fail("%s returned %s, want an error that is %q", what, outcome(err), backend.ErrLeaseLost)
	}
}
