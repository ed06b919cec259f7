package backendtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"

	"github.com/goferhq/queue/backend"
)

// removeMutants break what Remove takes for a match.
var removeMutants = []mutant{
	{"heeds the first filter only", func(c *broken) {
		c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
			if _, err := backend.MatchAny(filters); err != nil {
				return 0, err
			}
			return c.reference.Remove(ctx, queue, filters[:1]...)
		}
	}, []string{
		"manage/remove-takes-what-matches-any-filter",
	}},
	{"counts a message for each filter that it matches", func(c *broken) {
		c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
			ready, _ := c.reference.Peek(ctx, queue, backend.Ready, 0, 100)
			n, err := c.reference.Remove(ctx, queue, filters...)
			if err != nil || len(filters) == 1 {
				return n, err
			}
			n = 0
			for _, f := range filters {
				match, _ := backend.MatchAny([]backend.Filter{f})
				for _, entry := range ready {
					if match(&entry.Message) {
						n++
					}
				}
			}
			return n, nil
		}
	}, []string{
		"manage/remove-takes-what-matches-any-filter",
	}},
	{"skips filters that are no JSON", func(c *broken) {
		c.remove = func(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
			var understood []backend.Filter
			for _, f := range filters {
				if f.Args == nil || json.Valid(f.Args) {
					understood = append(understood, f)
				}
			}
			return c.reference.Remove(ctx, queue, understood...)
		}
	}, []string{
		"manage/remove-by-args-that-are-no-json-is-invalid",
	}},
	{"compares arguments byte by byte", func(c *broken) {
		c.onMatch(bytes.Equal)
	}, []string{
		"manage/remove-by-args-compares-values",
		"manage/remove-by-args-needs-only-some-members-of-an-object",
		"manage/remove-by-args-tells-large-numbers-apart",
	}},
	{"rounds numbers", func(c *broken) {
		c.onMatch(func(wanted, args []byte) bool {
			var x, y any
			if json.Unmarshal(wanted, &x) != nil || json.Unmarshal(args, &y) != nil {
				return false
			}
			members, ok := x.(map[string]any)
			object, both := y.(map[string]any)
			if !ok || !both {
				return reflect.DeepEqual(x, y)
			}
			for name, want := range members {
				if got, ok := object[name]; !ok || !reflect.DeepEqual(got, want) {
					return false
				}
			}
			return true
		})
	}, []string{
		"manage/remove-by-args-tells-large-numbers-apart",
	}},
	{"wants every member of the arguments", func(c *broken) {
		c.onMatch(func(wanted, args []byte) bool { return matchArgs(wanted, args) && matchArgs(args, wanted) })
	}, []string{
		"manage/remove-by-args-needs-only-some-members-of-an-object",
	}},
	{"looks for arguments in a list", func(c *broken) {
		c.onMatch(func(wanted, args []byte) bool {
			var list []json.RawMessage
			if json.Unmarshal(args, &list) == nil && len(list) == 1 && matchArgs(wanted, list[0]) {
				return true
			}
			return matchArgs(wanted, args)
		})
	}, []string{
		"manage/remove-by-args-needs-only-some-members-of-an-object",
		"manage/remove-by-args-takes-a-list-as-a-whole",
	}},
	{"takes the beginning of a list for the whole", func(c *broken) {
		c.onMatch(func(wanted, args []byte) bool {
			var beginning, list []json.RawMessage
			if json.Unmarshal(wanted, &beginning) != nil || json.Unmarshal(args, &list) != nil || len(beginning) > len(list) {
				return matchArgs(wanted, args)
			}
			for i := range beginning {
				if !matchArgs(beginning[i], list[i]) {
					return false
				}
			}
			return true
		})
	}, []string{
		"manage/remove-by-args-takes-a-list-as-a-whole",
	}},
}

func matchArgs(wanted, args []byte) bool {
	match, err := backend.MatchAny([]backend.Filter{{Args: wanted}})
	return err == nil && match(&backend.Message{Args: args})
}
