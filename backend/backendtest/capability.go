package backendtest

import (
	"slices"

	"github.com/goferhq/queue/backend"
)

// Capability is something that one broker can do and another cannot.
type Capability string

// The capabilities that show in the type of a backend: those of the optional
// interfaces of package backend. There is none for backend.LossNotifier, as
// nothing that a Harness can do makes a broker take a delivery back early: a
// driver that has it needs a test of its own, which cuts a connection.
const (
	Extender      Capability = "Extender"
	Inspector     Capability = "Inspector"
	Lister        Capability = "Lister"
	DeadSet       Capability = "DeadSet"
	Remover       Capability = "Remover"
	Purger        Capability = "Purger"
	Pauser        Capability = "Pauser"
	StoreProvider Capability = "StoreProvider"
	Checker       Capability = "Checker"
)

// The capabilities that show in the limits of a backend.
const (
	Priorities Capability = "Priorities" // MinPriority and MaxPriority are not both 0
	UniqueIDs  Capability = "UniqueIDs"  // UniqueIDs is set
	AllQueues  Capability = "AllQueues"  // AllQueues is set
)

// The capabilities that show in what a backend does.
const (
	// Deliveries says that Delivery.Deliveries counts, and is not 0.
	Deliveries Capability = "Deliveries"

	// Leases says that a loan ends by time. A broker without keeps a delivery
	// for as long as its connection lives.
	Leases Capability = "Leases"

	// Order says that messages of one queue come in the order of their
	// priorities, and those of the same priority in the order in which they
	// were pushed. A queue that is spread over several servers has an order on
	// each of them only. Whether a broker is without it no test can tell: a
	// listed Order is taken on trust.
	Order Capability = "Order"

	// OldPlace says that a message that is released without a delay stands
	// before those that were pushed after it. It includes Order.
	OldPlace Capability = "OldPlace"

	// ForeignProducers says that others than the driver can store bytes in
	// the broker. Without it Harness.PutRaw is nil.
	ForeignProducers Capability = "ForeignProducers"
)

// has reports whether the backend of c seems to have a capability, before it
// is used.
func has(c *conn, want Capability) bool {
	b := c.Backend
	limits := backend.LimitsOf(b)
	switch want {
	case Extender:
		return is[backend.Extender](b)
	case Inspector:
		return is[backend.Inspector](b)
	case Lister:
		return is[backend.Lister](b)
	case DeadSet:
		return is[backend.DeadSet](b)
	case Remover:
		return is[backend.Remover](b)
	case Purger:
		return is[backend.Purger](b)
	case Pauser:
		return is[backend.Pauser](b)
	case StoreProvider:
		return is[backend.StoreProvider](b)
	case Checker:
		return is[backend.Checker](b)
	case Priorities:
		return limits.MinPriority != 0 || limits.MaxPriority != 0
	case UniqueIDs:
		return limits.UniqueIDs
	case AllQueues:
		return limits.AllQueues
	case ForeignProducers:
		return c.bench.PutRaw != nil
	}
	return true
}

func is[T any](b backend.Backend) bool {
	_, ok := backend.As[T](b)
	return ok
}

// capabilities returns a case for each claim that can be checked.
func capabilities() []Case {
	var cases []Case
	for _, c := range []Capability{
		Extender, Inspector, Lister, DeadSet, Remover, Purger, Pauser, StoreProvider, Checker,
		Priorities, UniqueIDs, ForeignProducers,
	} {
		cases = append(cases, claim(c, func(b *bench) bool { return has(b.A, c) }))
	}
	return append(cases,
		claim(AllQueues, func(b *bench) bool {
			present := has(b.A, AllQueues)
			if present && b.Fresh == nil {
				b.fail("the backend has %s, and the harness has no Fresh to test it with", AllQueues)
			}
			return present
		}),
		claim(Deliveries, func(b *bench) bool {
			b.A.push(b.message())
			return b.A.one().Deliveries != 0
		}),
		claim(Leases, func(b *bench) bool {
			b.A.push(b.message())
			b.A.lent()
			deliveries, _ := b.open().tryReserve(b.ctx, b.expiry()+b.quiet(), b.longLease(), 1, b.queue)
			return len(deliveries) > 0
		}),
	)
}

func claim(c Capability, present func(b *bench) bool) Case {
	return Case{
		Name: string(c),
		Why:  "What a driver can do must be known and tested: a capability that got lost, in a wrapper without Unwrap for example, takes features away from users, and one that is there but not claimed is never tested. Correct the driver or Harness.Without.",
		check: func(b *bench) {
			without := slices.Contains(b.Without, c)
			switch found := present(b); {
			case found && without:
				b.fail("the backend has %s, which Harness.Without lists", c)
			case !found && !without:
				b.fail("the backend lacks %s, which Harness.Without does not list", c)
			}
		},
	}
}
