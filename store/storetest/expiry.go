package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/goferhq/queue/store"
)

var expiry = []rule{
	{
		name: "set-with-a-ttl-expires",
		why:  "A store that never forgets fills up with the records of finished jobs.",
		check: func(ctx context.Context, b *bench) error {
			if err := b.Set(ctx, b.key("key"), []byte("value"), shortTTL); err != nil {
				return err
			}
			expire(shortTTL)
			return expectMissing(ctx, b, b.key("key"))
		},
	},
	{
		name: "setnx-with-a-ttl-frees-the-lock",
		why:  "The holder of a lock may have crashed: only the expiry lets somebody else take it.",
		check: func(ctx context.Context, b *bench) error {
			key := b.key("lock")
			if _, err := b.SetNX(ctx, key, []byte("crashed"), shortTTL); err != nil {
				return err
			}
			expire(shortTTL)
			stored, err := b.SetNX(ctx, key, []byte("next"), 0)
			if err != nil || !stored {
				return fmt.Errorf("a SetNX on a lock that has expired returned %v, %v, want true", stored, err)
			}
			return nil
		},
	},
	{
		name: "incr-creates-with-a-ttl",
		why:  "A rate limit counts per window: a counter that never expires closes the limit for good.",
		check: func(ctx context.Context, b *bench) error {
			if _, err := b.Incr(ctx, b.key("count"), 1, shortTTL); err != nil {
				return err
			}
			expire(shortTTL)
			return expectMissing(ctx, b, b.key("count"))
		},
	},
	{
		name: "apply-keeps-the-ttl-of-its-ops",
		why:  "Status is written in batches: without their time to live the records stay for ever.",
		check: func(ctx context.Context, b *bench) error {
			_, err := b.Apply(ctx, []store.Op{
				{Verb: store.OpSet, Key: b.key("set"), Value: []byte("value"), TTL: shortTTL},
				{Verb: store.OpIncr, Key: b.key("incr"), Delta: 1, TTL: shortTTL},
				{Verb: store.OpSet, Key: b.key("stays"), Value: []byte("value"), TTL: time.Hour},
			})
			if err != nil {
				return err
			}
			expire(shortTTL)
			return first(
				expectMissing(ctx, b, b.key("set")),
				expectMissing(ctx, b, b.key("incr")),
				expectValue(ctx, b, b.key("stays"), "value"),
			)
		},
	},
	{
		name: "set-replaces-the-ttl",
		why:  "A job that is put back to work is written anew: if the record kept its old expiry, it would vanish while the job runs.",
		check: func(ctx context.Context, b *bench) error {
			forever, longer := b.key("forever"), b.key("longer")
			for _, key := range []string{forever, longer} {
				if err := b.Set(ctx, key, []byte("old"), shortTTL); err != nil {
					return err
				}
			}
			if err := first(
				b.Set(ctx, forever, []byte("new"), 0),
				b.Set(ctx, longer, []byte("new"), time.Hour),
			); err != nil {
				return err
			}
			expire(shortTTL)
			return first(
				expectValue(ctx, b, forever, "new"),
				expectValue(ctx, b, longer, "new"),
			)
		},
	},
	{
		name: "a-ttl-counts-in-milliseconds-rounded-up",
		why:  "A time to live rounded down ends a lock before its holder is done; one below a millisecond, rounded to zero, would never end or be refused.",
		check: func(ctx context.Context, b *bench) error {
			tiny := b.key("tiny")
			if err := b.Set(ctx, tiny, []byte("value"), time.Nanosecond); err != nil {
				return fmt.Errorf("a Set with a ttl of a nanosecond failed: %w", err)
			}
			expire(time.Millisecond)
			if err := expectMissing(ctx, b, tiny); err != nil {
				return fmt.Errorf("with a ttl of a nanosecond: %w", err)
			}

			const ttl, before = 1500 * time.Millisecond, 1100 * time.Millisecond
			key := b.key("key")
			start := time.Now()
			if err := b.Set(ctx, key, []byte("value"), ttl); err != nil {
				return err
			}
			time.Sleep(before)
			err := expectValue(ctx, b, key, "value")
			if lived := time.Since(start); err != nil && lived < ttl {
				return fmt.Errorf("%v after it was set with a ttl of %v: %w", lived, ttl, err)
			}
			time.Sleep(ttl - before + clockSlack)
			if err := expectMissing(ctx, b, key); err != nil {
				return fmt.Errorf("%v after it was set with a ttl of %v: %w", time.Since(start), ttl, err)
			}
			return nil
		},
	},
	{
		name: "a-ttl-of-a-century-is-kept",
		why:  "A job may be scheduled years ahead and its record lives as long: a store whose clock arithmetic overflows forgets it at once.",
		check: func(ctx context.Context, b *bench) error {
			return first(
				b.Set(ctx, b.key("key"), []byte("value"), 100*365*24*time.Hour),
				expectValue(ctx, b, b.key("key"), "value"),
			)
		},
	},
	{
		name: "an-expired-key-is-not-listed",
		why:  "The list of workers is a List of keys that expire: one that shows expired keys shows the dead as living.",
		check: func(ctx context.Context, b *bench) error {
			if err := first(
				b.Set(ctx, b.key("dead"), []byte("value"), shortTTL),
				b.Set(ctx, b.key("living"), []byte("value"), time.Hour),
			); err != nil {
				return err
			}
			expire(shortTTL)
			return expectListed(ctx, b, b.prefix, b.key("living"))
		},
	},
	{
		name: "an-expired-key-is-missing-to-every-method",
		why:  "A store that removes expired keys later must hide them until then, or a lock that has ended is released, and a counter continued, as if it had not.",
		check: func(ctx context.Context, b *bench) error {
			for _, name := range []string{"lock", "count", "batch"} {
				if err := b.Set(ctx, b.key(name), []byte("5"), shortTTL); err != nil {
					return err
				}
			}
			expire(shortTTL)
			deleted, err := b.CompareAndDelete(ctx, b.key("lock"), []byte("5"))
			if err != nil || deleted {
				return fmt.Errorf("a CompareAndDelete of an expired key returned %v, %v, want false", deleted, err)
			}
			sum, err := b.Incr(ctx, b.key("count"), 1, 0)
			if err != nil || sum != 1 {
				return fmt.Errorf("an Incr by 1 of an expired key that held 5 returned %d, %v, want 1", sum, err)
			}
			results, err := applyAll(ctx, b, store.Op{Verb: store.OpGet, Key: b.key("batch")})
			if err != nil {
				return err
			}
			return expectError("OpGet of an expired key", results[0].Err, store.ErrNotFound)
		},
	},
}
