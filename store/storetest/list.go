package storetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/goferhq/queue/store"
)

var list = []rule{
	{
		name: "list-returns-the-keys-of-a-prefix",
		why:  "Workers, schedules and statuses share one store: a List that returns more shows one as another, and one that returns less hides it.",
		check: func(ctx context.Context, b *bench) error {
			for _, name := range []string{"worker:1", "worker:2", "worker", "work", "other:worker:3"} {
				if err := b.Set(ctx, b.key(name), []byte("value of "+name), 0); err != nil {
					return err
				}
			}
			if err := expectListed(ctx, b, b.key("worker"), b.key("worker"), b.key("worker:1"), b.key("worker:2")); err != nil {
				return err
			}
			items, err := b.List(ctx, b.key("other:worker:3"))
			if err != nil || len(items) != 1 || string(items[0].Value) != "value of other:worker:3" {
				return fmt.Errorf("a List of a prefix that is a whole key returned %q, %v, want that key and its value", items, err)
			}
			return nil
		},
	},
	{
		name: "list-of-nothing-is-no-error",
		why:  "No worker is running is an answer, not a failure.",
		check: func(ctx context.Context, b *bench) error {
			return expectListed(ctx, b, b.key("nothing begins with this"))
		},
	},
	{
		name: "list-takes-a-prefix-literally",
		why:  "Prefixes contain names that users choose: a store that takes * or _ in them for a pattern lists the keys of others.",
		check: func(ctx context.Context, b *bench) error {
			specials := []string{"*", "?", "[a]", "_", "%", `\`, "^", ".", "{b,c}"}
			for _, special := range specials {
				for _, key := range []string{special + "mine", "a" + "mine", "bb" + "mine"} {
					if err := b.Set(ctx, b.key(key), []byte("value"), 0); err != nil {
						return err
					}
				}
			}
			for _, special := range specials {
				if err := expectListed(ctx, b, b.key(special), b.key(special+"mine")); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name: "list-is-sorted-by-the-bytes-of-the-key",
		why:  "People and pages read lists in order, and an order that depends on a locale differs from machine to machine.",
		check: func(ctx context.Context, b *bench) error {
			sorted := []string{"1", "10", "2", "B", "a", "a ", "a:b", "b", "z", "é", "日"}
			for i := range sorted {
				// 7 and the length have no common divisor: every key once, out of order.
				key := sorted[i*7%len(sorted)]
				if err := b.Set(ctx, b.key("sorted/"+key), []byte("value"), 0); err != nil {
					return err
				}
			}
			want := make([]string, len(sorted))
			for i, key := range sorted {
				want[i] = b.key("sorted/" + key)
			}
			return expectListed(ctx, b, b.key("sorted/"), want...)
		},
	},
	{
		name: "list-returns-each-of-many-keys-once",
		why:  "A store that lists page by page may miss a page or return a key twice, and a fleet of workers is counted wrong.",
		check: func(ctx context.Context, b *bench) error {
			var ops []store.Op
			var want []string
			for i := range 2500 {
				key := b.key(fmt.Sprintf("many/%04d", i))
				want = append(want, key)
				ops = append(ops, store.Op{Verb: store.OpSet, Key: key, Value: []byte("value")})
			}
			if _, err := b.Apply(ctx, ops); err != nil {
				return fmt.Errorf("an Apply of %d ops failed: %w", len(ops), err)
			}
			return expectListed(ctx, b, b.key("many/"), want...)
		},
	},
	{
		name: "an-empty-prefix-lists-everything",
		why:  "It is how a person looks into a store whose keys they do not know.",
		check: func(ctx context.Context, b *bench) error {
			if err := b.Set(ctx, b.key("key"), []byte("value"), 0); err != nil {
				return err
			}
			items, err := b.List(ctx, "")
			if err != nil {
				return err
			}
			for _, item := range items {
				if item.Key == b.key("key") {
					return nil
				}
			}
			return fmt.Errorf("a List of an empty prefix returned %d items, and the key that was set is not among them", len(items))
		},
	},
}

func expectListed(ctx context.Context, s store.Store, prefix string, want ...string) error {
	items, err := s.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("List(%q) failed: %w", prefix, err)
	}
	got := make([]string, len(items))
	for i, item := range items {
		got[i] = item.Key
	}
	if slices.Equal(got, want) {
		return nil
	}
	if len(want) > 20 {
		return fmt.Errorf("List(%q) returned %d keys, want %d, each once and sorted", prefix, len(got), len(want))
	}
	return fmt.Errorf("List(%q) returned the keys %q, want %q", prefix, got, want)
}
