package backendtest

import (
	"time"

	"github.com/goferhq/queue/backend"
)

var delay = []Case{
	{
		Name: "is-kept-to-the-unit",
		Why:  "A scheduled job must never run early, which may be before what it reads is there, and a late one is a promise broken.",
		check: func(b *bench) {
			for _, after := range []time.Duration{b.DelayUnit, 2 * b.DelayUnit, b.delays(2)} {
				m := b.message()
				m.Delay = after
				w := b.open().wait(b.ctx, 1)
				before := time.Now()
				b.A.push(m)
				w.one(b.patience()+after, "a Push with a delay")
				b.between("a message with a delay of "+after.String(), w.at.Sub(before), after, b.roundedUp(after))
			}
		},
	},
	{
		Name: "is-rounded-up",
		Why:  "A broker that counts in seconds must get one more, not one less: a job that is due in 1.5 s must not run after 1 s, and one that is due in 0.5 s not at once.",
		check: func(b *bench) {
			for _, after := range []time.Duration{b.DelayUnit / 2, b.DelayUnit * 3 / 2, b.delays(1) + b.DelayUnit/3} {
				m := b.message()
				m.Delay = after
				w := b.open().wait(b.ctx, 1)
				before := time.Now()
				b.A.push(m)
				w.one(b.patience()+after, "a Push with a delay")
				b.between("a message with a delay of "+after.String(), w.at.Sub(before), after, b.roundedUp(after))
			}
		},
	},
	{
		Name: "of-zero-is-none",
		Why:  "A job without a delay starts at once, without a round through what holds the scheduled ones.",
		check: func(b *bench) {
			b.A.push(b.message())
			began := time.Now()
			b.A.one()
			b.took("Reserve after a Push without delay", time.Since(began), b.prompt())
		},
	},
	{
		Name: "hides-the-message-until-it-is-due",
		Why:  "Before its time a message is for nobody, however often they ask.",
		check: func(b *bench) {
			m := b.message()
			m.Delay = b.delays(5)
			b.A.push(m)
			other := b.open()
			for range 3 {
				other.nothing(b.delays(1))
			}
			b.sameMessage(other.one(), m)
		},
	},
	{
		Name: "is-not-stored",
		Why:  "The delay is spent when the message is due. A driver that delivers it with the message, or keeps it for a release, delays it again.",
		check: func(b *bench) {
			m := b.message()
			m.Delay = b.delays(2)
			b.A.push(m)
			d := b.A.one()
			b.sameMessage(d, m)
			b.A.release(0, d)
			began := time.Now()
			b.A.one()
			b.took("Reserve after a Release without delay", time.Since(began), b.prompt())
		},
	},
	{
		Name: "does-not-hold-up-the-others",
		Why:  "A message that is due tomorrow must not stand in the way of one that is ready, or due in a second.",
		check: func(b *bench) {
			later, soon, now := b.message(), b.message(), b.message()
			later.Delay, soon.Delay = b.delays(50), b.delays(1)
			before := time.Now()
			b.A.push(later, soon, now)
			b.inOrder(b.takeSingly(2), now, soon)
			b.took("a message due after "+soon.Delay.String()+" behind one due after "+later.Delay.String(), time.Since(before), b.roundedUp(soon.Delay)+b.prompt())
			b.A.nothing(b.delays(1))
		},
	},
	{
		Name: "decides-the-order",
		Why:  "What is due first comes first, in whatever order it was pushed.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 5)
			for i, n := range []int{4, 2, 5, 1, 3} {
				messages[i].Delay = b.delays(n)
			}
			b.A.push(messages...)
			b.inOrder(b.takeSingly(5), messages[3], messages[1], messages[4], messages[0], messages[2])
		},
	},
	{
		Name: "that-ends-sooner-wakes-a-reserve-that-waits-for-a-later-one",
		Why:  "A Reserve that sleeps until the next message is due must look again when an earlier one is pushed.",
		check: func(b *bench) {
			later, sooner := b.message(), b.message()
			later.Delay, sooner.Delay = b.delays(100), b.delays(2)
			b.A.push(later)
			w := b.open().wait(b.ctx, 1)
			w.isStillWaiting()
			before := time.Now()
			b.A.push(sooner)
			d := w.one(b.patience()+sooner.Delay, "a Push with a short delay")
			if d.ID != sooner.ID {
				b.fail("message %s was delivered, want %s, which is due sooner", d.ID, sooner.ID)
			}
			b.between("the message", w.at.Sub(before), sooner.Delay, b.roundedUp(sooner.Delay))
		},
	},
	{
		Name: "of-many-messages-loses-none",
		Why:  "A flood of retries becomes due at the same time. What moves due messages works in batches, and must not stop after one.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 300)
			for i, m := range messages {
				m.Delay = b.delays(1 + i%3)
			}
			b.A.push(messages...)
			b.each(b.A.take(len(messages)), messages...)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "below-zero-is-invalid",
		Why:  "A negative delay is a mistake in somebody's arithmetic, to be told and not guessed at.",
		check: func(b *bench) {
			m := b.message()
			m.Delay = -time.Second
			err := b.A.tryPush(m)
			b.wantError("Push with a negative delay", backend.ErrorAt(err, 0), backend.ErrInvalid)
			b.A.nothing(b.quiet())
		},
	},
}
