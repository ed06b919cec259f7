package backendtest

import (
	"time"

	"github.com/goferhq/queue/backend"
)

// foreign are the cases of good messages that others than the driver wrote.
var foreign = []Case{
	{
		Name:  "a-foreign-message-runs-with-defaults",
		Needs: []Capability{ForeignProducers},
		Why:   "A producer in another language writes the kind and the arguments, and no more. Everything else is up to the worker.",
		check: func(b *bench) {
			b.put(b.Minimal("backendtest", []byte(`{"n":1}`)))
			d := b.A.one()
			want := &backend.Message{ID: d.ID, Kind: "backendtest", Queue: b.queue, Args: []byte(`{"n":1}`), EnqueuedAt: d.EnqueuedAt, Attempt: 1}
			b.same("the foreign message", d.Malformed, &d.Message, want)
			if d.ID == "" {
				b.fail("the foreign message has no ID, want one that the driver made")
			}
			b.A.ack(d)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "a-foreign-message-keeps-the-id-that-it-is-given",
		Needs: []Capability{ForeignProducers},
		Why:   "The ID names the job in logs, in status and in the dead set, through all its retries. Two jobs that look the same are two.",
		check: func(b *bench) {
			raw := b.Minimal("backendtest", []byte(`{"n":1}`))
			b.put(raw)
			b.put(raw)
			deliveries := b.A.take(2)
			first := deliveries[0].ID
			if first == deliveries[1].ID {
				b.fail("two foreign messages were both given the ID %q", first)
			}
			b.A.ack(deliveries[1])
			b.A.release(0, deliveries[0])
			d := b.A.one()
			if d.ID != first {
				b.fail("after a Release the foreign message has the ID %q, want %q, which it had before", d.ID, first)
			}
			m := d.Message
			b.A.retry(d, &m)
			b.sameMessage(b.A.one(), &m)
		},
	},
	{
		Name:  "a-foreign-message-wakes-a-waiting-reserve",
		Needs: []Capability{ForeignProducers},
		Why:   "A foreign producer does not know of the driver's ways to wake its workers. They must see what it stores all the same.",
		check: func(b *bench) {
			w := b.A.wait(b.ctx, 1)
			w.isStillWaiting()
			before := time.Now()
			b.put(b.Minimal("backendtest", []byte(`{"n":1}`)))
			w.one(b.prompt(), "a foreign message")
			b.took("the delivery of a foreign message", w.at.Sub(before), b.prompt())
		},
	},
}
