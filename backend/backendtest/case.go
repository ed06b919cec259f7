package backendtest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// ErrSkipped is returned by a case that has nothing to check: the broker does
// not have what the case needs, or the harness has no means for it.
var ErrSkipped = errors.New("skipped")

// Case is one rule that a driver must keep.
type Case struct {
	// Name is the group and the rule, such as "settle/ack-removes-the-message".
	Name string

	// Why says what breaks with a driver that does not keep the rule.
	Why string

	// Needs lists the capabilities without which there is nothing to check.
	Needs []Capability

	check func(b *bench)
	alone bool // it measures what other cases would disturb
	fresh bool // it works on what Harness.Fresh returns
}

// Cases returns every case, for those who want to run them without a
// testing.T. They are independent of each other.
func Cases() []Case {
	var all []Case
	for _, group := range []struct {
		name  string
		cases []Case
	}{
		{"idle", idle}, // first, since it runs alone
		{"capability", capabilities()},
		{"delivery", delivery},
		{"reserve", reserve},
		{"all-queues", allQueues()},
		{"attempt", attempt},
		{"settle", slices.Concat(settle, settledTwice(), staleInBatch())},
		{"retry", retry},
		{"release", release},
		{"lease", slices.Concat(lease, lateSettles(), disturbed())},
		{"delay", delay},
		{"order", order},
		{"dead", dead},
		{"limits", limits},
		{"lifecycle", lifecycle},
		{"concurrency", concurrency},
		{"foreign", foreign},
		{"poison", poison()},
		{"inspect", inspect},
		{"manage", slices.Concat(remove, manage)},
		{"unique", unique},
		{"store", stores},
	} {
		for _, c := range group.cases {
			c.Name = group.name + "/" + c.Name
			all = append(all, c)
		}
	}
	return all
}

// Run opens the broker and checks the rule. It returns nil when the rule is
// kept, an error that wraps [ErrSkipped] when there is nothing to check, and
// otherwise an error that says what happened and ends in c.Why.
func (c Case) Run(ctx context.Context, h Harness) error {
	for _, need := range c.Needs {
		if slices.Contains(h.Without, need) {
			return fmt.Errorf("%w: the harness says that the broker is without %s", ErrSkipped, need)
		}
	}
	if c.fresh {
		if h.Fresh == nil {
			return fmt.Errorf("%w: the harness has no Fresh", ErrSkipped)
		}
		h = h.Fresh()
	}
	h = h.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, h.caseTimeout())
	defer cancel()
	b := newBench(ctx, h)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.recover()
		b.A = b.open()
		for _, need := range c.Needs {
			if !has(b.A, need) {
				b.skip("the backend lacks %s, which capability/%s reports", need, need)
			}
		}
		c.check(b)
	}()
	select {
	case <-done:
	case <-time.After(h.caseTimeout() + h.Slack + time.Second):
		b.record(fmt.Errorf("the case is not done after %v: a call hangs and does not heed its context", h.caseTimeout()))
	}
	cancel()
	b.close()
	err := b.failure()
	if err == nil || errors.Is(err, ErrSkipped) {
		return err
	}
	return fmt.Errorf("%w\nWhat was done:\n%sWhy it matters: %s", err, b.trace(), c.Why)
}

// caseTimeout is how long a case may take. The longest waits for three leases
// to end.
func (h Harness) caseTimeout() time.Duration {
	return 30*time.Second + 6*(h.Lease+h.Slack) + 20*h.step()
}

// recover turns a panic of the driver into a failure of the case.
func (b *bench) recover() {
	if p := recover(); p != nil {
		b.record(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
	}
}
