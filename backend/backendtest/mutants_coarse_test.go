package backendtest_test

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

// coarseMutants break a rule as a whole, where the others break it at an
// edge. They see to it that every case is failed by something.
var coarseMutants = []mutant{
	{"stores null as an empty object", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			if string(m.Args) == "null" {
				m.Args = []byte("{}")
			}
		})
	}, []string{
		"delivery/a-message-with-the-least-comes-back-as-it-was-pushed",
		"delivery/args-come-back-byte-for-byte",
		"manage/remove-by-args-needs-only-some-members-of-an-object",
		"manage/remove-by-args-takes-a-list-as-a-whole",
	}},
	{"replaces characters of four bytes", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Args = bytes.ReplaceAll(m.Args, []byte("🐹"), []byte("?")) })
	}, []string{
		"delivery/characters-of-four-bytes-come-back",
	}},
	{"drops backslashes from kinds", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Kind = strings.ReplaceAll(m.Kind, `\`, "") })
	}, []string{
		"delivery/kinds-are-any-text",
	}},
	{"pushes a batch to the queue of its first message", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			var moved []*backend.Message
			for _, m := range messages {
				copied := *m
				if strings.HasSuffix(m.Queue, "-second") {
					copied.Queue = messages[0].Queue
				}
				moved = append(moved, &copied)
			}
			return c.reference.Push(ctx, moved)
		}
	}, []string{
		"delivery/a-push-to-several-queues-reaches-each",
	}},
	{"wakes up late", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			began := time.Now()
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			if err == nil && time.Since(began) > 0 {
				time.Sleep(600 * time.Millisecond)
			}
			return deliveries, err
		}
	}, []string{
		"all-queues/are-watched-while-a-reserve-begins",
		"all-queues/pass-a-paused-one-over",
		"all-queues/wake-a-reserve-for-a-foreign-message-in-a-new-one",
		"all-queues/wake-a-reserve-for-what-comes-back",
		"all-queues/wake-a-reserve-when-one-comes-into-being",
		"concurrency/many-waiters-and-as-many-messages",
		"dead/requeue-wakes-a-waiting-reserve",
		"delay/does-not-hold-up-the-others",
		"delay/is-kept-to-the-unit",
		"delay/is-rounded-up",
		"delay/that-ends-sooner-wakes-a-reserve-that-waits-for-a-later-one",
		"foreign/a-foreign-message-wakes-a-waiting-reserve",
		"lease/that-ends-wakes-a-waiting-reserve",
		"lease/that-is-extended-ends-after-all",
		"lifecycle/close-gives-loans-back",
		"lifecycle/close-leaves-other-connections-alone",
		"manage/pause-stops-a-reserve-that-waits-already",
		"manage/pause-stops-the-queue-for-every-connection",
		"release/comes-after-its-delay",
		"release/wakes-a-waiting-reserve",
		"reserve/waits-for-a-push-of-another-connection",
		"reserve/waits-for-each-of-its-queues",
		"retry/comes-after-its-delay",
		"retry/wakes-a-waiting-reserve",
	}},
	{"counts attempts when they end", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) { d.Attempt-- })
	}, []string{
		"all-queues/pass-a-paused-one-over",
		"all-queues/wake-a-reserve-when-one-comes-into-being",
		"attempt/begins-at-1",
		"attempt/goes-on-from-what-was-pushed",
		"attempt/is-given-back-by-release",
		"attempt/is-spent-by-a-lease-that-ends",
		"attempt/is-what-retry-says",
		"concurrency/many-waiters-and-one-message",
		"concurrency/retries-and-releases-under-load-lose-and-double-nothing",
		"dead/keeps-message-and-failure",
		"dead/requeue-starts-anew",
		"dead/requeue-wakes-a-waiting-reserve",
		"delay/hides-the-message-until-it-is-due",
		"delay/is-not-stored",
		"delivery/a-changed-delivery-changes-nothing-in-the-broker",
		"delivery/a-message-comes-back-as-it-was-pushed",
		"delivery/a-message-reaches-another-connection",
		"delivery/a-message-with-the-least-comes-back-as-it-was-pushed",
		"delivery/a-pushed-message-belongs-to-the-caller-again",
		"delivery/args-come-back-byte-for-byte",
		"delivery/characters-of-four-bytes-come-back",
		"delivery/extra-fields-come-back-byte-for-byte",
		"delivery/headers-come-back",
		"delivery/kinds-are-any-text",
		"delivery/queue-names-are-kept-apart",
		"foreign/a-foreign-message-keeps-the-id-that-it-is-given",
		"foreign/a-foreign-message-runs-with-defaults",
		"inspect/peek-takes-nothing",
		"lease/that-ends-leaves-the-message-unchanged",
		"lease/that-has-ended-refuses-ack",
		"lease/that-has-ended-refuses-bury",
		"lease/that-has-ended-refuses-extend",
		"lease/that-has-ended-refuses-release",
		"lease/that-has-ended-refuses-retry",
		"lifecycle/close-leaves-messages-alone",
		"lifecycle/close-leaves-other-connections-alone",
		"limits/let-a-large-message-through-whole",
		"manage/pause-holds-back-what-comes-due",
		"manage/pause-leaves-other-queues-alone",
		"manage/pause-stops-a-reserve-that-waits-already",
		"manage/pause-stops-the-queue-for-every-connection",
		"manage/purge-empties-the-line",
		"poison/is-delivered-again-after-its-lease",
		"release/comes-after-its-delay",
		"release/gives-the-message-back-unchanged",
		"release/wakes-a-waiting-reserve",
		"reserve/leaves-other-queues-alone",
		"reserve/takes-nothing-when-its-context-has-ended-before",
		"reserve/that-ends-during-a-push-loses-nothing",
		"reserve/waits-for-a-push-of-another-connection",
		"reserve/waits-for-each-of-its-queues",
		"retry/comes-after-its-delay",
		"retry/keeps-header-and-extra-of-what-it-is-given",
		"retry/may-move-the-message-to-another-queue",
		"retry/of-a-batch-stores-each-replacement",
		"retry/stores-the-replacement",
		"retry/wakes-a-waiting-reserve",
		"settle/a-delivery-without-receipt-is-refused",
		"unique/id-that-is-gone-is-stored-again",
	}},
	{"forgets the attempts of what is pushed", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Attempt = 0 })
	}, []string{
		"attempt/goes-on-from-what-was-pushed",
		"dead/keeps-message-and-failure",
		"delivery/a-changed-delivery-changes-nothing-in-the-broker",
		"delivery/a-message-comes-back-as-it-was-pushed",
		"delivery/a-message-reaches-another-connection",
		"inspect/peek-takes-nothing",
		"lease/that-ends-leaves-the-message-unchanged",
		"lifecycle/close-leaves-messages-alone",
		"release/gives-the-message-back-unchanged",
	}},
	{"acks nothing", func(c *broken) {
		c.ack = func(ctx context.Context, _ []*backend.Delivery) error { return ctx.Err() }
	}, []string{
		"concurrency/a-delivery-is-settled-by-one-of-two-at-once",
		"idle/a-waiting-reserve-of-all-queues-does-not-poll",
		"inspect/stats-follow-what-is-settled",
		"lease/of-the-next-holder-is-not-disturbed-by-ack",
		"lease/that-has-ended-refuses-ack",
		"lease/that-is-extended-goes-on",
		"lifecycle/after-close-every-verb-fails",
		"settle/a-delivery-without-receipt-is-refused",
		"settle/a-second-time-after-ack-is-refused",
		"settle/a-second-time-after-bury-is-refused",
		"settle/a-second-time-after-release-is-refused",
		"settle/a-second-time-after-retry-is-refused",
		"settle/ack-of-a-batch-marks-just-the-lost-one",
		"settle/ack-removes-a-large-batch",
		"settle/ack-removes-the-message",
		"settle/bury-of-a-batch-marks-just-the-lost-one",
		"settle/extend-of-a-batch-marks-just-the-lost-one",
		"settle/release-of-a-batch-marks-just-the-lost-one",
		"settle/retry-of-a-batch-marks-just-the-lost-one",
	}},
	{"acks everything that is on loan", func(c *broken) {
		var loans []*backend.Delivery
		c.onReserve(func(d *backend.Delivery) {
			c.shared.mu.Lock()
			defer c.shared.mu.Unlock()
			loans = append(loans, d)
		})
		c.ack = func(ctx context.Context, deliveries []*backend.Delivery) error {
			err := c.reference.Ack(ctx, deliveries)
			c.shared.mu.Lock()
			defer c.shared.mu.Unlock()
			if err == nil && len(loans) < 10 {
				c.reference.Ack(ctx, loans)
			}
			return err
		}
	}, []string{
		"concurrency/retries-and-releases-under-load-lose-and-double-nothing",
		"foreign/a-foreign-message-keeps-the-id-that-it-is-given",
		"inspect/stats-follow-what-is-settled",
		"manage/pause-lets-what-runs-be-settled",
		"manage/purge-leaves-reserved-and-dead-alone",
		"poison/of-a-byte-order-mark",
		"poison/of-a-key-twice",
		"poison/of-a-kind-that-is-a-number",
		"poison/of-a-kind-that-is-empty",
		"poison/of-a-list",
		"poison/of-a-lone-surrogate",
		"poison/of-a-lone-surrogate-within",
		"poison/of-a-number",
		"poison/of-a-number-beyond-all",
		"poison/of-a-number-beyond-all-within",
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
		"poison/of-nothing",
		"poison/of-nul",
		"poison/of-nul-within",
		"poison/of-null",
		"poison/of-php-serialized",
		"poison/of-text",
		"poison/of-two-objects",
		"settle/ack-leaves-the-others-alone",
		"settle/ack-of-a-batch-marks-just-the-lost-one",
		"settle/bury-of-a-batch-marks-just-the-lost-one",
		"settle/extend-of-a-batch-marks-just-the-lost-one",
		"settle/release-of-a-batch-marks-just-the-lost-one",
		"settle/retry-of-a-batch-marks-just-the-lost-one",
	}},
	{"buries a copy", func(c *broken) {
		c.bury = func(ctx context.Context, burials []backend.Burial) error {
			err := c.reference.Bury(ctx, burials)
			for i, burial := range burials {
				if burial.Message != nil && backend.ErrorAt(err, i) == nil {
					c.double(burial.Message)
				}
			}
			return err
		}
	}, []string{
		"concurrency/a-delivery-is-settled-by-one-of-two-at-once",
		"dead/delete-takes-just-the-keys-that-it-is-given",
		"dead/requeue-starts-anew",
		"dead/requeue-takes-just-the-keys-that-it-is-given",
		"dead/requeue-wakes-a-waiting-reserve",
		"dead/skips-keys-that-are-gone",
		"inspect/peek-shows-each-state-by-itself",
		"inspect/peek-shows-pages",
		"inspect/peek-shows-the-dead-oldest-first",
		"inspect/stats-count-each-state",
		"manage/pause-lets-what-runs-be-settled",
		"manage/purge-leaves-reserved-and-dead-alone",
		"manage/remove-leaves-reserved-and-dead-alone",
		"settle/a-second-time-after-bury-is-refused",
		"settle/bury-of-a-batch-marks-just-the-lost-one",
		"settle/bury-removes-the-message-from-the-line",
		"unique/id-that-is-gone-is-stored-again",
	}},
	{"releases a copy", func(c *broken) {
		c.release = func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
			err := c.reference.Release(ctx, deliveries, delay)
			for i, d := range deliveries {
				if d.Malformed == nil && backend.ErrorAt(err, i) == nil {
					c.double(&d.Message)
				}
			}
			return err
		}
	}, []string{
		"concurrency/a-delivery-is-settled-by-one-of-two-at-once",
		"concurrency/retries-and-releases-under-load-lose-and-double-nothing",
		"inspect/stats-follow-what-is-settled",
		"manage/pause-lets-what-runs-be-settled",
		"release/comes-after-its-delay",
		"release/leaves-one-copy",
		"settle/a-second-time-after-release-is-refused",
		"settle/ack-leaves-the-others-alone",
		"settle/release-of-a-batch-marks-just-the-lost-one",
	}},
	{"takes a negative delay of Release for none", func(c *broken) {
		c.release = func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
			return c.reference.Release(ctx, deliveries, max(delay, 0))
		}
	}, []string{
		"release/with-a-negative-delay-keeps-the-delivery",
	}},
	{"takes an Extend by nothing for the end of the lease", func(c *broken) {
		c.extend = func(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error {
			return c.reference.Extend(ctx, deliveries, max(lease, time.Millisecond))
		}
	}, []string{
		"lease/is-not-extended-by-nothing",
	}},
	{"delays everything", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			if m.Delay == 0 {
				m.Delay = 600 * time.Millisecond
			}
		})
	}, []string{
		"all-queues/are-watched-while-a-reserve-begins",
		"all-queues/wake-a-reserve-when-one-comes-into-being",
		"concurrency/many-waiters-and-as-many-messages",
		"delay/does-not-hold-up-the-others",
		"delay/of-zero-is-none",
		"inspect/peek-shows-each-state-by-itself",
		"inspect/peek-shows-ready-messages-in-their-order",
		"inspect/peek-takes-nothing",
		"inspect/stats-count-each-state",
		"lease/that-ends-wakes-a-waiting-reserve",
		"lifecycle/close-leaves-messages-alone",
		"lifecycle/close-leaves-other-connections-alone",
		"manage/pause-shows-in-stats",
		"reserve/does-not-wait-to-fill-the-batch",
		"reserve/waits-for-a-push-of-another-connection",
		"reserve/waits-for-each-of-its-queues",
	}},
	{"forgets delays", func(c *broken) {
		c.onPush(func(m *backend.Message) { m.Delay = min(m.Delay, 0) })
	}, []string{
		"delay/decides-the-order",
		"delay/does-not-hold-up-the-others",
		"delay/hides-the-message-until-it-is-due",
		"delay/is-kept-to-the-unit",
		"delay/is-rounded-up",
		"delay/that-ends-sooner-wakes-a-reserve-that-waits-for-a-later-one",
		"inspect/peek-shows-each-state-by-itself",
		"inspect/peek-shows-scheduled-messages-by-due-time",
		"inspect/stats-count-each-state",
		"limits/refuse-a-delay-that-is-too-long",
		"unique/id-that-is-scheduled-is-not-stored-again",
	}},
	{"drops what is due when there is much", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			if len(messages) > 200 && messages[0].Delay > 0 {
				messages = messages[:200]
			}
			return c.reference.Push(ctx, messages)
		}
	}, []string{
		"delay/of-many-messages-loses-none",
	}},
	{"makes up the type of an error", func(c *broken) {
		c.bury = func(ctx context.Context, burials []backend.Burial) error {
			var named []backend.Burial
			for _, burial := range burials {
				if burial.Failure.Type == "" {
					burial.Failure.Type = "error"
				}
				named = append(named, burial)
			}
			return c.reference.Bury(ctx, named)
		}
	}, []string{
		"dead/keeps-a-failure-that-says-little",
	}},
	{"forgets the dead in Close", func(c *broken) {
		c.close = func() error {
			queues, _ := c.reference.Queues(context.Background())
			for _, queue := range queues {
				entries, _ := c.reference.Peek(context.Background(), queue, backend.Dead, 0, 100)
				for _, entry := range entries {
					c.reference.Delete(context.Background(), queue, entry.Key)
				}
			}
			return c.reference.Close()
		}
	}, []string{
		"dead/outlives-the-connection",
	}},
	{"lets line breaks into the name of a queue", func(c *broken) {
		c.push = func(ctx context.Context, messages []*backend.Message) error {
			if len(messages) == 1 && strings.Contains(messages[0].Queue, "\r\n") {
				return ctx.Err()
			}
			return c.reference.Push(ctx, messages)
		}
	}, []string{
		"limits/refuse-an-invalid-message",
	}},
	{"closes the other connections too", func(c *broken) {
		c.shared.mu.Lock()
		c.shared.opened = append(c.shared.opened, c)
		c.shared.mu.Unlock()
		c.close = func() error {
			c.shared.mu.Lock()
			defer c.shared.mu.Unlock()
			for _, other := range c.shared.opened {
				other.reference.Close()
			}
			return nil
		}
	}, []string{
		"lifecycle/close-gives-loans-back",
		"lifecycle/close-leaves-other-connections-alone",
	}},
	{"drops one message in a thousand", func(c *broken) {
		c.onPush(func(m *backend.Message) {
			if c.shared.add("pushed", 1) == 1000 {
				m.Queue += "-lost"
			}
		})
	}, []string{
		"concurrency/eight-producers-and-eight-consumers-lose-and-double-nothing",
	}},
}
