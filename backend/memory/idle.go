package memory

import (
	"context"
	"slices"

	"github.com/goferhq/queue/backend"
)

// idler is a call of Idle.
type idler struct {
	backend *Backend
	lines   []*line
	done    chan error // of capacity 1
}

// Idle waits until the named queues hold no message that is ready or
// reserved. Scheduled and dead messages do not count, nor do ready ones of a
// paused queue. It is how a test waits for workers to have done all there is
// to do, without asking again and again.
func (c *Backend) Idle(ctx context.Context, queues ...string) error {
	for _, name := range queues {
		if err := backend.CheckQueueName(name); err != nil {
			return err
		}
	}
	if err := c.lock(ctx); err != nil {
		return err
	}
	b := c.broker
	i := &idler{backend: c, done: make(chan error, 1)}
	for _, name := range queues {
		i.lines = append(i.lines, b.line(name))
	}
	b.idlers = append(b.idlers, i)
	b.unlock()
	select {
	case err := <-i.done:
		return err
	case <-ctx.Done():
	}
	b.mu.Lock()
	b.idlers = slices.DeleteFunc(b.idlers, func(other *idler) bool { return other == i })
	b.mu.Unlock()
	return ctx.Err()
}

func (b *Broker) wakeIdlers() {
	if len(b.idlers) == 0 {
		return
	}
	b.idlers = slices.DeleteFunc(b.idlers, func(i *idler) bool {
		for _, l := range i.lines {
			if l.reserved > 0 || l.first() != nil {
				return false
			}
		}
		i.done <- nil
		return true
	})
}
