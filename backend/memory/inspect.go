package memory

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/goferhq/queue/backend"
)

// Queues implements backend.Inspector.
func (c *Backend) Queues(ctx context.Context) ([]string, error) {
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer c.broker.unlock()
	names := make([]string, len(c.broker.sorted))
	for i, l := range c.broker.sorted {
		names[i] = l.name
	}
	return names, nil
}

// Stats implements backend.Inspector.
func (c *Backend) Stats(ctx context.Context, queue string) (backend.Stats, error) {
	s := backend.Stats{Queue: queue}
	err := c.with(ctx, queue, func(l *line) {
		s.Ready, s.Scheduled = int64(l.ready), int64(l.scheduled)
		s.Reserved, s.Dead = int64(l.reserved), int64(l.dead.len)
		s.Paused = l.paused
	})
	return s, err
}

// with calls f, under the lock, for the line of queue when there is one.
func (c *Backend) with(ctx context.Context, queue string, f func(*line)) error {
	if err := backend.CheckQueueName(queue); err != nil {
		return err
	}
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.broker.unlock()
	if l := c.broker.lines[queue]; l != nil {
		f(l)
	}
	return nil
}

// Peek implements backend.Lister, for every state.
func (c *Backend) Peek(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
	if offset < 0 || limit < 0 {
		return nil, fmt.Errorf("%w: Peek with offset %d and limit %d", backend.ErrInvalid, offset, limit)
	}
	if state < backend.Ready || state > backend.Dead {
		return nil, fmt.Errorf("%w: Peek at state %d", backend.ErrInvalid, state)
	}
	var entries []*backend.Entry
	err := c.with(ctx, queue, func(l *line) {
		for j := range c.broker.in(l, state) {
			if len(entries) == limit {
				return
			}
			if offset > 0 {
				offset--
				continue
			}
			entries = append(entries, c.broker.entry(j))
		}
	})
	return entries, err
}

// in yields the jobs of a line that are in a state, in the order of Peek. Its
// user must not change the line.
func (b *Broker) in(l *line, state backend.State) iter.Seq[*job] {
	switch state {
	case backend.Ready:
		return l.all
	case backend.Dead:
		return l.dead.all
	default:
		return slices.Values(b.timedOf(l, state))
	}
}

// timedOf returns the scheduled or the reserved jobs of a line by due time.
func (b *Broker) timedOf(l *line, state backend.State) []*job {
	var jobs []*job
	for j := range b.timed.all {
		if j.line == l && j.state == state {
			jobs = append(jobs, j)
		}
	}
	slices.SortFunc(jobs, func(x, y *job) int {
		return cmp.Or(cmp.Compare(x.due, y.due), cmp.Compare(x.sequence, y.sequence))
	})
	return jobs
}

func (b *Broker) entry(j *job) *backend.Entry {
	e := &backend.Entry{
		Message:   j.message,
		State:     j.state,
		Raw:       j.raw,
		Malformed: j.malformed,
	}
	if j.malformed != nil {
		e.Message = backend.Message{Queue: j.line.name}
	}
	if j.grave != nil {
		failure := j.grave.failure
		e.Key, e.Failure = j.grave.key, &failure
	}
	if j.state == backend.Scheduled {
		e.DueAt = b.timeOf(j.due)
	}
	return e
}

// Requeue implements backend.DeadSet.
func (c *Backend) Requeue(ctx context.Context, queue string, keys ...string) (int, error) {
	return c.unbury(ctx, queue, keys, func(j *job) {
		b := c.broker
		if j.malformed != nil {
			b.putRaw(queue, j.raw)
			return
		}
		j.message.Attempt, j.deliveries, j.grave = 0, 0, nil
		b.enter(j)
	})
}

// Delete implements backend.DeadSet.
func (c *Backend) Delete(ctx context.Context, queue string, keys ...string) (int, error) {
	return c.unbury(ctx, queue, keys, func(*job) {})
}

func (c *Backend) unbury(ctx context.Context, queue string, keys []string, f func(*job)) (int, error) {
	n := 0
	err := c.with(ctx, queue, func(l *line) {
		wanted := make(map[string]bool, len(keys))
		for _, key := range keys {
			wanted[key] = true
		}
		for j := range l.dead.all {
			if wanted[j.grave.key] {
				n++
				l.dead.remove(j)
				f(j)
			}
		}
	})
	return n, err
}

// Remove implements backend.Remover.
func (c *Backend) Remove(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
	match, err := backend.MatchAny(filters)
	if err != nil {
		return 0, err
	}
	if slices.ContainsFunc(filters, func(f backend.Filter) bool { return f.ID == "" }) {
		return c.remove(ctx, queue, func(j *job) bool { return match(&j.message) })
	}
	n := 0
	err = c.with(ctx, queue, func(l *line) {
		for _, f := range filters {
			for j := c.broker.ids[f.ID]; j != nil; {
				twin := j.twin
				if j.line == l && j.state != backend.Reserved && match(&j.message) {
					c.broker.forget(j)
					n++
				}
				j = twin
			}
		}
	})
	return n, err
}

// Purge implements backend.Purger.
func (c *Backend) Purge(ctx context.Context, queue string) (int, error) {
	return c.remove(ctx, queue, func(*job) bool { return true })
}

// remove deletes the ready and scheduled jobs of a queue that match.
func (c *Backend) remove(ctx context.Context, queue string, match func(*job) bool) (int, error) {
	n := 0
	err := c.with(ctx, queue, func(l *line) {
		var matching []*job
		for _, state := range []backend.State{backend.Ready, backend.Scheduled} {
			for j := range c.broker.in(l, state) {
				if match(j) {
					matching = append(matching, j)
				}
			}
		}
		for _, j := range matching {
			c.broker.forget(j)
		}
		n = len(matching)
	})
	return n, err
}

// Pause implements backend.Pauser.
func (c *Backend) Pause(ctx context.Context, queue string) error {
	return c.setPaused(ctx, queue, true)
}

// Resume implements backend.Pauser.
func (c *Backend) Resume(ctx context.Context, queue string) error {
	return c.setPaused(ctx, queue, false)
}

func (c *Backend) setPaused(ctx context.Context, queue string, paused bool) error {
	if err := backend.CheckQueueName(queue); err != nil {
		return err
	}
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.broker.unlock()
	c.broker.line(queue).paused = paused
	return nil
}
