package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goferhq/queue/backend"
)

// allQueues returns the cases of a Reserve from every queue. It would take what
// belongs to the other cases, and so each has a broker to itself.
func allQueues() []Case {
	cases := slices.Clone(fromAllQueues)
	for i := range cases {
		cases[i].Needs = slices.Concat([]Capability{AllQueues}, cases[i].Needs)
		cases[i].fresh = true
	}
	return append(cases, withoutAllQueues)
}

var fromAllQueues = []Case{
	{
		Name: "come-in-the-order-of-their-names",
		Why:  "Among queues that nobody has put in an order, the names are one that every worker knows. Any other would starve a queue that nobody expects to.",
		check: func(b *bench) {
			var messages []*backend.Message
			for _, label := range []string{"C", "a", "a-a", "a.a", "a0", "b"} { // byte by byte
				messages = append(messages, b.messagesFor(b.queueNamed(label), 1)...)
			}
			for _, i := range []int{4, 1, 0, 5, 3, 2} {
				b.A.push(messages[i])
			}
			b.inOrder(b.takeSingly(len(messages), backend.AllQueues), messages...)
			b.A.nothing(b.quiet(), backend.AllQueues)
		},
	},
	{
		Name: "fill-a-batch-in-the-order-of-their-names",
		Why:  "Also within one batch a later queue is served only when the earlier ones hold nothing more.",
		check: func(b *bench) {
			first, second := b.queueNamed("first"), b.queueNamed("second")
			b.A.push(b.messagesFor(second, 4)...)
			b.A.push(b.messagesFor(first, 4)...)
			for _, d := range b.A.reserve(4, backend.AllQueues) {
				if d.Queue != first {
					b.fail("a batch of 4 has a message of the queue %s while %s holds 4", d.Queue, first)
				}
			}
		},
	},
	{
		Name: "come-behind-those-that-are-named",
		Why:  "A worker names the queues that are urgent and takes all others when those are empty.",
		check: func(b *bench) {
			urgent, second := b.queueNamed("z"), b.queueNamed("y")
			var messages []*backend.Message
			for _, queue := range []string{urgent, second, b.queueNamed("a"), b.queueNamed("zz")} {
				messages = append(messages, b.messagesFor(queue, 1)...)
			}
			for _, m := range slices.Backward(messages) {
				b.A.push(m)
			}
			b.inOrder(b.takeSingly(len(messages), urgent, second, backend.AllQueues), messages...)
			b.A.nothing(b.quiet(), urgent, second, backend.AllQueues)
		},
	},
	{
		Name: "wake-a-reserve-when-one-comes-into-being",
		Why:  "A worker of all queues waits nearly always. A queue that is made meanwhile, by its first message, must not wait until the worker looks around again.",
		check: func(b *bench) {
			other := b.open()
			for i, delay := range []time.Duration{0, 0, b.delays(1)} {
				w := b.A.wait(b.ctx, 1, b.queue, backend.AllQueues)
				w.isStillWaiting()
				m := b.messagesFor(b.queueNamed(fmt.Sprintf("new-%d", i)), 1)[0]
				m.Delay = delay
				other.push(m)
				b.sameMessage(w.one(delay+b.prompt(), "a Push to a queue that did not exist"), m)
			}
		},
	},
	{
		Name: "are-watched-while-a-reserve-begins",
		Why:  "A queue may come into being between the look at the queues that there are and the wait for what changes. A message that falls through that gap waits for the next one.",
		check: func(b *bench) {
			const rounds = 50
			other := b.open()
			for i := range rounds {
				m := b.messagesFor(b.queueNamed(fmt.Sprintf("new-%d", i)), 1)[0]
				pushed := b.spawn(func() {
					time.Sleep(time.Duration(i) * 20 * time.Microsecond)
					if err := other.Push(b.ctx, []*backend.Message{m}); err != nil {
						b.fail("Push failed: %v", err)
					}
				})
				deliveries, err := b.A.tryReserve(b.ctx, b.prompt()+time.Second, b.longLease(), 1, backend.AllQueues)
				pushed()
				if errors.Is(err, context.DeadlineExceeded) {
					b.fail("Reserve missed %s, which was pushed to a queue that did not exist while Reserve began", m.ID)
				}
				b.A.must("Reserve", err)
				b.each(deliveries, m)
			}
		},
	},
	{
		Name:  "wake-a-reserve-for-a-foreign-message-in-a-new-one",
		Needs: []Capability{ForeignProducers},
		Why:   "A foreign producer does not know of the driver's ways to make its queues known. What it stores must be seen all the same.",
		check: func(b *bench) {
			w := b.A.wait(b.ctx, 1, backend.AllQueues)
			w.isStillWaiting()
			b.put(b.Minimal("backendtest", []byte(`{"n":1}`)))
			if d := w.one(b.prompt(), "a foreign message in a queue that did not exist"); d.Queue != b.queue {
				b.fail("the foreign message came from the queue %q, want %q", d.Queue, b.queue)
			}
		},
	},
	{
		Name:  "wake-a-reserve-for-what-comes-back",
		Needs: []Capability{Leases},
		Why:   "A message whose worker died, and one that was put back, are ready again in their queue. Nobody pushes them, and still they must be seen.",
		check: func(b *bench) {
			m := b.message()
			b.open().push(m)
			b.open().lent()
			d := b.A.wait(b.ctx, 1, backend.AllQueues).one(b.expiry()+b.prompt(), "a lease ended")
			w := b.open().wait(b.ctx, 1, backend.AllQueues)
			w.isStillWaiting()
			b.A.release(b.delays(1), d)
			if d = w.one(b.delays(1)+b.prompt(), "a Release"); d.ID != m.ID {
				b.fail("message %s was delivered, want %s", d.ID, m.ID)
			}
		},
	},
	{
		Name:  "pass-a-paused-one-over",
		Needs: []Capability{Pauser},
		Why:   "A queue is paused because its jobs do harm just now. A worker of all queues is not asked whether it means that one too.",
		check: func(b *bench) {
			paused, other := b.message(), b.messagesFor(b.queueNamed("other"), 1)[0]
			b.A.push(paused, other)
			b.pause()
			b.sameMessage(b.A.one(backend.AllQueues), other)
			w := b.A.wait(b.ctx, 1, backend.AllQueues)
			b.open().push(b.message())
			b.sleep(b.quiet())
			w.isStillWaiting()
			b.resume()
			b.sameMessage(w.one(b.prompt(), "Resume"), paused)
		},
	},
	{
		Name: "end-with-the-context",
		Why:  "A worker that is told to stop must not hang in Reserve: its jobs' time to finish is running.",
		check: func(b *bench) {
			ctx, cancel := context.WithCancel(b.ctx)
			w := b.A.wait(ctx, 1, backend.AllQueues)
			w.isStillWaiting()
			cancel()
			w.ended(b.prompt(), "the end of its context")
			b.wantError("Reserve", w.err, context.Canceled)
		},
	},
	{
		Name: "may-only-stand-last",
		Why:  "A queue behind all others is among them already. Its place is a mistake in the configuration, and must be an error.",
		check: func(b *bench) {
			b.A.push(b.message())
			for _, queues := range [][]string{{backend.AllQueues, b.queue}, {backend.AllQueues, backend.AllQueues}} {
				b.refusedAtOnce(backend.ErrInvalid, queues...)
			}
			b.A.one()
		},
	},
}

var withoutAllQueues = Case{
	Name: "are-unsupported-where-the-limits-lack-them",
	Why:  "A worker that waits in a queue of the name * waits for ever, and nobody is told why.",
	check: func(b *bench) {
		if has(b.A, AllQueues) {
			b.skip("the backend has %s", AllQueues)
		}
		b.A.push(b.message())
		b.refusedAtOnce(backend.ErrUnsupported, backend.AllQueues)
		b.refusedAtOnce(backend.ErrUnsupported, b.queue, backend.AllQueues)
		b.A.one()
	},
}

// refusedAtOnce fails the case unless a Reserve from queues fails with want.
func (b *bench) refusedAtOnce(want error, queues ...string) {
	began := time.Now()
	_, err := b.A.tryReserve(b.ctx, b.patience(), b.longLease(), 1, queues...)
	b.wantError(fmt.Sprintf("Reserve from %q", queues), err, want)
	b.took(fmt.Sprintf("Reserve from %q", queues), time.Since(began), b.prompt())
}
