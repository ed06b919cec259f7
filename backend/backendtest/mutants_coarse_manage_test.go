package backendtest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

// coarseManageMutants do what coarseMutants do, to foreign messages and to
// what people do with a queue.
var coarseManageMutants = []mutant{
	{"gives foreign messages a limit", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) {
			if d.Raw != nil && d.Malformed == nil && d.MaxAttempts == 0 {
				d.MaxAttempts = 5
			}
		})
	}, []string{
		"foreign/a-foreign-message-runs-with-defaults",
	}},
	{"keeps no raw bytes", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) { d.Raw = nil })
	}, []string{
		"poison/can-be-released",
		"poison/comes-back-from-the-dead-as-it-was",
		"poison/is-delivered-again-after-its-lease",
		"poison/of-a-byte-order-mark",
		"poison/of-a-key-twice",
		"poison/of-a-kind-that-is-a-number",
		"poison/of-a-kind-that-is-empty",
		"poison/of-a-list",
		"poison/of-a-lone-surrogate",
		"poison/of-a-number",
		"poison/of-a-number-beyond-all",
		"poison/of-a-string",
		"poison/of-a-time-that-is-none",
		"poison/of-a-truncated-object",
		"poison/of-an-attempt-below-zero",
		"poison/of-an-attempt-beyond-all",
		"poison/of-an-attempt-that-is-text",
		"poison/of-an-empty-object",
		"poison/of-an-object-of-others",
		"poison/of-blanks",
		"poison/of-deep-nesting",
		"poison/of-deep-nesting-unclosed",
		"poison/of-deep-nesting-within",
		"poison/of-every-byte",
		"poison/of-headers-that-are-a-list",
		"poison/of-huge",
		"poison/of-invalid-utf8",
		"poison/of-invalid-utf8-within",
		"poison/of-line-breaks",
		"poison/of-nul",
		"poison/of-nul-within",
		"poison/of-null",
		"poison/of-php-serialized",
		"poison/of-text",
		"poison/of-two-objects",
	}},
	{"takes what is not its own for malformed", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) {
			if d.Raw != nil && d.Malformed == nil {
				d.Malformed = backend.ErrMalformed
			}
		})
	}, []string{
		"foreign/a-foreign-message-runs-with-defaults",
		"poison/of-a-lone-surrogate-within",
		"poison/of-a-number-beyond-all-within",
	}},
	{"gives up after fifty malformed messages", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			for _, d := range deliveries {
				if d.Malformed != nil && c.shared.add("malformed", 1) > 50 {
					return nil, d.Malformed
				}
			}
			return deliveries, err
		}
	}, []string{
		"poison/in-masses-does-not-hide-the-good-messages",
	}},
	{"shows ready messages from the end of the line", func(c *broken) {
		c.peek = func(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
			entries, err := c.reference.Peek(ctx, queue, state, offset, limit)
			if state == backend.Ready {
				slices.Reverse(entries)
			}
			return entries, err
		}
	}, []string{
		"inspect/peek-shows-ready-messages-in-their-order",
	}},
	{"shows scheduled messages among the ready ones", func(c *broken) {
		c.peek = func(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
			entries, err := c.reference.Peek(ctx, queue, state, offset, limit)
			if state == backend.Ready {
				more, _ := c.reference.Peek(ctx, queue, backend.Scheduled, offset, limit)
				entries = append(entries, more...)
			}
			return entries, err
		}
	}, []string{
		"inspect/peek-shows-each-state-by-itself",
	}},
	{"takes Peek of an unknown queue for an error", func(c *broken) {
		c.peek = func(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
			if names, err := c.reference.Queues(ctx); err == nil && !slices.Contains(names, queue) {
				return nil, errors.New("no such queue")
			}
			return c.reference.Peek(ctx, queue, state, offset, limit)
		}
	}, []string{
		"dead/is-one-for-each-queue",
		"inspect/peek-of-an-unknown-queue-is-empty",
	}},
	{"removes an ID from the ready messages only", func(c *broken) {
		c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
			scheduled, _ := c.reference.Peek(ctx, queue, backend.Scheduled, 0, 100)
			for _, entry := range scheduled {
				if entry.ID == filters[0].ID && len(filters) == 1 {
					return 0, nil
				}
			}
			return c.reference.Remove(ctx, queue, filters...)
		}
	}, []string{
		"manage/remove-by-id-takes-one",
	}},
	{"removes one message of a kind", func(c *broken) {
		c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
			ready, _ := c.reference.Peek(ctx, queue, backend.Ready, 0, 100)
			for _, entry := range ready {
				if len(filters) == 1 && filters[0].ID == "" && entry.Kind == filters[0].Kind && filters[0].Args == nil {
					filters = []backend.Filter{{ID: entry.ID}}
				}
			}
			return c.reference.Remove(ctx, queue, filters...)
		}
	}, []string{
		"manage/remove-by-kind-takes-all-of-it",
	}},
	{"removes from every queue", func(c *broken) {
		c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
			other, _ := strings.CutSuffix(queue, "-jobs")
			n, err := c.reference.Remove(ctx, queue, filters...)
			more, _ := c.reference.Remove(ctx, other+"-other", filters...)
			return n + more, err
		}
	}, []string{
		"manage/remove-leaves-other-queues-alone",
	}},
	{"removes from the dead", func(c *broken) {
		c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
			entries, _ := c.reference.Peek(ctx, queue, backend.Dead, 0, 100)
			n, err := c.reference.Remove(ctx, queue, filters...)
			for _, entry := range entries {
				if entry.Kind == filters[0].Kind {
					c.reference.Delete(ctx, queue, entry.Key)
				}
			}
			return n, err
		}
	}, []string{
		"manage/remove-leaves-reserved-and-dead-alone",
	}},
	{"purges every queue", func(c *broken) {
		c.purge = func(ctx context.Context, queue string) (int, error) {
			other, _ := strings.CutSuffix(queue, "-jobs")
			c.reference.Purge(ctx, other+"-other")
			return c.reference.Purge(ctx, queue)
		}
	}, []string{
		"manage/purge-leaves-other-queues-alone",
	}},
	{"closes the store of all connections", func(c *broken) {
		c.close = func() error {
			c.reference.Store().Close()
			return c.reference.Close()
		}
	}, []string{
		"store/outlives-the-close-of-another-connection",
	}},
}
