package storetest

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/goferhq/queue/store"
)

var counters = []rule{
	{
		name: "incr-counts-a-missing-key-from-zero",
		why:  "Nobody creates a counter before its first use.",
		check: func(ctx context.Context, b *bench) error {
			return first(
				expectIncr(ctx, b, b.key("up"), 3, 3),
				expectIncr(ctx, b, b.key("up"), 4, 7),
				expectIncr(ctx, b, b.key("down"), -2, -2),
				expectIncr(ctx, b, b.key("down"), 0, -2),
			)
		},
	},
	{
		name: "a-counter-is-a-decimal-value",
		why:  "Counters are started by Set, read by Get and shown to people: a store with an encoding of its own for them cannot do either.",
		check: func(ctx context.Context, b *bench) error {
			key := b.key("count")
			return first(
				b.Set(ctx, key, []byte("41"), 0),
				expectIncr(ctx, b, key, 1, 42),
				expectValue(ctx, b, key, "42"),
			)
		},
	},
	{
		name: "incr-counts-to-the-ends-of-64-bits",
		why:  "A store that counts in floating point loses the last digits of a large number.",
		check: func(ctx context.Context, b *bench) error {
			return first(
				expectIncr(ctx, b, b.key("most"), math.MaxInt64-1, math.MaxInt64-1),
				expectIncr(ctx, b, b.key("most"), 1, math.MaxInt64),
				expectIncr(ctx, b, b.key("least"), math.MinInt64+1, math.MinInt64+1),
				expectIncr(ctx, b, b.key("least"), -1, math.MinInt64),
			)
		},
	},
	{
		name: "incr-refuses-what-is-not-a-number",
		why:  "Taking other text for 0 destroys a value that was there by mistake, and hides the mistake.",
		check: func(ctx context.Context, b *bench) error {
			for _, value := range []string{"text", "", "1.5", "12x", "0x10", "9223372036854775808"} {
				if err := expectNotANumber(ctx, b, value, 1); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name: "incr-refuses-to-overflow",
		why:  "A limit whose counter wraps around to a negative number lets everything through.",
		check: func(ctx context.Context, b *bench) error {
			return first(
				expectNotANumber(ctx, b, strconv.Itoa(math.MaxInt64), 1),
				expectNotANumber(ctx, b, strconv.Itoa(math.MinInt64), -1),
			)
		},
	},
	{
		name: "incr-keeps-the-time-to-live-it-finds",
		why:  "The window of a rate limit begins with its first count: if each count began it anew, a busy limit would never open again.",
		check: func(ctx context.Context, b *bench) error {
			for name, ttl := range map[string]time.Duration{"longer": time.Hour, "endless": 0} {
				err := expectTTLKept(ctx, b, name, func(key string) error {
					_, err := b.Incr(ctx, key, 1, ttl)
					return err
				})
				if err != nil {
					return fmt.Errorf("after Incr with a ttl of %v: %w", ttl, err)
				}
			}
			forever := b.key("forever")
			if err := b.Set(ctx, forever, []byte("1"), 0); err != nil {
				return err
			}
			if _, err := b.Incr(ctx, forever, 1, shortTTL); err != nil {
				return err
			}
			expire(shortTTL)
			if err := expectValue(ctx, b, forever, "2"); err != nil {
				return fmt.Errorf("after Incr with a ttl of a counter that had none: %w", err)
			}
			return nil
		},
	},
	{
		name: "concurrent-incr-loses-no-count",
		why:  "A counter that is read and then written loses counts, and a limit of ten lets through a hundred.",
		check: func(ctx context.Context, b *bench) error {
			other, err := b.second()
			if err != nil {
				return err
			}
			key := b.key("count")
			err = together(callers, func(i int) error {
				s := b.Store
				if i%2 == 1 {
					s = other
				}
				for range rounds {
					if _, err := s.Incr(ctx, key, 1, 0); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			if err := expectValue(ctx, b, key, strconv.Itoa(callers*rounds)); err != nil {
				return fmt.Errorf("after %d concurrent calls of Incr by 1, %w", callers*rounds, err)
			}
			return nil
		},
	},
}

func expectIncr(ctx context.Context, s store.Store, key string, delta, want int64) error {
	got, err := s.Incr(ctx, key, delta, 0)
	if err != nil || got != want {
		return fmt.Errorf("Incr(%q, %d) returned %d, %v, want %d", key, delta, got, err, want)
	}
	return nil
}

// expectTTLKept checks that incr, which adds 1 to the key, leaves the time to
// live that the key has.
func expectTTLKept(ctx context.Context, b *bench, name string, incr func(key string) error) error {
	const ttl = 200 * time.Millisecond
	key := b.key(name)
	start := time.Now()
	if err := b.Set(ctx, key, []byte("1"), ttl); err != nil {
		return err
	}
	if err := incr(key); err != nil {
		return err
	}
	if time.Since(start) >= ttl {
		return nil // The key may have expired before incr: this machine is too slow to tell.
	}
	expire(ttl)
	return expectMissing(ctx, b, key)
}

func expectNotANumber(ctx context.Context, b *bench, value string, delta int64) error {
	key := b.key("value")
	if err := b.Set(ctx, key, []byte(value), 0); err != nil {
		return err
	}
	_, err := b.Incr(ctx, key, delta, 0)
	return first(
		expectError(fmt.Sprintf("Incr by %d of %q", delta, value), err, store.ErrNotANumber),
		expectValue(ctx, b, key, value),
	)
}
