package backendtest_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
)

// reserveFor makes c ask for the lease that change makes of the one it is
// asked for.
func (c *broken) reserveFor(change func(lease time.Duration) time.Duration) {
	c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
		if lease > 0 {
			lease = change(lease)
		}
		return c.reference.Reserve(ctx, queues, max, lease)
	}
}

// leaseMutants break the leases and the counting of attempts.
var leaseMutants = []mutant{
	{"forgets leases, so that they never end", func(c *broken) {
		c.reserveFor(func(time.Duration) time.Duration { return 1000 * time.Hour })
	}, []string{
		"all-queues/wake-a-reserve-for-what-comes-back",
		"attempt/deliveries-begin-anew-with-retry",
		"attempt/deliveries-count-leases-that-ended",
		"attempt/is-spent-by-a-lease-that-ends",
		"capability/Leases",
		"lease/is-as-long-as-reserve-asks",
		"lease/of-the-next-holder-is-not-disturbed-by-ack",
		"lease/of-the-next-holder-is-not-disturbed-by-bury",
		"lease/of-the-next-holder-is-not-disturbed-by-extend",
		"lease/of-the-next-holder-is-not-disturbed-by-release",
		"lease/of-the-next-holder-is-not-disturbed-by-retry",
		"lease/that-ends-comes-back-once",
		"lease/that-ends-leaves-the-message-unchanged",
		"lease/that-ends-wakes-a-waiting-reserve",
		"lease/that-has-ended-refuses-ack",
		"lease/that-has-ended-refuses-bury",
		"lease/that-has-ended-refuses-extend",
		"lease/that-has-ended-refuses-release",
		"lease/that-has-ended-refuses-retry",
		"lifecycle/close-gives-loans-back",
		"poison/is-delivered-again-after-its-lease",
	}},
	{"ends leases early", func(c *broken) {
		c.reserveFor(func(lease time.Duration) time.Duration { return lease / 2 })
	}, []string{
		"lease/is-exclusive-while-it-runs",
		"lease/that-ends-wakes-a-waiting-reserve",
		"lease/that-is-extended-ends-after-all",
		"lease/that-is-extended-goes-on",
	}},
	{"has one lease for all", func(c *broken) {
		c.reserveFor(func(lease time.Duration) time.Duration {
			if lease > time.Second && lease < 10*time.Second {
				return time.Second
			}
			return lease
		})
	}, []string{
		"lease/is-as-long-as-reserve-asks",
	}},
	{"ends leases late", func(c *broken) {
		c.reserveFor(func(lease time.Duration) time.Duration {
			if lease == time.Second {
				lease += 20 * time.Millisecond
			}
			return lease
		})
	}, []string{
		"lease/that-ends-wakes-a-waiting-reserve",
		"lease/that-has-ended-refuses-ack",
		"lease/that-has-ended-refuses-bury",
		"lease/that-has-ended-refuses-extend",
		"lease/that-has-ended-refuses-release",
		"lease/that-has-ended-refuses-retry",
	}},
	{"does not extend", func(c *broken) {
		c.extend = func(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error {
			if len(deliveries) == 3 && lease > 0 {
				return ctx.Err()
			}
			return c.reference.Extend(ctx, deliveries, lease)
		}
	}, []string{
		"lease/that-is-extended-goes-on",
		"settle/extend-of-a-batch-marks-just-the-lost-one",
	}},
	{"extends for ever", func(c *broken) {
		c.extend = func(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error {
			return c.reference.Extend(ctx, deliveries, lease*100)
		}
	}, []string{
		"lease/that-is-extended-ends-after-all",
	}},
	{"extends a lease that is lost", func(c *broken) {
		c.extend = func(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error {
			err := c.reference.Extend(ctx, deliveries, lease)
			if len(deliveries) == 1 && deliveries[0].Receipt != nil && errors.Is(err, backend.ErrLeaseLost) {
				return nil
			}
			return err
		}
	}, []string{
		"lease/of-the-next-holder-is-not-disturbed-by-extend",
		"lease/that-has-ended-refuses-extend",
		"settle/a-second-time-after-ack-is-refused",
		"settle/a-second-time-after-bury-is-refused",
		"settle/a-second-time-after-release-is-refused",
		"settle/a-second-time-after-retry-is-refused",
	}},
	{"takes an old receipt for the new one", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			c.shared.mu.Lock()
			defer c.shared.mu.Unlock()
			for _, d := range deliveries {
				if c.shared.receipts[d.ID] == nil {
					c.shared.receipts[d.ID] = make(map[int]any)
				}
				c.shared.receipts[d.ID][d.Deliveries] = d.Receipt
			}
			return deliveries, err
		}
		c.ack = func(ctx context.Context, deliveries []*backend.Delivery) error {
			var newest []*backend.Delivery
			c.shared.mu.Lock()
			for _, d := range deliveries {
				copied := *d
				if next := c.shared.receipts[d.ID][d.Deliveries+1]; next != nil {
					copied.Receipt = next
				}
				newest = append(newest, &copied)
			}
			c.shared.mu.Unlock()
			return c.reference.Ack(ctx, newest)
		}
	}, []string{
		"lease/of-the-next-holder-is-not-disturbed-by-ack",
	}},
	{"counts no attempt for a lease that ends", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) {
			if d.Malformed == nil {
				d.Attempt -= d.Deliveries - 1
			}
		})
	}, []string{
		"attempt/is-spent-by-a-lease-that-ends",
		"lease/that-ends-leaves-the-message-unchanged",
		"lease/that-has-ended-refuses-ack",
		"lease/that-has-ended-refuses-bury",
		"lease/that-has-ended-refuses-extend",
		"lease/that-has-ended-refuses-release",
		"lease/that-has-ended-refuses-retry",
		"poison/is-delivered-again-after-its-lease",
	}},
	{"counts a release as a delivery", func(c *broken) {
		c.release = func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
			for _, d := range deliveries {
				c.shared.add(d.ID, 1)
			}
			return c.reference.Release(ctx, deliveries, delay)
		}
		c.onReserve(func(d *backend.Delivery) { d.Deliveries += c.shared.add(d.ID, 0) })
	}, []string{
		"attempt/deliveries-do-not-count-releases",
	}},
	{"takes the attempts for the deliveries", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) {
			if d.Malformed == nil {
				d.Deliveries = d.Attempt
			}
		})
	}, []string{
		"attempt/deliveries-begin-anew-with-retry",
		"attempt/deliveries-begin-at-1",
		"inspect/peek-takes-nothing",
	}},
	{"cannot tell deliveries", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) { d.Deliveries = 0 })
	}, []string{
		"attempt/deliveries-begin-anew-with-retry",
		"attempt/deliveries-begin-at-1",
		"attempt/deliveries-count-leases-that-ended",
		"attempt/deliveries-do-not-count-releases",
		"capability/Deliveries",
	}},
}

