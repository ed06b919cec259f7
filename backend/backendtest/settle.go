package backendtest

import (
	"errors"
	"slices"
	"strings"

	"github.com/goferhq/queue/backend"
)

var settle = []Case{
	{
		Name: "ack-removes-the-message",
		Why:  "A job that is done and comes back is done twice, a payment too.",
		check: func(b *bench) {
			b.A.push(b.message())
			b.A.ack(b.A.lent())
			b.A.nothing(b.expiry() + b.quiet())
		},
	},
	{
		Name: "ack-removes-a-large-batch",
		Why:  "The worker collects what is done into batches. One that is larger than the broker takes is split by the driver, and none of it may be forgotten.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 250)
			b.A.push(messages...)
			deliveries := b.A.takeFor(b.Lease, len(messages))
			slices.Reverse(deliveries)
			b.A.ack(deliveries...)
			b.open().nothing(b.expiry() + b.quiet())
		},
	},
	{
		Name: "ack-leaves-the-others-alone",
		Why:  "Jobs end in another order than they began. An ack is for the one that it names.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 3)
			b.A.push(messages...)
			deliveries := b.A.take(3)
			b.A.ack(deliveries[1])
			b.A.release(0, deliveries[0], deliveries[2])
			again := b.A.take(2)
			if slices.Contains(ids(again), deliveries[1].ID) {
				b.fail("message %s came back after its Ack", deliveries[1].ID)
			}
			b.A.ack(again...)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "bury-removes-the-message-from-the-line",
		Why:  "A message that is buried has failed for good, or breaks its workers. It waits for a person and must not be handed out again.",
		check: func(b *bench) {
			b.A.push(b.message())
			b.A.do(burying, b.A.lent())
			b.A.nothing(b.expiry() + b.quiet())
		},
	},
	{
		Name: "a-delivery-without-receipt-is-refused",
		Why:  "A Delivery that this driver did not make is a mistake of the caller: an error, not a panic that takes the worker down.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := &backend.Delivery{Message: *b.message()}
			for _, v := range settling {
				b.A.refused(v.name+" of a delivery without receipt", b.A.try(v, d))
			}
			b.attemptIs(1, b.A.one(), "the message that was not touched")
		},
	},
}

// settledTwice returns a case for each verb that ends a loan.
func settledTwice() []Case {
	var cases []Case
	for _, first := range settling {
		cases = append(cases, Case{
			Name: "a-second-time-after-" + strings.ToLower(first.name) + "-is-refused",
			Why:  "A delivery can be settled once. A second settle that succeeds hides a defect, and may remove, double or bury what someone else holds by now.",
			check: func(b *bench) {
				b.A.push(b.message())
				d := b.A.one()
				b.A.do(first, d)
				for _, second := range verbs {
					if second.name == extending.name && !has(b.A, Extender) {
						continue
					}
					b.A.refused(second.name+" after "+first.name, b.A.try(second, d))
				}
				if first.name == ack.name || first.name == burying.name {
					b.A.nothing(b.quiet())
					return
				}
				again := b.A.one()
				b.A.nothing(b.quiet()) // no second copy
				b.A.ack(again)
			},
		})
	}
	return cases
}

// staleInBatch returns a case for each verb: one of three deliveries is no
// longer held.
func staleInBatch() []Case {
	var cases []Case
	for _, v := range verbs {
		cases = append(cases, Case{
			Name:  strings.ToLower(v.name) + "-of-a-batch-marks-just-the-lost-one",
			Needs: v.needs(),
			Why:   "Batches are formed from jobs that have nothing to do with each other. One lost lease must neither fail the others nor hide behind them.",
			check: func(b *bench) {
				b.A.push(b.messagesFor(b.queue, 3)...)
				deliveries := b.A.take(3)
				b.A.ack(deliveries[1])
				err := b.A.try(v, deliveries...)
				batch, ok := errors.AsType[*backend.BatchError](err)
				if !ok || len(batch.Errs) != 3 {
					b.fail("%s of three deliveries, the second of which is lost, returned %s, want a *BatchError with 3 elements", v.name, outcome(err))
				}
				for i, err := range batch.Errs {
					if lost := errors.Is(err, backend.ErrLeaseLost); lost != (i == 1) {
						b.fail("%s of three deliveries, the second of which is lost, returned for number %d %s", v.name, i+1, outcome(err))
					}
				}
				switch v.name {
				case retrying.name, releasing.name:
					b.A.ack(b.A.take(2)...)
				case extending.name:
					b.A.ack(deliveries[0], deliveries[2])
				}
				b.A.nothing(b.quiet())
				for _, d := range []*backend.Delivery{deliveries[0], deliveries[2]} {
					b.A.refused("Ack of a delivery that was settled in the batch", b.A.try(ack, d))
				}
			},
		})
	}
	return cases
}
