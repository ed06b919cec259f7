package beanstalkd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// Ack settles jobs as done; see [backend.Backend].
func (b *Backend) Ack(ctx context.Context, deliveries []*backend.Delivery) error {
	return b.settle(ctx, "ack", deliveries, nil, func(claims []claim) {
		b.command(claims, wire.Deleted, func(request []byte, c *claim) []byte {
			return appendCommand(request, "delete", c.receipt.id)
		})
	})
}

// Release gives jobs back unspent; see [backend.Backend].
func (b *Backend) Release(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
	if delay < 0 {
		return fmt.Errorf("%w: negative delay %v", backend.ErrInvalid, delay)
	}
	if most := b.Limits().MaxDelay; delay > most {
		return fmt.Errorf("%w: delay of %v, at most %v is possible", backend.ErrUnsupported, delay, most)
	}
	return b.settle(ctx, "release", deliveries, nil, func(claims []claim) { b.release(claims, delay) })
}

func (b *Backend) release(claims []claim, delay time.Duration) {
	b.command(claims, wire.Released, func(request []byte, c *claim) []byte {
		request = append(strconv.AppendUint(append(request, "release "...), c.receipt.id, 10), ' ')
		request = append(strconv.AppendUint(request, uint64(c.receipt.priority), 10), ' ')
		return append(strconv.AppendInt(request, seconds(delay), 10), '\r', '\n')
	})
}

// giveBack releases what nobody is going to have, also while the backend is
// closing.
func (b *Backend) giveBack(deliveries []*backend.Delivery) {
	s := &settlement{verb: "release", done: make(chan struct{})}
	claims := make([]claim, 0, len(deliveries))
	for _, d := range deliveries {
		if r, _ := b.claim(context.Background(), s, d); r != nil {
			claims = append(claims, claim{receipt: r})
		}
	}
	b.release(claims, 0)
	s.conclude(claims)
}

// Retry puts a new job for each delivery, and then deletes the old one. A crash
// in between leaves both, and so may an error that tells nothing else.
func (b *Backend) Retry(ctx context.Context, replacements []backend.Replacement) error {
	deliveries := make([]*backend.Delivery, len(replacements))
	for i, r := range replacements {
		deliveries[i] = r.Delivery
	}
	return b.settle(ctx, "retry", deliveries, func(c *claim) {
		m := replacements[c.place].Message
		c.puts = new(puts)
		c.err = c.puts.add(b, m, m.Delay)
	}, func(claims []claim) {
		b.replace(claims, func(request []byte, c *claim) ([]byte, int) {
			return appendCommand(request, "delete", c.receipt.id), 1
		})
	})
}

// Bury buries a copy that has the failure, and then deletes the job itself. A
// copy that was stored and not buried, because of a crash in between, is buried
// by whoever reserves it.
func (b *Backend) Bury(ctx context.Context, burials []backend.Burial) error {
	deliveries := make([]*backend.Delivery, len(burials))
	for i, burial := range burials {
		deliveries[i] = burial.Delivery
	}
	return b.settle(ctx, "bury", deliveries, func(c *claim) {
		c.puts = b.buried(c.receipt, burials[c.place])
	}, func(claims []claim) {
		b.replace(claims, func(request []byte, c *claim) ([]byte, int) {
			if c.stored == 0 { // no room for the failure beside the job
				return appendBury(request, c.receipt.id, c.receipt.priority), 1
			}
			request = appendCommand(request, "reserve-job", c.stored)
			request = appendBury(request, c.stored, c.receipt.priority)
			return appendCommand(request, "delete", c.receipt.id), 3
		})
	})
}

// unfinished is how long a copy that is to be buried is held back from workers.
const unfinished = time.Minute

