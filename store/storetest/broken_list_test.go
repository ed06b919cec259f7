package storetest_test

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/goferhq/queue/store"
)

var brokenList = []broken{
	{
		name: "ignores the prefix",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				return s.connection.List(ctx, "")
			}
		},
		fails: []string{
			"list/list-returns-the-keys-of-a-prefix",
			"list/list-takes-a-prefix-literally",
		},
	},
	{
		name: "lists no values",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				items, err := s.connection.List(ctx, prefix)
				for i := range items {
					items[i].Value = nil
				}
				return items, err
			}
		},
		fails: []string{"list/list-returns-the-keys-of-a-prefix"},
	},
	{
		name: "fails to list nothing",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				items, err := s.connection.List(ctx, prefix)
				if err == nil && len(items) == 0 {
					err = store.ErrNotFound
				}
				return items, err
			}
		},
		fails: []string{"list/list-of-nothing-is-no-error"},
	},
	{
		name: "takes a prefix for a pattern",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				if !strings.ContainsAny(prefix, `*?[\`) {
					return s.connection.List(ctx, prefix)
				}
				items, err := s.connection.List(ctx, "")
				return slices.DeleteFunc(items, func(item store.Item) bool {
					matched, _ := path.Match(prefix+"*", item.Key)
					return !matched
				}), err
			}
		},
		fails: []string{"list/list-takes-a-prefix-literally"},
	},
	{
		name: "lists in no order",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				items, err := s.connection.List(ctx, prefix)
				slices.Reverse(items)
				return items, err
			}
		},
		fails: []string{
			"list/list-returns-the-keys-of-a-prefix",
			"list/list-is-sorted-by-the-bytes-of-the-key",
			"list/list-returns-each-of-many-keys-once",
		},
	},
	{
		name: "sorts without regard to case",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				items, err := s.connection.List(ctx, prefix)
				slices.SortFunc(items, func(a, b store.Item) int {
					return strings.Compare(strings.ToLower(a.Key), strings.ToLower(b.Key))
				})
				return items, err
			}
		},
		fails: []string{"list/list-is-sorted-by-the-bytes-of-the-key"},
	},
	{
		name: "lists a key of a long list twice",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				items, err := s.connection.List(ctx, prefix)
				if len(items) > 1000 {
					items = slices.Insert(items, 1000, items[999])
				}
				return items, err
			}
		},
		fails: []string{"list/list-returns-each-of-many-keys-once"},
	},
	{
		name: "lists nothing for an empty prefix",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				if prefix == "" {
					return nil, nil
				}
				return s.connection.List(ctx, prefix)
			}
		},
		fails: []string{"list/an-empty-prefix-lists-everything"},
	},
}
