package backendtest

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/goferhq/queue/backend"
)

var retry = []Case{
	{
		Name: "stores-the-replacement",
		Why:  "The queue writes into the message what the next attempt must know: its number, headers, the last error. All of it must be there when it is delivered.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			m := *b.full()
			m.ID, m.Kind = d.ID, "another"
			b.A.retry(d, &m)
			b.sameMessage(b.open().one(), &m)
		},
	},
	{
		Name: "keeps-header-and-extra-of-what-it-is-given",
		Why:  "A retry passes the message on. Unknown fields of a newer version must survive it byte for byte.",
		check: func(b *bench) {
			m := b.full()
			b.A.push(m)
			d := b.A.one()
			again := d.Message
			again.Extra = map[string]json.RawMessage{"x_added": json.RawMessage(`"by the queue"`)}
			for name, value := range d.Extra {
				again.Extra[name] = value
			}
			b.A.retry(d, &again)
			b.sameMessage(b.A.one(), &again)
		},
	},
	{
		Name: "leaves-one-copy",
		Why:  "A retry that leaves the old copy behind runs the job twice from then on: with each further retry twice as often.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.lent()
			m := d.Message
			b.A.retry(d, &m)
			b.A.ack(b.A.one())
			b.A.nothing(b.expiry() + b.quiet())
		},
	},
	{
		Name: "of-a-batch-stores-each-replacement",
		Why:  "Retries are collected into batches; each delivery must get its own replacement, not that of its neighbour.",
		check: func(b *bench) {
			b.A.push(b.messagesFor(b.queue, 20)...)
			deliveries := b.A.take(20)
			var replacements []backend.Replacement
			want := make(map[string]*backend.Message)
			for i, d := range deliveries {
				m := d.Message
				m.Args, m.Attempt = numbered(1000+i), i
				replacements = append(replacements, backend.Replacement{Delivery: d, Message: &m})
				want[d.ID] = &m
			}
			b.A.must("Retry", b.A.Retry(b.ctx, replacements))
			for _, d := range b.A.take(20) {
				b.sameMessage(d, want[d.ID])
			}
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "may-move-the-message-to-another-queue",
		Why:  "A policy may send what fails to a slower queue. The replacement goes where its Queue says.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			m := d.Message
			m.Queue = b.queueNamed("slow")
			b.A.retry(d, &m)
			b.sameMessage(b.A.one(m.Queue), &m)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "wakes-a-waiting-reserve",
		Why:  "A retry without a delay is work that is there now.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			w := b.open().wait(b.ctx, 1)
			w.isStillWaiting()
			m := d.Message
			b.A.retry(d, &m)
			b.sameMessage(w.one(b.prompt(), "a Retry"), &m)
		},
	},
	{
		Name: "comes-after-its-delay",
		Why:  "The delay of a retry gives what is broken time to recover. A retry that comes early makes it worse.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			w := b.open().wait(b.ctx, 1)
			m := d.Message
			m.Delay = b.delays(3)
			before := time.Now()
			b.A.retry(d, &m)
			again := w.one(b.patience()+m.Delay, "a Retry with a delay")
			b.between("the retried message", w.at.Sub(before), m.Delay, b.roundedUp(m.Delay))
			b.sameMessage(again, &m)
		},
	},
	{
		Name: "with-an-invalid-replacement-keeps-the-delivery",
		Why:  "An error says that nothing was stored. The delivery must then still be held, so that it can be buried instead of getting lost.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			for what, change := range map[string]func(m *backend.Message){
				"no kind":          func(m *backend.Message) { m.Kind = "" },
				"an invalid queue": func(m *backend.Message) { m.Queue = "a b" },
				"a negative delay": func(m *backend.Message) { m.Delay = -time.Second },
			} {
				m := d.Message
				change(&m)
				if err := backend.ErrorAt(b.A.tryRetry(d, &m), 0); !errors.Is(err, backend.ErrInvalid) {
					b.fail("Retry with %s returned %s, want an error that is %q", what, outcome(err), backend.ErrInvalid)
				}
			}
			b.A.nothing(b.quiet())
			b.A.ack(d)
		},
	},
}

var release = []Case{
	{
		Name: "gives-the-message-back-unchanged",
		Why:  "Release is for a message that was not run. The next worker must find it as if it had never been taken.",
		check: func(b *bench) {
			m := b.full()
			b.A.push(m)
			b.A.release(0, b.A.one())
			b.sameMessage(b.open().one(), m)
		},
	},
	{
		Name: "leaves-one-copy",
		Why:  "A driver that gives back by storing a second copy must remove the first, or the job runs twice.",
		check: func(b *bench) {
			b.A.push(b.message())
			b.A.release(0, b.A.lent())
			b.A.ack(b.A.one())
			b.A.nothing(b.expiry() + b.quiet())
		},
	},
	{
		Name: "wakes-a-waiting-reserve",
		Why:  "What a worker gives back when it stops must be taken up at once by the others, not when their next poll comes round.",
		check: func(b *bench) {
			m := b.message()
			b.A.push(m)
			d := b.A.one()
			w := b.open().wait(b.ctx, 1)
			w.isStillWaiting()
			b.A.release(0, d)
			b.sameMessage(w.one(b.prompt(), "a Release"), m)
		},
	},
	{
		Name: "comes-after-its-delay",
		Why:  "An unknown kind is released with a delay until a worker that knows it is deployed. Without the delay it spins between workers.",
		check: func(b *bench) {
			m := b.message()
			b.A.push(m)
			d := b.A.one()
			w := b.open().wait(b.ctx, 1)
			delay := b.delays(3)
			before := time.Now()
			b.A.release(delay, d)
			again := w.one(b.patience()+delay, "a Release with a delay")
			b.between("the released message", w.at.Sub(before), delay, b.roundedUp(delay))
			b.sameMessage(again, m)
		},
	},
	{
		Name: "with-a-negative-delay-keeps-the-delivery",
		Why:  "An invalid argument is an error that changes nothing: the delivery is still held.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			err := b.A.Release(b.ctx, []*backend.Delivery{d}, -time.Second)
			b.wantError("Release with a negative delay", backend.ErrorAt(err, 0), backend.ErrInvalid)
			b.A.ack(d)
		},
	},
	{
		Name:  "puts-messages-back-in-their-old-place",
		Needs: []Capability{OldPlace},
		Why:   "What a stopping worker gives back has waited already. At the end of the line it would wait a second time.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 5)
			b.A.push(messages...)
			b.A.release(0, b.A.take(3)...)
			b.inOrder(b.takeSingly(5), messages...)
		},
	},
}
