package backendtest

import (
	"context"
	"time"

	"github.com/goferhq/queue/backend"
)

var lifecycle = []Case{
	{
		Name: "close-ends-a-waiting-reserve",
		Why:  "A process that stops closes its backend. A Reserve that goes on waiting keeps a goroutine, and may be given a message that nobody runs.",
		check: func(b *bench) {
			other := b.open()
			w := other.wait(b.ctx, 1)
			w.isStillWaiting()
			b.spawn(func() { other.Backend.Close() })
			w.ended(b.prompt(), "Close")
			b.wantError("Reserve", w.err, backend.ErrClosed)
		},
	},
	{
		Name: "close-returns-at-once-while-reserve-waits",
		Why:  "A waiting Reserve may wait for ever. A Close that waits for it hangs the end of every process.",
		check: func(b *bench) {
			other := b.open()
			other.wait(b.ctx, 1)
			began := time.Now()
			other.close()
			b.took("Close while Reserve waits", time.Since(began), b.prompt())
		},
	},
	{
		Name: "close-may-be-called-again",
		Why:  "Close is called by a defer and by a signal handler, from different goroutines. The second has nothing to do and nothing to complain about.",
		check: func(b *bench) {
			other := b.open()
			b.together(8, func(int) {
				if err := other.Backend.Close(); err != nil {
					b.fail("one of several Close at once returned %s, want no error", outcome(err))
				}
			})
			if err := other.Backend.Close(); err != nil {
				b.fail("Close after Close returned %s, want no error", outcome(err))
			}
		},
	},
	{
		Name: "after-close-every-verb-fails",
		Why:  "A call on a closed backend must say so, instead of hanging, panicking or reaching into a connection that somebody else uses by now.",
		check: func(b *bench) {
			b.A.push(b.message())
			other := b.open()
			d := other.lent()
			other.close()
			for _, call := range other.calls(d, b.message()) {
				began := time.Now()
				b.wantError(call.name+" after Close", call.do(b.ctx), backend.ErrClosed)
				b.took(call.name+" after Close", time.Since(began), b.prompt())
			}
		},
	},
	{
		Name: "with-an-ended-context-every-verb-fails",
		Why:  "A caller that has given up must not wait for the broker, and must see from the error that it was its own doing.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			ended, cancel := context.WithCancel(b.ctx)
			cancel()
			for _, call := range b.A.calls(d, b.message()) {
				began := time.Now()
				b.wantError(call.name+" with an ended context", call.do(ended), context.Canceled)
				b.took(call.name+" with an ended context", time.Since(began), b.prompt())
			}
		},
	},
	{
		Name: "close-gives-loans-back",
		Why:  "What a closed process has not settled must run elsewhere, by the end of its lease at the latest.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 3)
			b.A.push(messages...)
			other := b.open()
			other.takeFor(b.Lease, 3)
			began := time.Now()
			other.close()
			deliveries := b.A.take(3)
			b.took("the return of messages on loan after Close", time.Since(began), b.expiry()+b.prompt())
			b.each(deliveries, messages...)
		},
	},
	{
		Name: "close-leaves-other-connections-alone",
		Why:  "Another process, or another queue of this one, goes on working.",
		check: func(b *bench) {
			m := b.message()
			b.A.push(b.message())
			d := b.A.one()
			w := b.A.wait(b.ctx, 1)
			other := b.open()
			other.push(b.messagesFor(b.queueNamed("elsewhere"), 1)...)
			other.close()
			w.isStillWaiting()
			b.A.ack(d)
			b.open().push(m)
			b.sameMessage(w.one(b.prompt(), "a Push"), m)
		},
	},
	{
		Name: "close-leaves-messages-alone",
		Why:  "Messages live in the broker. A service that restarts must find what it left: ready and scheduled.",
		check: func(b *bench) {
			ready, scheduled := b.full(), b.full()
			scheduled.Delay = b.delays(2)
			b.A.push(ready, scheduled)
			b.A.close()
			again := b.open()
			first := again.one()
			b.sameMessage(first, ready)
			b.sameMessage(again.one(), scheduled)
		},
	},
}

func (c *conn) close() {
	s := c.begin("Close", "")
	err := c.Backend.Close()
	s.end(outcome(err))
	c.must("Close", err)
}

// call is a method of a backend with arguments that are valid.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// calls returns every call that takes a context, the optional ones as far as
// the backend has them. d is on loan, m is a message to store.
func (c *conn) calls(d *backend.Delivery, m *backend.Message) []call {
	deliveries, queue, again := []*backend.Delivery{d}, m.Queue, d.Message
	all := []call{
		{"Push", func(ctx context.Context) error { return c.Push(ctx, []*backend.Message{m}) }},
		{"Reserve", func(ctx context.Context) error {
			_, err := c.Reserve(ctx, []string{queue}, 1, c.bench.Lease)
			return err
		}},
		{"Ack", func(ctx context.Context) error { return c.Ack(ctx, deliveries) }},
		{"Retry", func(ctx context.Context) error {
			return c.Retry(ctx, []backend.Replacement{{Delivery: d, Message: &again}})
		}},
		{"Release", func(ctx context.Context) error { return c.Release(ctx, deliveries, 0) }},
		{"Bury", func(ctx context.Context) error { return c.Bury(ctx, []backend.Burial{burial(d)}) }},
	}
	if extender, ok := backend.As[backend.Extender](c.Backend); ok {
		all = append(all, call{"Extend", func(ctx context.Context) error { return extender.Extend(ctx, deliveries, c.bench.Lease) }})
	}
	if inspector, ok := backend.As[backend.Inspector](c.Backend); ok {
		all = append(all,
			call{"Queues", func(ctx context.Context) error { _, err := inspector.Queues(ctx); return err }},
			call{"Stats", func(ctx context.Context) error { _, err := inspector.Stats(ctx, queue); return err }})
	}
	if lister, ok := backend.As[backend.Lister](c.Backend); ok {
		all = append(all, call{"Peek", func(ctx context.Context) error {
			_, err := lister.Peek(ctx, queue, backend.Dead, 0, 1)
			return err
		}})
	}
	if set, ok := backend.As[backend.DeadSet](c.Backend); ok {
		all = append(all,
			call{"Requeue", func(ctx context.Context) error { _, err := set.Requeue(ctx, queue, "1"); return err }},
			call{"Delete", func(ctx context.Context) error { _, err := set.Delete(ctx, queue, "1"); return err }})
	}
	if remover, ok := backend.As[backend.Remover](c.Backend); ok {
		all = append(all, call{"Remove", func(ctx context.Context) error {
			_, err := remover.Remove(ctx, queue, backend.Filter{ID: "none"})
			return err
		}})
	}
	if purger, ok := backend.As[backend.Purger](c.Backend); ok {
		all = append(all, call{"Purge", func(ctx context.Context) error { _, err := purger.Purge(ctx, queue); return err }})
	}
	if pauser, ok := backend.As[backend.Pauser](c.Backend); ok {
		all = append(all,
			call{"Pause", func(ctx context.Context) error { return pauser.Pause(ctx, queue) }},
			call{"Resume", func(ctx context.Context) error { return pauser.Resume(ctx, queue) }})
	}
	if checker, ok := backend.As[backend.Checker](c.Backend); ok {
		all = append(all, call{"Check", func(ctx context.Context) error { _, err := checker.Check(ctx); return err }})
	}
	return all
}
