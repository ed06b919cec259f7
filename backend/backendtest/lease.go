package backendtest

import (
	"errors"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

var lease = []Case{
	{
		Name: "is-exclusive-while-it-runs",
		Why:  "Two workers with the same message run the job twice at the same time.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.lent()
			b.open().nothing(b.Lease * 6 / 10)
			b.A.ack(d)
		},
	},
	{
		Name:  "that-ends-wakes-a-waiting-reserve",
		Needs: []Capability{Leases},
		Why:   "When a worker dies its messages must be taken up by others as soon as the lease ends: not before, since it may be alive, and not when someone happens to push.",
		check: func(b *bench) {
			m := b.message()
			b.A.push(m)
			before := time.Now()
			b.A.lent()
			w := b.open().wait(b.ctx, 1)
			d := w.one(b.patience()+b.Lease, "the end of a lease")
			b.between("the message", w.at.Sub(before), b.Lease, b.Lease)
			if d.ID != m.ID {
				b.fail("message %s was delivered, want %s", d.ID, m.ID)
			}
		},
	},
	{
		Name:  "that-ends-leaves-the-message-unchanged",
		Needs: []Capability{Leases},
		Why:   "The next worker must find everything that the first found, but for the attempt.",
		check: func(b *bench) {
			m := b.full()
			b.A.push(m)
			b.A.lent()
			m.Attempt++
			b.sameMessage(b.A.one(), m)
		},
	},
	{
		Name:  "that-ends-comes-back-once",
		Needs: []Capability{Leases},
		Why:   "The return of a lost message is one message. If every worker that waits puts it back, there are as many as workers.",
		check: func(b *bench) {
			b.A.push(b.messagesFor(b.queue, 10)...)
			b.A.takeFor(b.Lease, 10)
			others := []*conn{b.open(), b.open()}
			b.sleep(b.expiry())
			deliveries := others[0].take(10)
			others[1].nothing(b.quiet())
			others[0].ack(deliveries...)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "is-as-long-as-reserve-asks",
		Needs: []Capability{Leases},
		Why:   "Each worker knows how long it may be silent. A driver that uses one lease for all gives away the jobs of those that asked for more.",
		check: func(b *bench) {
			limits := backend.LimitsOf(b.A.Backend)
			if limits.MaxLease > 0 && limits.MaxLease < 3*b.expiry() {
				b.skip("the limits allow no lease that is longer than %v", limits.MaxLease)
			}
			b.A.push(b.messagesFor(b.queue, 2)...)
			b.A.takeFor(3*b.expiry(), 1)
			short := b.A.lent()
			again := b.A.one()
			if again.ID != short.ID {
				b.fail("message %s came back, whose lease is %v, want %s, whose lease is %v", again.ID, 3*b.expiry(), short.ID, b.Lease)
			}
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "that-is-extended-goes-on",
		Needs: []Capability{Leases, Extender},
		Why:   "A worker extends its leases while a long job runs. If that does not help, every long job is run by two workers.",
		check: func(b *bench) {
			b.A.push(b.messagesFor(b.queue, 3)...)
			deliveries := b.A.takeFor(b.Lease, 3)
			other := b.open()
			for range 3 {
				other.nothing(b.Lease / 2)
				b.A.do(extending, deliveries...)
			}
			b.A.ack(deliveries...)
			other.nothing(b.expiry())
		},
	},
	{
		Name:  "that-is-extended-ends-after-all",
		Needs: []Capability{Leases, Extender},
		Why:   "An extension is for one lease from now. A message that never comes back after it is lost with its worker.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.lent()
			b.sleep(b.Lease / 2)
			before := time.Now()
			b.A.do(extending, d)
			w := b.open().wait(b.ctx, 1)
			w.one(b.patience()+b.Lease, "the end of an extended lease")
			b.between("the message", w.at.Sub(before), b.Lease, b.Lease)
		},
	},
	{
		Name:  "is-not-extended-by-nothing",
		Needs: []Capability{Extender},
		Why:   "A lease of zero or less is a mistake: an error, not the end of the lease.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			extender, _ := backend.As[backend.Extender](b.A.Backend)
			for _, lease := range []time.Duration{0, -time.Second} {
				err := extender.Extend(b.ctx, []*backend.Delivery{d}, lease)
				if !errors.Is(backend.ErrorAt(err, 0), backend.ErrInvalid) {
					b.fail("Extend by %v returned %s, want an error that is %q", lease, outcome(err), backend.ErrInvalid)
				}
			}
			b.A.ack(d)
		},
	},
}

// lateSettles returns a case for each verb: the lease has ended, and nobody
// else has the message yet.
func lateSettles() []Case {
	var cases []Case
	for _, v := range verbs {
		cases = append(cases, Case{
			Name:  "that-has-ended-refuses-" + strings.ToLower(v.name),
			Needs: v.needs(Leases),
			Why:   "A worker that was silent for too long has lost its claim: another may be running the job already. A settle that succeeds now removes a message that is somebody else's, or stores a second one.",
			check: func(b *bench) {
				m := b.message()
				b.A.push(m)
				d := b.A.lent()
				b.sleep(b.expiry())
				b.A.refused(v.name+" after the lease has ended", b.A.try(v, d))
				again := b.open().one()
				b.attemptIs(2, again, "the message that was settled too late")
				b.A.nothing(b.quiet()) // no second copy
			},
		})
	}
	return cases
}

// disturbed returns a case for each verb: somebody else has the message.
func disturbed() []Case {
	var cases []Case
	for _, v := range verbs {
		cases = append(cases, Case{
			Name:  "of-the-next-holder-is-not-disturbed-by-" + strings.ToLower(v.name),
			Needs: v.needs(Leases),
			Why:   "A worker that wakes up late settles with an old receipt. The broker must tell it from the new one: the message is being run by its next holder, who is to settle it.",
			check: func(b *bench) {
				b.A.push(b.message())
				old := b.A.lent()
				b.sleep(b.expiry())
				holder := b.open()
				d := holder.one()
				b.A.refused(v.name+" while another holds the message", b.A.try(v, old))
				b.A.nothing(b.Lease / 2)
				holder.ack(d)
				b.A.nothing(b.quiet()) // no second copy
			},
		})
	}
	return cases
}
