package backendtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

// deliveryMutants break what a message is when it arrives, and how Reserve
// waits for it.
var deliveryMutants = []mutant{
	{"drops the last message of a large batch", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			if len(messages) >= 400 {
				messages = messages[:len(messages)-1]
			}
			return c.reference.Push(ctx, messages)
		}
	}, []string{
		"delivery/a-push-of-500-arrives-whole",
	}},
	{"loses a header without a name", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) { delete(d.Header, "") })
	}, []string{
		"delivery/headers-come-back",
	}},
	{"loses the extra fields", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Extra = nil })
	}, []string{
		"dead/keeps-message-and-failure",
		"dead/requeue-starts-anew",
		"delivery/a-changed-delivery-changes-nothing-in-the-broker",
		"delivery/a-message-reaches-another-connection",
		"delivery/extra-fields-come-back-byte-for-byte",
		"inspect/peek-takes-nothing",
		"lease/that-ends-leaves-the-message-unchanged",
		"lifecycle/close-leaves-messages-alone",
		"release/gives-the-message-back-unchanged",
	}},
	{"encodes args anew", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			var compact bytes.Buffer
			if json.Compact(&compact, m.Args) == nil {
				m.Args = compact.Bytes()
			}
		})
	}, []string{
		"dead/keeps-message-and-failure",
		"dead/requeue-starts-anew",
		"delivery/a-changed-delivery-changes-nothing-in-the-broker",
		"delivery/a-message-reaches-another-connection",
		"delivery/args-come-back-byte-for-byte",
		"inspect/peek-takes-nothing",
		"lease/that-ends-leaves-the-message-unchanged",
		"lifecycle/close-leaves-messages-alone",
		"release/gives-the-message-back-unchanged",
	}},
	{"reads numbers as float64", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			var number float64
			if json.Unmarshal(m.Args, &number) == nil && !bytes.Equal(m.Args, []byte("null")) {
				m.Args, _ = json.Marshal(number)
			}
		})
	}, []string{
		"delivery/args-come-back-byte-for-byte",
	}},
	{"keeps a pushed message by its pointer", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			c.shared.mu.Lock()
			for _, m := range messages {
				c.shared.pushed[m.ID] = m
			}
			c.shared.mu.Unlock()
			return c.reference.Push(ctx, messages)
		}
		c.onReserve(func(d *backend.Delivery) {
			c.shared.mu.Lock()
			defer c.shared.mu.Unlock()
			if m := c.shared.pushed[d.ID]; m != nil && m.ID != d.ID {
				d.Message = *m
			}
		})
	}, []string{
		"delivery/a-pushed-message-belongs-to-the-caller-again",
	}},
	{"stores times to the second", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			if m.EnqueuedAt.Nanosecond() == 123456789 {
				m.EnqueuedAt = m.EnqueuedAt.Truncate(time.Second)
			}
		})
	}, []string{
		"dead/keeps-message-and-failure",
		"dead/requeue-starts-anew",
		"delivery/a-changed-delivery-changes-nothing-in-the-broker",
		"delivery/a-message-comes-back-as-it-was-pushed",
		"delivery/a-message-reaches-another-connection",
		"inspect/peek-takes-nothing",
		"lease/that-ends-leaves-the-message-unchanged",
		"lifecycle/close-leaves-messages-alone",
		"release/gives-the-message-back-unchanged",
	}},
	{"maps two queue names to one", func(c *broken) {
		mapped := func(name string) string { return strings.ReplaceAll(name, ":", "_") }
		c.onPush(func(m *backend.Message) { m.Queue = mapped(m.Queue) })
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			var names []string
			for _, name := range queues {
				names = append(names, mapped(name))
			}
			return c.reference.Reserve(ctx, names, max, lease)
		}
	}, []string{
		"delivery/queue-names-are-kept-apart",
	}},
	{"complains of an empty batch", func(c *broken) {
		c.ack = func(ctx context.Context, deliveries []*backend.Delivery) error {
			if len(deliveries) == 0 {
				return backend.ErrInvalid
			}
			return c.reference.Ack(ctx, deliveries)
		}
	}, []string{
		"concurrency/retries-and-releases-under-load-lose-and-double-nothing",
		"delivery/an-empty-batch-is-a-no-op",
	}},
	{"hands out more than max", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			if max == 5 {
				max = 6
			}
			return c.reference.Reserve(ctx, queues, max, lease)
		}
	}, []string{
		"reserve/takes-at-most-max",
	}},
	{"waits to fill a batch", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			if err == nil && max == 10 && len(deliveries) < max {
				time.Sleep(time.Second)
			}
			return deliveries, err
		}
	}, []string{
		"reserve/does-not-wait-to-fill-the-batch",
	}},
	{"is woken by the first queue only", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			if len(queues) < 3 {
				return c.reference.Reserve(ctx, queues, max, lease)
			}
			look, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			if deliveries, err := c.reference.Reserve(look, queues, max, lease); err == nil {
				return deliveries, nil
			}
			return c.reference.Reserve(ctx, queues[:1], max, lease)
		}
	}, []string{
		"reserve/waits-for-each-of-its-queues",
	}},
	{"serves the last queue first", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			turned := slices.Clone(queues)
			slices.Reverse(turned)
			return c.reference.Reserve(ctx, turned, max, lease)
		}
	}, []string{
		"all-queues/come-behind-those-that-are-named",
		"all-queues/may-only-stand-last",
		"all-queues/wake-a-reserve-when-one-comes-into-being",
		"order/is-by-queue-before-priority",
		"reserve/fills-a-batch-from-the-first-queue-first",
		"reserve/takes-from-the-first-queue-that-has-one",
	}},
	{"serves a queue that was not asked for", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			if queue, found := strings.CutSuffix(slices.Concat(queues, []string{""})[0], "-jobs"); found {
				queues = append(slices.Clone(queues), queue+"-other")
			}
			return c.reference.Reserve(ctx, queues, max, lease)
		}
	}, []string{
		"all-queues/wake-a-reserve-when-one-comes-into-being",
		"reserve/leaves-other-queues-alone",
	}},
	{"ignores the cancellation of a Reserve", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deadline, _ := ctx.Deadline()
			deaf, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
			defer cancel()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return c.reference.Reserve(deaf, queues, max, lease)
		}
	}, []string{
		"all-queues/end-with-the-context",
		"concurrency/many-waiters-and-one-message",
		"reserve/ends-with-its-context",
		"reserve/that-has-ended-swallows-no-later-message",
	}},
	{"never returns from a Reserve of an empty queue", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deadline, _ := ctx.Deadline()
			if time.Until(deadline) == 300*time.Millisecond { // that of one case
				ctx = context.WithoutCancel(ctx)
				time.AfterFunc(time.Hour, func() { c.reference.Close() })
			}
			return c.reference.Reserve(ctx, queues, max, lease)
		}
	}, []string{
		"reserve/ends-with-the-deadline-of-its-context",
	}},
	{"hides the error of the context", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			if errors.Is(err, context.Canceled) {
				err = backend.ErrUnavailable
			}
			return deliveries, err
		}
	}, []string{
		"all-queues/end-with-the-context",
		"concurrency/many-waiters-and-one-message",
		"lifecycle/with-an-ended-context-every-verb-fails",
		"reserve/ends-with-its-context",
		"reserve/takes-nothing-when-its-context-has-ended-before",
	}},
	{"drops what it has in hand when the context ends", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return deliveries, err
		}
	}, []string{
		"reserve/that-ends-during-a-push-loses-nothing",
	}},
	{"takes messages although the context has ended", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			if ctx.Err() != nil {
				look, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				defer cancel()
				c.reference.Reserve(look, queues, max, lease)
				return nil, ctx.Err()
			}
			return c.reference.Reserve(ctx, queues, max, lease)
		}
	}, []string{
		"reserve/takes-nothing-when-its-context-has-ended-before",
	}},
	{"swallows what comes after a cancelled wait", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			began := time.Now()
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			if errors.Is(err, context.Canceled) && time.Since(began) > 0 {
				go func() {
					poll, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					c.reference.Reserve(poll, queues, max, time.Hour)
				}()
			}
			return deliveries, err
		}
	}, []string{
		"reserve/that-has-ended-swallows-no-later-message",
	}},
	{"asks again and again", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			for {
				c.shared.requests.Add(1)
				look, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				deliveries, err := c.reference.Reserve(look, queues, max, lease)
				cancel()
				if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
					return deliveries, err
				}
			}
		}
	}, []string{
		"idle/a-waiting-reserve-does-not-poll",
		"idle/a-waiting-reserve-of-all-queues-does-not-poll",
	}},
	{"takes a wrong max for a reason to wait", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			if max < 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return c.reference.Reserve(ctx, queues, max, lease)
		}
	}, []string{
		"reserve/of-invalid-arguments-fails-at-once",
	}},
	{"hands one message to two that wait", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			c.shared.add("waiting", 1)
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			if others := c.shared.add("waiting", -1); err == nil && others > 8 {
				c.double(&deliveries[0].Message)
			}
			return deliveries, err
		}
	}, []string{
		"concurrency/many-waiters-and-one-message",
	}},
	{"hands out a batch from its end", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			slices.Reverse(deliveries)
			return deliveries, err
		}
	}, []string{
		"order/holds-within-a-batch",
		"order/is-by-priority-within-a-batch",
	}},
	{"is a stack", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			turned := slices.Clone(messages)
			slices.Reverse(turned)
			err := c.reference.Push(ctx, turned)
			if batch, ok := err.(*backend.BatchError); ok {
				slices.Reverse(batch.Errs)
			}
			return err
		}
	}, []string{
		"order/holds-within-a-batch",
		"order/is-that-of-the-pushes",
		"order/is-that-of-the-pushes-within-a-priority",
		"order/puts-a-retry-behind-those-that-wait",
		"release/puts-messages-back-in-their-old-place",
	}},
	{"ignores priorities", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			if m.Priority == int(int16(m.Priority)) {
				c.shared.add(m.ID, m.Priority-c.shared.add(m.ID, 0))
				m.Priority = 0
			}
		})
		c.onRetry(func(_ *backend.Delivery, m *backend.Message) {
			c.shared.add(m.ID, m.Priority-c.shared.add(m.ID, 0))
			m.Priority = 0
		})
		c.onReserve(func(d *backend.Delivery) { d.Priority = c.shared.add(d.ID, 0) })
	}, []string{
		"inspect/peek-takes-nothing",
		"order/is-by-priority",
		"order/is-by-priority-within-a-batch",
		"order/is-that-of-the-pushes-within-a-priority",
		"order/keeps-the-priority-of-a-delayed-message",
		"order/keeps-the-priority-of-a-retry",
		"order/knows-priorities-below-zero",
	}},
	{"knows no priorities below zero", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			if m.Priority < 0 && m.Priority >= c.Limits().MinPriority {
				m.Priority = 0
			}
		})
	}, []string{
		"order/knows-priorities-below-zero",
	}},
	{"forgets the priority of a retry", func(c *broken) {
		c.onRetry(func(_ *backend.Delivery, m *backend.Message) { m.Priority = 0 })
	}, []string{
		"order/keeps-the-priority-of-a-retry",
		"retry/keeps-header-and-extra-of-what-it-is-given",
		"retry/stores-the-replacement",
	}},
	{"delivers early", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Delay -= m.Delay % (25 * time.Millisecond) })
	}, []string{
		"delay/does-not-hold-up-the-others",
		"delay/is-kept-to-the-unit",
		"delay/is-rounded-up",
		"delay/that-ends-sooner-wakes-a-reserve-that-waits-for-a-later-one",
	}},
	{"delivers late", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			if m.Delay > 0 && m.Delay < time.Hour {
				m.Delay += 15 * time.Millisecond
			}
		})
	}, []string{
		"delay/is-kept-to-the-unit",
		"delay/is-rounded-up",
		"delay/that-ends-sooner-wakes-a-reserve-that-waits-for-a-later-one",
		"inspect/peek-shows-scheduled-messages-by-due-time",
		"order/keeps-the-priority-of-a-delayed-message",
	}},
	{"keeps the delay of a message", func(c *broken) {
		c.onPush(func(m *backend.Message) { c.shared.add(m.ID, int(m.Delay)) })
		c.release = func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
			if delay == 0 && len(deliveries) == 1 {
				delay = min(time.Duration(c.shared.add(deliveries[0].ID, 0)), time.Second) * 100
			}
			return c.reference.Release(ctx, deliveries, delay)
		}
	}, []string{
		"delay/is-not-stored",
	}},
	{"takes the sign off a delay", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Delay = max(m.Delay, -m.Delay) })
	}, []string{
		"delay/below-zero-is-invalid",
	}},
	{"cuts a delay that is too long", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Delay = min(m.Delay, c.Limits().MaxDelay) })
	}, []string{
		"limits/refuse-a-delay-that-is-too-long",
	}},
}
