package storetest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/goferhq/queue/store"
)

var values = []rule{
	{
		name: "get-returns-the-bytes-that-set-stored",
		why:  "Values are arbitrary bytes: a store that changes an encoding, stops at a NUL or cuts a long value corrupts every record.",
		check: func(ctx context.Context, b *bench) error {
			every := make([]byte, 256)
			for i := range every {
				every[i] = byte(i)
			}
			for name, value := range map[string]string{
				"text":  "hello",
				"bytes": string(every),
				"long":  strings.Repeat("0123456789abcdef", 1<<14),
			} {
				key := b.key(name)
				if err := b.Set(ctx, key, []byte(value), 0); err != nil {
					return fmt.Errorf("a Set of %d bytes failed: %w", len(value), err)
				}
				if got, err := b.Get(ctx, key); err != nil || string(got) != value {
					return fmt.Errorf("after a Set, Get returned %d bytes and the error %v, want the %d bytes of %s that were set", len(got), err, len(value), name)
				}
			}
			return nil
		},
	},
	{
		name: "an-empty-value-is-a-value",
		why:  "A lock or a flag may carry no value; if it counts as missing, nobody ever holds it.",
		check: func(ctx context.Context, b *bench) error {
			return first(
				b.Set(ctx, b.key("empty"), []byte{}, 0),
				expectValue(ctx, b, b.key("empty"), ""),
				b.Set(ctx, b.key("nil"), nil, 0),
				expectValue(ctx, b, b.key("nil"), ""),
			)
		},
	},
	{
		name: "a-key-never-set-is-not-found",
		why:  "Callers tell a missing key from a broken store by ErrNotFound alone: they create what is missing, and must not overwrite what they could not read.",
		check: func(ctx context.Context, b *bench) error {
			return expectMissing(ctx, b, b.key("never set"))
		},
	},
	{
		name: "set-replaces-the-value",
		why:  "A status that keeps its first value never shows progress.",
		check: func(ctx context.Context, b *bench) error {
			key := b.key("key")
			return first(
				b.Set(ctx, key, []byte("a longer old value"), 0),
				b.Set(ctx, key, []byte("new"), 0),
				expectValue(ctx, b, key, "new"),
			)
		},
	},
	{
		name: "keys-are-exact",
		why:  "Keys contain job ids that users choose: a store that folds case, trims blanks or treats a character specially mixes up two jobs.",
		check: func(ctx context.Context, b *bench) error {
			keys := []string{"a", "A", "a ", " a", "a\n", "a\x00", "a*", "a?", "a/b", "a:b", "a%2Fb", "é", "e\u0301", strings.Repeat("long", 50)}
			for _, key := range keys {
				if err := b.Set(ctx, b.key(key), []byte(key), 0); err != nil {
					return fmt.Errorf("a Set with a key that ends in %q failed: %w", key, err)
				}
			}
			for _, key := range keys {
				if err := expectValue(ctx, b, b.key(key), key); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name: "values-passed-in-are-copied",
		why:  "Callers reuse their buffers: a store that keeps the slice changes its values behind everyone's back.",
		check: func(ctx context.Context, b *bench) error {
			value := []byte("before")
			if err := b.Set(ctx, b.key("set"), value, 0); err != nil {
				return err
			}
			if _, err := b.SetNX(ctx, b.key("setnx"), value, 0); err != nil {
				return err
			}
			if _, err := b.Apply(ctx, []store.Op{{Verb: store.OpSet, Key: b.key("apply"), Value: value}}); err != nil {
				return err
			}
			copy(value, "after!")
			for _, name := range []string{"set", "setnx", "apply"} {
				if err := expectValue(ctx, b, b.key(name), "before"); err != nil {
					return fmt.Errorf("after the caller changed the slice it had passed in, %w", err)
				}
			}
			return nil
		},
	},
	{
		name: "values-returned-belong-to-the-caller",
		why:  "Callers decode in place: a store that returns its own memory lets one reader change what the next one sees, which is a data race besides.",
		check: func(ctx context.Context, b *bench) error {
			key := b.key("key")
			if err := b.Set(ctx, key, []byte("before"), 0); err != nil {
				return err
			}
			value, err := b.Get(ctx, key)
			if err != nil {
				return err
			}
			copy(value, "by Get")
			if err := expectValue(ctx, b, key, "before"); err != nil {
				return fmt.Errorf("after the caller changed what Get had returned, %w", err)
			}
			items, err := b.List(ctx, key)
			if err != nil {
				return err
			}
			for _, item := range items {
				copy(item.Value, "by List")
			}
			if err := expectValue(ctx, b, key, "before"); err != nil {
				return fmt.Errorf("after the caller changed what List had returned, %w", err)
			}
			results, err := b.Apply(ctx, []store.Op{{Verb: store.OpGet, Key: key}})
			if err != nil {
				return err
			}
			for _, result := range results {
				copy(result.Value, "by Apply")
			}
			if err := expectValue(ctx, b, key, "before"); err != nil {
				return fmt.Errorf("after the caller changed what Apply had returned, %w", err)
			}
			return nil
		},
	},
	{
		name: "other-connections-see-what-is-written",
		why:  "The process that reads a status is not the one that writes it: a store that caches, buffers or prefixes keys per connection shows them different worlds.",
		check: func(ctx context.Context, b *bench) error {
			other, err := b.second()
			if err != nil {
				return err
			}
			key := b.key("key")
			return first(
				b.Set(ctx, key, []byte("one"), 0),
				expectValue(ctx, other, key, "one"),
				other.Set(ctx, key, []byte("two"), 0),
				expectValue(ctx, b, key, "two"),
			)
		},
	},
	{
		name: "an-empty-key-is-invalid",
		why:  "An empty key is an id that somebody forgot: stored, it would be shared by all who forget.",
		check: func(ctx context.Context, b *bench) error {
			_, get := b.Get(ctx, "")
			set := b.Set(ctx, "", []byte("value"), time.Minute)
			_, setNX := b.SetNX(ctx, "", []byte("value"), time.Minute)
			_, compareAndDelete := b.CompareAndDelete(ctx, "", []byte("value"))
			_, incr := b.Incr(ctx, "", 1, time.Minute)
			return first(
				expectError(`Get("")`, get, store.ErrInvalid),
				expectError(`Set("")`, set, store.ErrInvalid),
				expectError(`SetNX("")`, setNX, store.ErrInvalid),
				expectError(`CompareAndDelete("")`, compareAndDelete, store.ErrInvalid),
				expectError(`Incr("")`, incr, store.ErrInvalid),
			)
		},
	},
	{
		name: "a-negative-ttl-is-invalid-and-changes-nothing",
		why:  "A negative time to live is a due time that has passed or a sum that overflowed; taken as zero it would keep the key for ever, taken as a delete it would lose it.",
		check: func(ctx context.Context, b *bench) error {
			key, missing := b.key("key"), b.key("missing")
			if err := b.Set(ctx, key, []byte("7"), 0); err != nil {
				return err
			}
			set := b.Set(ctx, key, []byte("8"), -time.Second)
			_, setNX := b.SetNX(ctx, missing, []byte("8"), -time.Second)
			_, incr := b.Incr(ctx, key, 1, -time.Second)
			return first(
				expectError("Set with a negative ttl", set, store.ErrInvalid),
				expectError("SetNX with a negative ttl", setNX, store.ErrInvalid),
				expectError("Incr with a negative ttl", incr, store.ErrInvalid),
				expectValue(ctx, b, key, "7"),
				expectMissing(ctx, b, missing),
			)
		},
	},
}
