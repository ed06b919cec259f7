package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/goferhq/queue/backend"
)

var concurrency = []Case{
	{
		Name: "eight-producers-and-eight-consumers-lose-and-double-nothing",
		Why:  "This is the use that a driver is made for. Without any fault each message is to be handed out and settled once: what is lost or doubled here shows a race in the driver or in what it asks of the broker.",
		check: func(b *bench) {
			const producers, consumers, batches, size = 8, 8, 20, 10
			const total = producers * batches * size
			conns := []*conn{b.A, b.open(), b.open(), b.open()}
			ctx, cancel := context.WithCancel(b.ctx)
			defer cancel()
			done := newTally(total, cancel)
			b.together(producers+consumers, func(i int) {
				c := conns[i%len(conns)]
				if i >= producers {
					c.consume(ctx, done, 1+i)
					return
				}
				for range batches {
					if err := c.Push(b.ctx, b.messagesFor(b.queue, size)); err != nil {
						b.fail("Push failed: %v", err)
					}
				}
			})
			done.check(b, 1)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "retries-and-releases-under-load-lose-and-double-nothing",
		Why:  "Settling moves messages while others take them. Each is to be there exactly once after every move.",
		check: func(b *bench) {
			const total, consumers = 300, 8
			conns := []*conn{b.A, b.open(), b.open()}
			ctx, cancel := context.WithCancel(b.ctx)
			defer cancel()
			done := newTally(total, cancel)
			b.A.push(b.messagesFor(b.queue, total)...)
			b.together(consumers, func(i int) {
				c := conns[i%len(conns)]
				c.consumeBy(ctx, 5, func(deliveries []*backend.Delivery) error {
					var last, back []*backend.Delivery
					var again []backend.Replacement
					for i, d := range deliveries {
						switch m := d.Message; {
						case d.Attempt >= 3:
							last = append(last, d)
						case i%4 == 3: // not every one, or they would go round for ever
							back = append(back, d)
						default:
							again = append(again, backend.Replacement{Delivery: d, Message: &m})
						}
					}
					done.add(last...)
					return errors.Join(c.Ack(b.ctx, last), c.Release(b.ctx, back, 0), c.Retry(b.ctx, again))
				})
			})
			done.check(b, 1)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "many-waiters-and-one-message",
		Why:  "Every worker waits for the next message, and one of them gets it. If two do the job runs twice; if none does the wake-up went to one who had left.",
		check: func(b *bench) {
			const waiters = 16
			conns := []*conn{b.A, b.open(), b.open(), b.open()}
			ctx, cancel := context.WithCancel(b.ctx)
			defer cancel()
			got := make(chan *waiting, waiters)
			for i := range waiters {
				w := conns[i%len(conns)].wait(ctx, 1)
				b.spawn(func() { <-w.done; got <- w })
			}
			m := b.message()
			b.open().push(m)
			first := <-got
			b.sameMessage(first.one(b.prompt(), "a Push"), m)
			b.sleep(b.quiet())
			cancel()
			for range waiters - 1 {
				w := <-got
				if len(w.deliveries) > 0 {
					b.fail("two waiting Reserves were given %s and %s", m.ID, deliveryNames(w.deliveries))
				}
				b.wantError("a waiting Reserve that was given nothing", w.err, context.Canceled)
			}
		},
	},
	{
		Name: "many-waiters-and-as-many-messages",
		Why:  "Each message must wake a worker. If two wake-ups go to the same one, a message lies there while workers wait for it.",
		check: func(b *bench) {
			const waiters = 8
			conns := []*conn{b.A, b.open()}
			var waits []*waiting
			for i := range waiters {
				waits = append(waits, conns[i%len(conns)].wait(b.ctx, 1))
			}
			messages := b.messagesFor(b.queue, waiters)
			producer := b.open()
			producer.push(messages[0], messages[1])
			for _, m := range messages[2:] {
				producer.push(m)
			}
			var deliveries []*backend.Delivery
			for _, w := range waits {
				deliveries = append(deliveries, w.one(b.prompt(), fmt.Sprintf("a Push for each of %d", waiters)))
			}
			b.each(deliveries, messages...)
		},
	},
	{
		Name: "a-delivery-is-settled-by-one-of-two-at-once",
		Why:  "A handler that ends in the moment in which its worker is stopped is settled from two sides. One of them must be told that it came too late.",
		check: func(b *bench) {
			for round := range 24 {
				b.A.push(b.message())
				d := b.A.one()
				pair := []verb{settling[round%4], settling[round/4%4]}
				errs := make([]error, 2)
				b.together(2, func(i int) { errs[i] = backend.ErrorAt(b.A.try(pair[i], d), 0) })
				switch {
				case errs[0] == nil && errs[1] == nil:
					b.fail("%s and %s of the same delivery at once both succeeded", pair[0].name, pair[1].name)
				case errs[0] != nil && errs[1] != nil:
					b.fail("%s and %s of the same delivery at once both failed: %v, %v", pair[0].name, pair[1].name, errs[0], errs[1])
				}
				b.wantError("the later of two settles at once", errors.Join(errs...), backend.ErrLeaseLost)
				winner := pair[0]
				if errs[0] != nil {
					winner = pair[1]
				}
				if winner.name == retrying.name || winner.name == releasing.name {
					b.A.ack(b.A.one())
				}
			}
			b.A.nothing(b.quiet())
		},
	},
}

// tally counts how often each message was settled.
type tally struct {
	mu       sync.Mutex // guards count
	count    map[string]int
	total    int
	complete func() // called when total messages have been settled
}

func newTally(total int, complete func()) *tally {
	return &tally{count: make(map[string]int), total: total, complete: complete}
}

func (t *tally) add(deliveries ...*backend.Delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range deliveries {
		t.count[d.ID]++
	}
	if len(t.count) >= t.total {
		t.complete()
	}
}

// check fails the case unless each of the messages was settled so many times.
func (t *tally) check(b *bench, times int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.count) != t.total {
		b.fail("%d messages were settled, want %d", len(t.count), t.total)
	}
	for id, n := range t.count {
		if n != times {
			b.fail("message %s was settled %d times, want %d", id, n, times)
		}
	}
}

// consume acks batches of up to max until ctx ends.
func (c *conn) consume(ctx context.Context, done *tally, max int) {
	c.consumeBy(ctx, max, func(deliveries []*backend.Delivery) error {
		done.add(deliveries...)
		return c.Ack(c.bench.ctx, deliveries)
	})
}

// consumeBy reserves batches and settles them until ctx ends, or nothing has
// come for so long that nothing will.
func (c *conn) consumeBy(ctx context.Context, max int, settle func([]*backend.Delivery) error) {
	const most = 5000 // batches; more go round in a circle
	lease := c.bench.longLease()
	for round := 0; ctx.Err() == nil; round++ {
		if round == most {
			c.bench.fail("after %d batches of one consumer the messages are not settled", most)
		}
		waitCtx, cancel := context.WithTimeout(ctx, c.bench.patience())
		deliveries, err := c.Reserve(waitCtx, []string{c.bench.queue}, max, lease)
		late := waitCtx.Err() != nil
		cancel()
		if err == nil {
			err = settle(deliveries)
			late = false
		}
		switch {
		case late:
			return
		case err != nil:
			c.bench.fail("a consumer failed: %v", err)
		}
	}
}