// lifecycleMutants break Close, contexts and limits.
var lifecycleMutants = []mutant{
	{"waits in Close for a waiting Reserve", func(c *broken) {
		done := make(chan struct{})
		var once sync.Once
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			if errors.Is(err, backend.ErrClosed) {
				<-done
			}
			return deliveries, err
		}
		c.close = func() error {
			err := c.reference.Close()
			time.Sleep(2 * time.Second)
			once.Do(func() { close(done) })
			return err
		}
	}, []string{
		"lifecycle/close-ends-a-waiting-reserve",
		"lifecycle/close-gives-loans-back",
		"lifecycle/close-returns-at-once-while-reserve-waits",
	}},
	{"complains of a second Close", func(c *broken) {
		closed := false
		c.close = func() error {
			c.shared.mu.Lock()
			defer c.shared.mu.Unlock()
			if closed {
				return backend.ErrClosed
			}
			closed = true
			return c.reference.Close()
		}
	}, []string{
		"lifecycle/close-may-be-called-again",
	}},
	{"works after Close", func(c *broken) {
		c.close = func() error { return nil }
	}, []string{
		"lifecycle/after-close-every-verb-fails",
		"lifecycle/close-ends-a-waiting-reserve",
	}},
	{"drops what is on loan in Close", func(c *broken) {
		var loans []*backend.Delivery
		c.onReserve(func(d *backend.Delivery) {
			c.shared.mu.Lock()
			defer c.shared.mu.Unlock()
			loans = append(loans, d)
		})
		c.close = func() error {
			c.reference.Ack(context.Background(), loans)
			return c.reference.Close()
		}
	}, []string{
		"lifecycle/close-gives-loans-back",
	}},
	{"drops what it has pushed in Close", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			c.shared.mu.Lock()
			defer c.shared.mu.Unlock()
			c.shared.pushed[m.Queue] = m
		})
		c.close = func() error {
			c.shared.mu.Lock()
			defer c.shared.mu.Unlock()
			for queue, m := range c.shared.pushed {
				if m.Header != nil {
					c.reference.Purge(context.Background(), queue)
				}
			}
			return c.reference.Close()
		}
	}, []string{
		"lifecycle/close-leaves-messages-alone",
	}},
	{"ignores contexts in Stats", func(c *broken) {
		c.stats = func(ctx context.Context, queue string) (backend.Stats, error) {
			return c.reference.Stats(context.WithoutCancel(ctx), queue)
		}
	}, []string{
		"lifecycle/with-an-ended-context-every-verb-fails",
	}},
	{"cuts a message that is too large", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Args = m.Args[:min(len(m.Args), maxBody)] })
	}, []string{
		"limits/let-the-neighbours-of-a-too-large-message-through",
		"limits/refuse-a-message-that-is-too-large",
	}},
	{"cuts a message that is large", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			if len(m.Args) <= maxBody {
				m.Args = m.Args[:min(len(m.Args), 50<<10)]
			}
		})
	}, []string{
		"limits/let-a-large-message-through-whole",
	}},
	{"fails a batch for one message that is too large", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			for _, m := range messages {
				if len(m.Args) > maxBody {
					return backend.ErrTooLarge
				}
			}
			return c.reference.Push(ctx, messages)
		}
	}, []string{
		"limits/let-the-neighbours-of-a-too-large-message-through",
	}},
	{"does not say that a message is too large", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			err := c.reference.Push(ctx, messages)
			if errors.Is(err, backend.ErrTooLarge) {
				return errors.New("connection reset")
			}
			return err
		}
	}, []string{
		"limits/let-the-neighbours-of-a-too-large-message-through",
		"limits/refuse-a-message-that-is-too-large",
	}},
	{"cuts a priority that is too high", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Priority = max(min(m.Priority, 1<<15-1), -1<<15) })
	}, []string{
		"limits/refuse-a-priority-that-is-too-high",
	}},
	{"hangs on an invalid queue name", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			for _, m := range messages {
				if m.Queue == "not valid" {
					time.Sleep(time.Hour)
				}
			}
			return c.reference.Push(ctx, messages)
		}
	}, []string{
		"limits/are-told-item-by-item",
	}},
	{"stores the messages of a batch that it fails", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			if err := c.reference.Push(ctx, messages); errors.Is(err, backend.ErrInvalid) {
				return backend.ErrInvalid
			} else {
				return err
			}
		}
	}, []string{
		"limits/are-told-item-by-item",
	}},
	{"has no lease that is short enough", func(c *broken) {
		c.limits = func() backend.Limits {
			l := c.reference.Limits()
			l.MinLease = time.Hour
			return l
		}
	}, []string{
		"limits/are-sane",
	}},
}
