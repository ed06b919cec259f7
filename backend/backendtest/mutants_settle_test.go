package backendtest_test

import (
	"context"
	"errors"
	"time"

	"github.com/goferhq/queue/backend"
)

// settleMutants break the verbs that end a loan.
var settleMutants = []mutant{
	{"finds a loan by the ID of its message", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) { d.Receipt = receipt{d.ID, d.Receipt} })
		c.release = func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
			var found []*backend.Delivery
			for _, d := range deliveries {
				copied := *d
				if r, ok := d.Receipt.(receipt); ok && (r.id == d.ID || d.Malformed != nil) {
					copied.Receipt = r.inner
				}
				found = append(found, &copied)
			}
			return c.reference.Release(ctx, found, delay)
		}
		c.unwrapReceipts()
	}, []string{
		"delivery/a-changed-delivery-changes-nothing-in-the-broker",
	}},
	{"panics without a receipt", func(c *broken) {
		c.ack = func(ctx context.Context, deliveries []*backend.Delivery) error {
			for _, d := range deliveries {
				if d.Receipt == nil {
					panic("nil receipt")
				}
			}
			return c.reference.Ack(ctx, deliveries)
		}
	}, []string{
		"settle/a-delivery-without-receipt-is-refused",
	}},
	{"accepts a stale ack", func(c *broken) {
		c.ack = func(ctx context.Context, deliveries []*backend.Delivery) error {
			err := c.reference.Ack(ctx, deliveries)
			if errors.Is(err, backend.ErrLeaseLost) {
				return nil
			}
			return err
		}
	}, []string{
		"concurrency/a-delivery-is-settled-by-one-of-two-at-once",
		"lease/of-the-next-holder-is-not-disturbed-by-ack",
		"lease/that-has-ended-refuses-ack",
		"settle/a-delivery-without-receipt-is-refused",
		"settle/a-second-time-after-ack-is-refused",
		"settle/a-second-time-after-bury-is-refused",
		"settle/a-second-time-after-release-is-refused",
		"settle/a-second-time-after-retry-is-refused",
		"settle/ack-of-a-batch-marks-just-the-lost-one",
		"settle/bury-of-a-batch-marks-just-the-lost-one",
		"settle/extend-of-a-batch-marks-just-the-lost-one",
		"settle/release-of-a-batch-marks-just-the-lost-one",
		"settle/retry-of-a-batch-marks-just-the-lost-one",
	}},
	{"acks the first hundred of a batch", func(c *broken) {
		c.ack = func(ctx context.Context, deliveries []*backend.Delivery) error {
			return c.reference.Ack(ctx, deliveries[:min(len(deliveries), 100)])
		}
	}, []string{
		"settle/ack-removes-a-large-batch",
	}},
	{"fails a batch of acks as a whole", func(c *broken) {
		c.ack = func(ctx context.Context, deliveries []*backend.Delivery) error {
			if err := c.reference.Ack(ctx, deliveries); errors.Is(err, backend.ErrLeaseLost) {
				return backend.ErrLeaseLost
			} else {
				return err
			}
		}
	}, []string{
		"settle/ack-of-a-batch-marks-just-the-lost-one",
	}},
	{"stops a batch of releases at the first that is lost", func(c *broken) {
		c.release = func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
			errs := make([]error, len(deliveries))
			for i, d := range deliveries {
				errs[i] = c.reference.Release(ctx, []*backend.Delivery{d}, delay)
				if errs[i] != nil {
					break
				}
			}
			return backend.NewBatchError(errs)
		}
	}, []string{
		"settle/release-of-a-batch-marks-just-the-lost-one",
	}},
	{"retries by a second copy", func(c *broken) {
		c.retry = func(ctx context.Context, replacements []backend.Replacement) error {
			for _, r := range replacements {
				if r.Delivery.Deliveries == 1 && r.Message.Delay == 0 && r.Message.Attempt == 1 {
					c.double(r.Message)
					return ctx.Err()
				}
			}
			return c.reference.Retry(ctx, replacements)
		}
	}, []string{
		"concurrency/a-delivery-is-settled-by-one-of-two-at-once",
		"concurrency/retries-and-releases-under-load-lose-and-double-nothing",
		"lease/of-the-next-holder-is-not-disturbed-by-retry",
		"lease/that-has-ended-refuses-retry",
		"lifecycle/after-close-every-verb-fails",
		"limits/refuse-a-replacement-that-is-too-large",
		"retry/leaves-one-copy",
		"retry/of-a-batch-stores-each-replacement",
		"retry/with-an-invalid-replacement-keeps-the-delivery",
		"settle/a-second-time-after-ack-is-refused",
		"settle/a-second-time-after-bury-is-refused",
		"settle/a-second-time-after-release-is-refused",
		"settle/a-second-time-after-retry-is-refused",
		"settle/retry-of-a-batch-marks-just-the-lost-one",
	}},
	{"retries what it has lost", func(c *broken) {
		c.retry = func(ctx context.Context, replacements []backend.Replacement) error {
			err := c.reference.Retry(ctx, replacements)
			for i, r := range replacements {
				if errors.Is(backend.ErrorAt(err, i), backend.ErrLeaseLost) {
					c.double(r.Message)
				}
			}
			return err
		}
	}, []string{
		"concurrency/a-delivery-is-settled-by-one-of-two-at-once",
		"lease/of-the-next-holder-is-not-disturbed-by-retry",
		"lease/that-has-ended-refuses-retry",
		"settle/a-second-time-after-ack-is-refused",
		"settle/a-second-time-after-bury-is-refused",
		"settle/a-second-time-after-release-is-refused",
		"settle/a-second-time-after-retry-is-refused",
		"settle/retry-of-a-batch-marks-just-the-lost-one",
	}},
	{"retries with the old message", func(c *broken) {
		c.onRetry(func(d *backend.Delivery, m *backend.Message) {
			old := d.Message
			old.Attempt, old.Delay, old.Queue, old.Kind = m.Attempt, m.Delay, m.Queue, m.Kind
			*m = old
		})
	}, []string{
		"limits/refuse-a-replacement-that-is-too-large",
		"retry/keeps-header-and-extra-of-what-it-is-given",
		"retry/of-a-batch-stores-each-replacement",
		"retry/stores-the-replacement",
	}},
	{"retries with the attempt that it counted itself", func(c *broken) {
		c.onRetry(func(d *backend.Delivery, m *backend.Message) { m.Attempt = d.Attempt })
	}, []string{
		"attempt/is-what-retry-says",
		"retry/of-a-batch-stores-each-replacement",
		"retry/stores-the-replacement",
	}},
	{"retries to the old queue", func(c *broken) {
		c.onRetry(func(d *backend.Delivery, m *backend.Message) {
			if m.Queue != "a b" {
				m.Queue = d.Queue
			}
		})
	}, []string{
		"retry/may-move-the-message-to-another-queue",
	}},
	{"retries at once", func(c *broken) {
		c.onRetry(func(_ *backend.Delivery, m *backend.Message) {
			if m.Delay > 0 {
				m.Delay = 0
			}
		})
	}, []string{
		"inspect/stats-follow-what-is-settled",
		"retry/comes-after-its-delay",
	}},
	{"drops a delivery whose replacement is refused", func(c *broken) {
		c.retry = func(ctx context.Context, replacements []backend.Replacement) error {
			err := c.reference.Retry(ctx, replacements)
			for i, r := range replacements {
				if errors.Is(backend.ErrorAt(err, i), backend.ErrTooLarge) {
					c.reference.Ack(ctx, []*backend.Delivery{r.Delivery})
				}
			}
			return err
		}
	}, []string{
		"limits/refuse-a-replacement-that-is-too-large",
	}},
	{"releases to the end of the line, as an attempt", func(c *broken) {
		c.release = func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
			if delay < 0 {
				return backend.ErrInvalid
			}
			var replacements []backend.Replacement
			for _, d := range deliveries {
				if d.Malformed != nil || d.Kind == "" {
					return c.reference.Release(ctx, deliveries, delay)
				}
				m := d.Message
				m.Delay = delay
				replacements = append(replacements, backend.Replacement{Delivery: d, Message: &m})
			}
			return c.reference.Retry(ctx, replacements)
		}
	}, []string{
		"attempt/is-given-back-by-release",
		"release/comes-after-its-delay",
		"release/gives-the-message-back-unchanged",
		"release/puts-messages-back-in-their-old-place",
		"release/wakes-a-waiting-reserve",
	}},
	{"releases to the end of the line", func(c *broken) {
		c.release = func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
			if len(deliveries) < 3 || delay != 0 {
				return c.reference.Release(ctx, deliveries, delay)
			}
			var replacements []backend.Replacement
			for _, d := range deliveries {
				m := d.Message
				m.Attempt--
				replacements = append(replacements, backend.Replacement{Delivery: d, Message: &m})
			}
			return c.reference.Retry(ctx, replacements)
		}
	}, []string{
		"release/puts-messages-back-in-their-old-place",
	}},
	{"releases at once", func(c *broken) {
		c.release = func(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
			return c.reference.Release(ctx, deliveries, min(delay, 0))
		}
	}, []string{
		"release/comes-after-its-delay",
	}},
	{"keeps the dead by their ID", func(c *broken) {
		c.bury = func(ctx context.Context, burials []backend.Burial) error {
			for _, burial := range burials {
				entries, _ := c.reference.Peek(ctx, burial.Delivery.Queue, backend.Dead, 0, 100)
				for _, entry := range entries {
					if entry.ID != "" && entry.ID == burial.Delivery.ID {
						c.reference.Delete(ctx, burial.Delivery.Queue, entry.Key)
					}
				}
			}
			return c.reference.Bury(ctx, burials)
		}
	}, []string{
		"dead/tells-copies-of-one-id-apart",
	}},
	{"buries the message that was delivered", func(c *broken) {
		c.bury = func(ctx context.Context, burials []backend.Burial) error {
			var old []backend.Burial
			for _, burial := range burials {
				if burial.Message != nil {
					burial.Message = &burial.Delivery.Message
				}
				old = append(old, burial)
			}
			return c.reference.Bury(ctx, old)
		}
	}, []string{
		"dead/keeps-the-message-that-bury-is-given",
	}},
	{"cuts the backtrace", func(c *broken) {
		c.bury = func(ctx context.Context, burials []backend.Burial) error {
			var cut []backend.Burial
			for _, burial := range burials {
				burial.Failure.Backtrace = nil
				cut = append(cut, burial)
			}
			return c.reference.Bury(ctx, cut)
		}
	}, []string{
		"dead/keeps-message-and-failure",
	}},
	{"cuts raw bytes at the first NUL", func(c *broken) {
		c.peek = func(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
			entries, err := c.reference.Peek(ctx, queue, state, offset, limit)
			for _, entry := range entries {
				for i, char := range entry.Raw {
					if char == 0 {
						entry.Raw = entry.Raw[:i]
						break
					}
				}
			}
			return entries, err
		}
	}, []string{
		"poison/of-every-byte",
		"poison/of-nul",
		"poison/of-nul-within",
	}},
	{"takes null for a message", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) {
			if string(d.Raw) == "null" {
				d.Malformed = nil
			}
		})
	}, []string{
		"poison/of-null",
	}},
	{"panics on an empty body", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) {
			if d.Raw != nil {
				_ = d.Raw[0]
			}
		})
	}, []string{
		"poison/of-nothing",
	}},
	{"fails Reserve for a batch with something malformed", func(c *broken) {
		c.reserve = func(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
			deliveries, err := c.reference.Reserve(ctx, queues, max, lease)
			for _, d := range deliveries {
				if d.Malformed != nil && string(d.Raw) == "hello" {
					c.reference.Release(ctx, deliveries, 0)
					return nil, d.Malformed
				}
			}
			return deliveries, err
		}
	}, []string{
		"poison/of-text",
	}},
	{"gives every foreign message the same ID", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) {
			if d.Raw != nil && d.Malformed == nil {
				d.ID = "foreign"
			}
		})
	}, []string{
		"foreign/a-foreign-message-keeps-the-id-that-it-is-given",
	}},
	{"gives a foreign message another ID each time", func(c *broken) {
		c.onReserve(func(d *backend.Delivery) {
			if d.Raw != nil && d.Malformed == nil {
				d.ID = string(rune('a' + c.shared.add("", 1)))
			}
		})
	}, []string{
		"foreign/a-foreign-message-keeps-the-id-that-it-is-given",
	}},
}