// buried encodes what is buried, if there is room for it.
func (b *Backend) buried(r *receipt, burial backend.Burial) *puts {
	lease := int(r.ttr / time.Second)
	body, ok := buriedBody(burial, lease, b.maxBody)
	if !ok {
		return nil
	}
	p := new(puts)
	p.command(r.tube, unfinishedPriority(r.priority), seconds(unfinished), lease, body)
	return p
}

// replace stores what is to replace the jobs of claims, each on the server of
// its job, and then makes the commands of finish, the last of which takes the
// old job away.
func (b *Backend) replace(claims []claim, finish func(request []byte, c *claim) ([]byte, int)) {
	var all sync.WaitGroup
	for _, s := range b.servers {
		var items []put
		var stores []*claim
		for i := range claims {
			if c := &claims[i]; c.receipt.consumer.server == s && c.err == nil && c.puts != nil {
				items, stores = append(items, c.puts.items...), append(stores, c)
			}
		}
		if len(items) == 0 {
			continue
		}
		all.Go(func() {
			ids := make([]uint64, len(items))
			conn, err := s.put(context.Background(), items, ids)
			for i, c := range stores {
				c.stored, c.conn, c.err = ids[i], conn, backend.ErrorAt(err, i)
				if items[i].message == nil && errors.Is(c.err, backend.ErrTooLarge) {
					c.err = nil // it is buried as it is
				}
			}
		})
	}
	all.Wait()
	b.exchange(claims, finish, func(c *claim, replies []wire.Reply) {
		switch last := replies[len(replies)-1]; last.Word {
		case wire.Deleted, wire.Buried:
		case wire.NotFound:
			c.err = backend.ErrLeaseLost
			c.takeBack()
		default:
			c.err = c.receipt.consumer.server.refused(last)
		}
	})
}

// takeBack deletes what was stored to replace a job that turned out to be lost.
func (c *claim) takeBack() {
	if c.stored != 0 {
		c.conn.Start(appendCommand(nil, "delete", c.stored), 1, 0)
	}
}

// command makes one command for each claim, whose reply should be want.
func (b *Backend) command(claims []claim, want string, write func(request []byte, c *claim) []byte) {
	b.exchange(claims, func(request []byte, c *claim) ([]byte, int) {
		return write(request, c), 1
	}, func(c *claim, replies []wire.Reply) {
		switch replies[0].Word {
		case want:
		case wire.NotFound:
			c.err = backend.ErrLeaseLost
		default:
			c.err = c.receipt.consumer.server.refused(replies[0])
		}
	})
}

// exchange makes the commands of claims that have not failed, each over its own
// connection, all of one connection together. A job whose connection is lost is
// lost with it.
func (b *Backend) exchange(claims []claim, write func(request []byte, c *claim) ([]byte, int), read func(c *claim, replies []wire.Reply)) {
	var live []*claim
	var receipts []*receipt
	for i := range claims {
		if c := &claims[i]; c.err == nil {
			live, receipts = append(live, c), append(receipts, c.receipt)
		}
	}
	counts := make([]int, len(live)) // of the commands of each
	parts := byConsumer(receipts)
	calls := make([]*wire.Call, len(parts))
	for i, p := range parts {
		var request []byte
		commands := 0
		for _, place := range p.places {
			request, counts[place] = write(request, live[place])
			commands += counts[place]
		}
		calls[i] = p.consumer.conn.Start(request, commands, 0)
	}
	for i, p := range parts {
		<-calls[i].Done
		replies := calls[i].Replies
		for _, place := range p.places {
			c, n := live[place], counts[place]
			switch {
			case len(replies) >= n:
				read(c, replies[:n])
				replies = replies[n:]
			case b.life.Err() != nil:
				c.err = backend.ErrClosed
			default:
				replies = nil
				if errors.Is(calls[i].Err, wire.ErrNotSent) {
					c.takeBack()
				}
				c.err = fmt.Errorf("%w: beanstalkd at %s: %w", backend.ErrLeaseLost, p.consumer.server.address, calls[i].Err)
			}
		}
	}
}
