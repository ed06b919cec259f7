package backendtest

import (
	"context"
	"errors"
	"time"

	"github.com/goferhq/queue/backend"
)

var reserve = []Case{
	{
		Name: "takes-at-most-max",
		Why:  "A worker asks for as many messages as it has room for. What it is given beyond that waits in its memory while its lease runs out.",
		check: func(b *bench) {
			b.A.push(b.messagesFor(b.queue, 12)...)
			for _, most := range []int{1, 3, 5} {
				if deliveries := b.A.reserve(most); len(deliveries) > most {
					b.fail("Reserve with max %d returned %d deliveries", most, len(deliveries))
				}
			}
		},
	},
	{
		Name: "does-not-wait-to-fill-the-batch",
		Why:  "A job that is there must start. A Reserve that waits for more adds its waiting time to every job of a quiet queue.",
		check: func(b *bench) {
			b.A.push(b.message())
			began := time.Now()
			b.A.reserve(10)
			b.took("Reserve with max 10 of a queue with one message", time.Since(began), b.prompt())
		},
	},
	{
		Name: "waits-for-a-push-of-another-connection",
		Why:  "A worker waits in Reserve and must be woken as soon as there is work, whoever pushed it.",
		check: func(b *bench) {
			w := b.A.wait(b.ctx, 1)
			w.isStillWaiting()
			m := b.message()
			b.open().push(m)
			b.sameMessage(w.one(b.prompt(), "a Push to its queue"), m)
		},
	},
	{
		Name: "waits-for-each-of-its-queues",
		Why:  "A worker of several queues must be woken by each of them, not only by the first.",
		check: func(b *bench) {
			queues := []string{b.queueNamed("first"), b.queueNamed("second"), b.queueNamed("third")}
			other := b.open()
			for _, queue := range queues {
				w := b.A.wait(b.ctx, 1, queues...)
				m := b.messagesFor(queue, 1)[0]
				other.push(m)
				b.sameMessage(w.one(b.prompt(), "a Push to "+queue), m)
			}
		},
	},
	{
		Name: "takes-from-the-first-queue-that-has-one",
		Why:  "The order of the queues is their priority: urgent jobs overtake others only if a later queue waits until the earlier ones are empty.",
		check: func(b *bench) {
			urgent, normal := b.queueNamed("urgent"), b.queueNamed("normal")
			high, low := b.messagesFor(urgent, 3), b.messagesFor(normal, 3)
			b.A.push(low...)
			b.A.push(high...)
			b.each(b.takeSingly(3, urgent, normal), high...)
			b.each(b.takeSingly(3, urgent, normal), low...)
		},
	},
	{
		Name: "fills-a-batch-from-the-first-queue-first",
		Why:  "Also within one batch a later queue is served only when the earlier ones hold nothing more.",
		check: func(b *bench) {
			urgent, normal := b.queueNamed("urgent"), b.queueNamed("normal")
			b.A.push(b.messagesFor(normal, 4)...)
			b.A.push(b.messagesFor(urgent, 4)...)
			for _, d := range b.A.reserve(4, urgent, normal) {
				if d.Queue != urgent {
					b.fail("a batch of 4 has a message of the second queue while the first holds 4")
				}
			}
		},
	},
	{
		Name: "leaves-other-queues-alone",
		Why:  "A worker has the handlers and the room for the queues that it names, and for no others.",
		check: func(b *bench) {
			other := b.queueNamed("other")
			m := b.messagesFor(other, 1)[0]
			b.A.push(m)
			b.A.nothing(b.quiet())
			b.sameMessage(b.A.one(other), m)
		},
	},
	{
		Name: "ends-with-its-context",
		Why:  "A worker that is told to stop must not hang in Reserve: its jobs' time to finish is running.",
		check: func(b *bench) {
			ctx, cancel := context.WithCancel(b.ctx)
			w := b.A.wait(ctx, 1)
			w.isStillWaiting()
			cancel()
			w.ended(b.prompt(), "the end of its context")
			b.wantError("Reserve", w.err, context.Canceled)
		},
	},
	{
		Name: "ends-with-the-deadline-of-its-context",
		Why:  "A caller that gives Reserve a deadline must be able to tell from the error that it has passed, and that nothing is wrong.",
		check: func(b *bench) {
			began := time.Now()
			_, err := b.A.tryReserve(b.ctx, 300*time.Millisecond, b.longLease(), 1, b.queue)
			b.wantError("Reserve", err, context.DeadlineExceeded)
			b.took("Reserve with a deadline of 300ms", time.Since(began), 300*time.Millisecond+b.prompt())
		},
	},
	{
		Name: "takes-nothing-when-its-context-has-ended-before",
		Why:  "A worker that is stopping would drop what it is given, and the message would sleep until its lease ends.",
		check: func(b *bench) {
			b.A.push(b.message())
			ended, cancel := context.WithCancel(b.ctx)
			cancel()
			for range 10 {
				_, err := b.A.tryReserve(ended, time.Minute, b.longLease(), 1, b.queue)
				b.wantError("Reserve with an ended context", err, context.Canceled)
			}
			if d := b.open().one(); d.Attempt != 1 {
				b.fail("after Reserve with an ended context the message has attempt %d, want 1", d.Attempt)
			}
		},
	},
	{
		Name: "that-has-ended-swallows-no-later-message",
		Why:  "A wait that was cancelled may still be known to the broker. A message that is given to it is seen by no worker.",
		check: func(b *bench) {
			ctx, cancel := context.WithCancel(b.ctx)
			w := b.A.wait(ctx, 1)
			cancel()
			w.ended(b.prompt(), "the end of its context")
			b.sleep(50 * time.Millisecond)
			m := b.message()
			b.A.push(m)
			if got := b.open().one(); got.ID != m.ID {
				b.fail("message %s was delivered, want %s", got.ID, m.ID)
			}
		},
	},
	{
		Name: "that-ends-during-a-push-loses-nothing",
		Why:  "A message that arrives while the context ends is either returned by this Reserve or given to another one. A driver that drops what it has in hand makes it sleep until the lease ends, with an attempt spent that nobody made, or loses it.",
		check: func(b *bench) {
			const rounds = 50
			other := b.open()
			messages := b.messagesFor(b.queue, rounds)
			var taken []*backend.Delivery
			done := func(deliveries []*backend.Delivery) {
				if len(deliveries) == 0 {
					return
				}
				taken = append(taken, deliveries...)
				if err := b.A.Ack(b.ctx, deliveries); err != nil {
					b.fail("Ack failed: %v", err)
				}
			}
			for i, m := range messages {
				ctx, cancel := context.WithCancel(b.ctx)
				waited := b.spawn(func() {
					deliveries, _ := b.A.Reserve(ctx, []string{b.queue}, 3, b.Lease)
					done(deliveries)
				})
				time.Sleep(2 * time.Millisecond) // until it waits
				err := other.Push(b.ctx, []*backend.Message{m})
				// While the message is on its way: on a network that takes
				// some fraction of a millisecond.
				if i%2 == 1 {
					time.Sleep(time.Duration(i) * 20 * time.Microsecond)
				}
				cancel()
				b.A.must("Push", err)
				waited()
			}
			for len(taken) < rounds {
				done(b.A.reserve(rounds))
			}
			for _, d := range taken {
				if d.Attempt != 1 {
					b.fail("message %s came back with attempt %d, want 1: a Reserve whose context ended was given it and dropped it", d.ID, d.Attempt)
				}
			}
			b.each(taken, messages...)
		},
	},
	{
		Name: "of-invalid-arguments-fails-at-once",
		Why:  "A mistake in the configuration must be an error, not a worker that waits for ever.",
		check: func(b *bench) {
			b.A.push(b.message())
			for _, wrong := range []struct {
				what   string
				queues []string
				max    int
				lease  time.Duration
			}{
				{"no queue", nil, 1, b.Lease},
				{"a queue without a name", []string{""}, 1, b.Lease},
				{"an invalid second queue", []string{b.queue, "a b"}, 1, b.Lease},
				{"max 0", []string{b.queue}, 0, b.Lease},
				{"max -1", []string{b.queue}, -1, b.Lease},
				{"lease 0", []string{b.queue}, 1, 0},
				{"a negative lease", []string{b.queue}, 1, -time.Second},
			} {
				began := time.Now()
				deliveries, err := b.A.tryReserve(b.ctx, b.patience(), wrong.lease, wrong.max, wrong.queues...)
				if !errors.Is(err, backend.ErrInvalid) {
					b.fail("Reserve with %s returned %s and %s, want an error that is %q", wrong.what, deliveryNames(deliveries), outcome(err), backend.ErrInvalid)
				}
				b.took("Reserve with "+wrong.what, time.Since(began), b.prompt())
			}
		},
	},
}

// takeSingly takes n messages, one in each Reserve.
func (b *bench) takeSingly(n int, queues ...string) []*backend.Delivery {
	var taken []*backend.Delivery
	for range n {
		taken = append(taken, b.A.one(queues...))
	}
	return taken
}