// receipt is one that knows the message that it is for.
type receipt struct {
	id    string
	inner any
}

// unwrapReceipts makes the other verbs of c take the receipts for what they
// are.
func (c *broken) unwrapReceipts() {
	unwrap := func(d *backend.Delivery) *backend.Delivery {
		copied := *d
		if r, ok := d.Receipt.(receipt); ok {
			copied.Receipt = r.inner
		}
		return &copied
	}
	all := func(deliveries []*backend.Delivery) []*backend.Delivery {
		var unwrapped []*backend.Delivery
		for _, d := range deliveries {
			unwrapped = append(unwrapped, unwrap(d))
		}
		return unwrapped
	}
	c.ack = func(ctx context.Context, deliveries []*backend.Delivery) error {
		return c.reference.Ack(ctx, all(deliveries))
	}
	c.extend = func(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error {
		return c.reference.Extend(ctx, all(deliveries), lease)
	}
	c.retry = func(ctx context.Context, replacements []backend.Replacement) error {
		var unwrapped []backend.Replacement
		for _, r := range replacements {
			unwrapped = append(unwrapped, backend.Replacement{Delivery: unwrap(r.Delivery), Message: r.Message})
		}
		return c.reference.Retry(ctx, unwrapped)
	}
	c.bury = func(ctx context.Context, burials []backend.Burial) error {
		var unwrapped []backend.Burial
		for _, b := range burials {
			b.Delivery = unwrap(b.Delivery)
			unwrapped = append(unwrapped, b)
		}
		return c.reference.Bury(ctx, unwrapped)
	}
}
