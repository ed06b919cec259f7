package backendtest_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/goferhq/queue/backend"
)

// allQueuesMutants break what a Reserve of all queues does.
var allQueuesMutants = []mutant{
	{"takes all queues in no order", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			if err := backend.CheckQueues(queues, true); err != nil {
				return nil, err
			}
			names, _ := c.reference.Queues(ctx)
			slices.Reverse(names)
			return c.reference.Reserve(ctx, slices.Concat(queues[:len(queues)-1], names, []string{backend.AllQueues}), max, lease)
		})
	}, []string{
		"all-queues/come-behind-those-that-are-named",
		"all-queues/come-in-the-order-of-their-names",
		"all-queues/fill-a-batch-in-the-order-of-their-names",
	}},
	{"takes all queues before those that are named", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			if queues[0] != backend.AllQueues {
				queues = queues[len(queues)-1:]
			}
			return c.reference.Reserve(ctx, queues, max, lease)
		})
	}, []string{
		"all-queues/come-behind-those-that-are-named",
	}},
	{"takes from the queues that there are when Reserve begins", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			if err := backend.CheckQueues(queues, true); err != nil {
				return nil, err
			}
			names, _ := c.reference.Queues(ctx)
			return c.reference.Reserve(ctx, slices.Concat(queues[:len(queues)-1], names, []string{"none"}), max, lease)
		})
	}, []string{
		"all-queues/are-watched-while-a-reserve-begins",
		"all-queues/wake-a-reserve-for-a-foreign-message-in-a-new-one",
		"all-queues/wake-a-reserve-when-one-comes-into-being",
	}},
	{"looks around for new queues before it waits", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			if err := backend.CheckQueues(queues, true); err != nil {
				return nil, err
			}
			before, _ := c.reference.Queues(ctx)
			before = slices.Concat(queues[:len(queues)-1], before, []string{"none"})
			look, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			if deliveries, err := c.reference.Reserve(look, before, max, lease); err == nil {
				return deliveries, nil
			}
			after, _ := c.reference.Queues(ctx)
			for _, name := range after {
				if !slices.Contains(before, name) {
					<-ctx.Done() // it has missed what told of it
					return nil, ctx.Err()
				}
			}
			return c.reference.Reserve(ctx, queues, max, lease)
		})
	}, []string{
		"all-queues/are-watched-while-a-reserve-begins",
	}},
	{"hears of foreign queues by their second message", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			for {
				deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
				if err != nil || deliveries[0].Raw == nil || c.shared.add(deliveries[0].Queue, 1) > 1 {
					return deliveries, err
				}
			}
		})
	}, []string{
		"all-queues/wake-a-reserve-for-a-foreign-message-in-a-new-one",
	}},
	{"hides from all queues what came back", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			for {
				deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
				if err != nil || deliveries[0].Deliveries == 1 {
					return deliveries, err
				}
			}
		})
	}, []string{
		"all-queues/wake-a-reserve-for-what-comes-back",
	}},
	{"takes paused queues with all others", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			names, _ := c.reference.Queues(ctx)
			for _, name := range names {
				c.reference.Resume(ctx, name)
			}
			return c.reference.Reserve(ctx, queues, max, lease)
		})
	}, []string{
		"all-queues/pass-a-paused-one-over",
	}},
	{"does not end with the context when it takes from all queues", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			longer, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
			defer cancel()
			return c.reference.Reserve(longer, queues, max, lease)
		})
	}, []string{
		"all-queues/come-behind-those-that-are-named",
		"all-queues/come-in-the-order-of-their-names",
		"all-queues/end-with-the-context",
	}},
	{"takes all queues wherever they stand", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			named := slices.DeleteFunc(slices.Clone(queues), func(name string) bool { return name == backend.AllQueues })
			return c.reference.Reserve(ctx, append(named, backend.AllQueues), max, lease)
		})
	}, []string{
		"all-queues/may-only-stand-last",
	}},
	{"does not tell that it takes from all queues", func(c *broken) {
		c.limits = func() backend.Limits {
			l := c.reference.Limits()
			l.AllQueues = false
			return l
		}
	}, []string{
		"all-queues/are-unsupported-where-the-limits-lack-them",
		"capability/AllQueues",
	}},
	{"takes all queues for the name of one", func(c *broken) {
		c.limits = func() backend.Limits {
			l := c.reference.Limits()
			l.AllQueues = false
			return l
		}
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			queues = slices.Clone(queues)
			queues[len(queues)-1] = "all"
			return c.reference.Reserve(ctx, queues, max, lease)
		})
	}, []string{
		"all-queues/are-unsupported-where-the-limits-lack-them",
		"capability/AllQueues",
	}},
	{"polls for new queues", func(c *broken) {
		c.onReserveOfAll(func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			for {
				c.shared.requests.Add(1)
				look, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				deliveries, err := c.reference.Reserve(look, queues, max, lease)
				cancel()
				if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
					return deliveries, err
				}
			}
		})
	}, []string{
		"idle/a-waiting-reserve-of-all-queues-does-not-poll",
	}},
}
