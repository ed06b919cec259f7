package backendtest

import "github.com/goferhq/queue/backend"

var attempt = []Case{
	{
		Name: "begins-at-1",
		Why:  "The attempt counts when it begins, so that a job that kills its process is counted too; a driver that counts when it settles gives such a job for ever the attempt 0.",
		check: func(b *bench) {
			b.A.push(b.message())
			b.attemptIs(1, b.A.one(), "the first delivery")
		},
	},
	{
		Name: "goes-on-from-what-was-pushed",
		Why:  "A message that is moved from one broker to another brings its attempts along.",
		check: func(b *bench) {
			m := b.message()
			m.Attempt = 3
			b.A.push(m)
			b.attemptIs(4, b.A.one(), "the first delivery of a message that was pushed with attempt 3")
		},
	},
	{
		Name: "is-given-back-by-release",
		Why:  "Release is for what never ran: a shutdown, an unknown kind in a rolling deploy. Counting it buries jobs that never failed.",
		check: func(b *bench) {
			b.A.push(b.message())
			for range 3 {
				d := b.A.one()
				b.attemptIs(1, d, "a delivery after nothing but releases")
				b.A.release(0, d)
			}
		},
	},
	{
		Name:  "is-spent-by-a-lease-that-ends",
		Needs: []Capability{Leases},
		Why:   "A worker that died has used up an attempt. If it does not count, a job that kills its workers is run for ever.",
		check: func(b *bench) {
			b.A.push(b.message())
			for n := range 3 {
				b.attemptIs(n+1, b.A.lent(), "the delivery after every lease so far has ended")
			}
		},
	},
	{
		Name: "is-what-retry-says",
		Why:  "The queue in front decides what a retry costs: nothing for a snooze, one for a failure. The driver stores what it is told, and adds one when it delivers.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			for _, stored := range []int{1, 2, 2, 7, 0} {
				m := d.Message
				m.Attempt = stored
				b.A.retry(d, &m)
				d = b.A.one()
				if d.Attempt != stored+1 {
					b.fail("after a Retry with attempt %d the delivery has attempt %d, want %d", stored, d.Attempt, stored+1)
				}
			}
		},
	},
	{
		Name:  "deliveries-begin-at-1",
		Needs: []Capability{Deliveries},
		Why:   "Deliveries above 1 tell the worker that others died of this message; a count that begins elsewhere buries innocent jobs.",
		check: func(b *bench) {
			m := b.message()
			m.Attempt = 5
			b.A.push(m)
			b.deliveriesAre(1, b.A.one(), "the first delivery, of a message that was pushed with attempt 5")
		},
	},
	{
		Name:  "deliveries-count-leases-that-ended",
		Needs: []Capability{Deliveries, Leases},
		Why:   "A message that was handed out again and again without a settle kills its workers. The count is what stops the crash loop.",
		check: func(b *bench) {
			b.A.push(b.message())
			for n := range 3 {
				b.deliveriesAre(n+1, b.A.lent(), "the delivery after every lease so far has ended")
			}
		},
	},
	{
		Name:  "deliveries-do-not-count-releases",
		Needs: []Capability{Deliveries},
		Why:   "A message that is given back in good order has killed nobody. Counting it makes a crash loop of a few rolling deploys.",
		check: func(b *bench) {
			b.A.push(b.message())
			for range 3 {
				d := b.A.one()
				b.deliveriesAre(1, d, "a delivery after nothing but releases")
				b.A.release(0, d)
			}
		},
	},
	{
		Name:  "deliveries-begin-anew-with-retry",
		Needs: []Capability{Deliveries, Leases},
		Why:   "A retry is an attempt that ended in good order. The count is of what happened since.",
		check: func(b *bench) {
			b.A.push(b.message())
			b.A.lent()
			d := b.A.one()
			b.deliveriesAre(2, d, "the delivery after one lease has ended")
			m := d.Message
			b.A.retry(d, &m)
			b.deliveriesAre(1, b.A.one(), "the delivery after a Retry")
		},
	},
}

func (b *bench) attemptIs(want int, d *backend.Delivery, what string) {
	if d.Attempt != want {
		b.fail("%s has attempt %d, want %d", what, d.Attempt, want)
	}
}

func (b *bench) deliveriesAre(want int, d *backend.Delivery, what string) {
	if d.Deliveries != want {
		b.fail("%s has Deliveries %d, want %d", what, d.Deliveries, want)
	}
}
