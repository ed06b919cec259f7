package backendtest_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/store"
)

// manageMutants break what people do with a queue.
var manageMutants = []mutant{
	{"requeues with the attempts spent", func(c *broken) {
		c.requeue = func(ctx context.Context, queue string, keys ...string) (int, error) {
			entries, _ := c.reference.Peek(ctx, queue, backend.Dead, 0, 100)
			for _, entry := range entries {
				c.shared.add(entry.ID, entry.Attempt)
			}
			return c.reference.Requeue(ctx, queue, keys...)
		}
		c.onReserve(func(d *backend.Delivery) { d.Attempt += c.shared.add(d.ID, 0) })
	}, []string{
		"dead/requeue-starts-anew",
		"dead/requeue-wakes-a-waiting-reserve",
	}},
	{"takes a key that is gone for an error", func(c *broken) {
		c.requeue = func(ctx context.Context, queue string, keys ...string) (int, error) {
			n, err := c.reference.Requeue(ctx, queue, keys...)
			if err == nil && n < len(keys) {
				return n, errors.New("not found")
			}
			return n, err
		}
	}, []string{
		"dead/is-one-for-each-queue",
		"dead/skips-keys-that-are-gone",
	}},
	{"requeues all of the dead", func(c *broken) {
		c.requeue = func(ctx context.Context, queue string, keys ...string) (int, error) {
			if len(keys) == 2 {
				entries, _ := c.reference.Peek(ctx, queue, backend.Dead, 0, 100)
				for _, entry := range entries {
					keys = append(keys, entry.Key)
				}
				c.reference.Requeue(ctx, queue, keys...)
				return 2, nil
			}
			return c.reference.Requeue(ctx, queue, keys...)
		}
	}, []string{
		"dead/requeue-takes-just-the-keys-that-it-is-given",
	}},
	{"deletes by ID", func(c *broken) {
		c.delete = func(ctx context.Context, queue string, keys ...string) (int, error) {
			entries, _ := c.reference.Peek(ctx, queue, backend.Dead, 0, 100)
			for _, entry := range entries {
				if slices.Contains(keys, entry.Key) {
					for _, other := range entries {
						if other.ID == entry.ID {
							keys = append(keys, other.Key)
						}
					}
				}
			}
			return c.reference.Delete(ctx, queue, keys...)
		}
	}, []string{
		"dead/tells-copies-of-one-id-apart",
	}},
	{"deletes nothing", func(c *broken) {
		c.delete = func(ctx context.Context, queue string, keys ...string) (int, error) {
			if len(keys) == 2 {
				return 2, nil
			}
			return c.reference.Delete(ctx, queue, keys...)
		}
	}, []string{
		"dead/delete-takes-just-the-keys-that-it-is-given",
	}},
	{"shows the newest of the dead first", func(c *broken) {
		c.peek = func(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
			entries, err := c.reference.Peek(ctx, queue, state, offset, limit)
			if state == backend.Dead && len(entries) == 5 {
				slices.Reverse(entries)
			}
			return entries, err
		}
	}, []string{
		"inspect/peek-shows-the-dead-oldest-first",
	}},
	{"ignores the offset of Peek", func(c *broken) {
		c.peek = func(ctx context.Context, queue string, state backend.State, _, limit int) ([]*backend.Entry, error) {
			return c.reference.Peek(ctx, queue, state, 0, limit)
		}
	}, []string{
		"inspect/peek-shows-pages",
	}},
	{"counts an attempt for Peek", func(c *broken) {
		c.peek = func(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
			if state == backend.Ready && limit == 10 {
				look, cancel := context.WithTimeout(ctx, time.Millisecond)
				defer cancel()
				if deliveries, err := c.reference.Reserve(look, []string{queue}, 1, time.Minute); err == nil {
					m := deliveries[0].Message
					c.reference.Retry(ctx, []backend.Replacement{{Delivery: deliveries[0], Message: &m}})
				}
			}
			return c.reference.Peek(ctx, queue, state, offset, limit)
		}
	}, []string{
		"inspect/peek-takes-nothing",
	}},
	{"shows scheduled messages without their time", func(c *broken) {
		c.peek = func(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
			entries, err := c.reference.Peek(ctx, queue, state, offset, limit)
			for _, entry := range entries {
				entry.DueAt = time.Time{}
			}
			return entries, err
		}
	}, []string{
		"inspect/peek-shows-scheduled-messages-by-due-time",
	}},
	{"counts what is reserved as ready", func(c *broken) {
		c.stats = func(ctx context.Context, queue string) (backend.Stats, error) {
			s, err := c.reference.Stats(ctx, queue)
			s.Ready, s.Reserved = s.Ready+s.Reserved, 0
			return s, err
		}
	}, []string{
		"inspect/stats-count-each-state",
		"inspect/stats-follow-what-is-settled",
	}},
	{"takes an unknown queue for an error", func(c *broken) {
		c.stats = func(ctx context.Context, queue string) (backend.Stats, error) {
			s, err := c.reference.Stats(ctx, queue)
			if err == nil && s == (backend.Stats{Queue: queue}) {
				return s, errors.New("no such queue")
			}
			return s, err
		}
	}, []string{
		"inspect/stats-of-an-unknown-queue-are-empty",
	}},
	{"lists queues in no order", func(c *broken) {
		c.queues = func(ctx context.Context) ([]string, error) {
			names, err := c.reference.Queues(ctx)
			slices.Reverse(names)
			return names, err
		}
	}, []string{
		"inspect/queues-lists-what-has-messages",
	}},
	{"forgets the kind of a filter with an ID", func(c *broken) {
		c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
			filters = slices.Clone(filters)
			for i := range filters {
				if filters[i].ID != "" {
					filters[i].Kind = ""
				}
			}
			return c.reference.Remove(ctx, queue, filters...)
		}
	}, []string{
		"manage/remove-takes-what-matches-every-field",
	}},
	{"takes an empty filter for all", func(c *broken) {
		c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
			for _, f := range filters {
				if f.ID == "" && f.Kind == "" && f.Args == nil {
					return c.reference.Purge(ctx, queue)
				}
			}
			return c.reference.Remove(ctx, queue, filters...)
		}
	}, []string{
		"manage/remove-by-an-empty-filter-is-invalid",
	}},
	{"purges the dead", func(c *broken) {
		c.purge = func(ctx context.Context, queue string) (int, error) {
			entries, _ := c.reference.Peek(ctx, queue, backend.Dead, 0, 100)
			for _, entry := range entries {
				c.reference.Delete(ctx, queue, entry.Key)
			}
			return c.reference.Purge(ctx, queue)
		}
	}, []string{
		"manage/purge-leaves-reserved-and-dead-alone",
	}},
	{"leaves the scheduled in Purge", func(c *broken) {
		c.purge = func(ctx context.Context, queue string) (int, error) {
			scheduled, _ := c.reference.Peek(ctx, queue, backend.Scheduled, 0, 100)
			n, err := c.reference.Purge(ctx, queue)
			for _, entry := range scheduled {
				entry.Message.Delay = time.Until(entry.DueAt)
				c.reference.Push(ctx, []*backend.Message{&entry.Message})
			}
			return n, err
		}
	}, []string{
		"manage/purge-empties-the-line",
	}},
	{"does not pause", func(c *broken) {
		c.pause = c.reference.Resume
	}, []string{
		"all-queues/pass-a-paused-one-over",
		"manage/pause-holds-back-what-comes-due",
		"manage/pause-leaves-other-queues-alone",
		"manage/pause-lets-what-runs-be-settled",
		"manage/pause-shows-in-stats",
		"manage/pause-stops-a-reserve-that-waits-already",
		"manage/pause-stops-the-queue-for-every-connection",
	}},
	{"does not pause what waits already", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			for _, queue := range queues {
				c.shared.add(queue, 1)
				defer c.shared.add(queue, -1)
			}
			return c.reference.Reserve(ctx, queues, max, lease)
		}
		c.pause = func(ctx context.Context, queue string) error {
			if c.shared.add(queue, 0) > 0 {
				return ctx.Err()
			}
			return c.reference.Pause(ctx, queue)
		}
	}, []string{
		"manage/pause-stops-a-reserve-that-waits-already",
	}},
	{"claims unique IDs and has none", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			err := c.reference.Push(ctx, messages)
			for _, m := range messages {
				c.shared.mu.Lock()
				again := c.shared.pushed[m.ID] != nil
				c.shared.pushed[m.ID] = m
				c.shared.mu.Unlock()
				if again && err == nil {
					c.double(m)
				}
			}
			return err
		}
	}, []string{
		"unique/id-that-is-ready-is-not-stored-again",
		"unique/id-that-is-reserved-is-not-stored-again",
		"unique/id-that-is-scheduled-is-not-stored-again",
		"unique/id-twice-in-a-batch-is-stored-once",
	}},
	{"remembers IDs for ever", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			if len(messages) == 1 && messages[0].ID != "" && messages[0].Header == nil {
				c.shared.mu.Lock()
				again := c.shared.pushed[messages[0].ID] != nil
				c.shared.pushed[messages[0].ID] = messages[0]
				c.shared.mu.Unlock()
				if again {
					return ctx.Err()
				}
			}
			return c.reference.Push(ctx, messages)
		}
	}, []string{
		"dead/tells-copies-of-one-id-apart",
		"unique/id-that-is-gone-is-stored-again",
	}},
	{"makes a store for each call", func(c *broken) {
		c.store = func() store.Store { return store.NewMemory() }
	}, []string{
		"store/keeps-what-is-set",
	}},
}
