package storetest_test

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/goferhq/queue/store"
)

var brokenApply = []broken{
	{
		name: "returns results only of reads",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				results, err := s.connection.Apply(ctx, ops)
				if err != nil {
					return nil, err
				}
				var reads []store.Result
				for i, result := range results {
					if ops[i].Verb == store.OpGet {
						reads = append(reads, result)
					}
				}
				return reads, nil
			}
		},
		fails: []string{ // every case that looks at results
			"apply/apply-returns-one-result-for-each-op-in-order",
			"apply/apply-runs-ops-in-order",
			"apply/an-op-that-fails-does-not-stop-the-others",
			"apply/an-invalid-op-fails-alone",
			"apply/opdelete-deletes-whatever-the-value",
			"apply/opincr-keeps-the-time-to-live-it-finds",
			"watch/watch-tells-of-every-kind-of-change",
		},
	},
	{
		name: "swaps the values of two reads",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				results, err := s.connection.Apply(ctx, ops)
				if err != nil {
					return nil, err
				}
				last := len(ops) - 1
				if last > 0 && ops[0].Verb == store.OpGet && ops[last].Verb == store.OpGet {
					results[0], results[last] = results[last], results[0]
				}
				return results, nil
			}
		},
		fails: []string{"apply/apply-returns-one-result-for-each-op-in-order"},
	},
	{
		name: "runs ops grouped by verb",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				order := make([]int, len(ops))
				for i := range order {
					order[i] = i
				}
				slices.SortStableFunc(order, func(a, b int) int { return int(ops[a].Verb - ops[b].Verb) })
				grouped := make([]store.Op, len(ops))
				for position, i := range order {
					grouped[position] = ops[i]
				}
				results, err := s.connection.Apply(ctx, grouped)
				if err != nil {
					return nil, err
				}
				sorted := make([]store.Result, len(ops))
				for position, i := range order {
					sorted[i] = results[position]
				}
				return sorted, nil
			}
		},
		fails: []string{"apply/apply-runs-ops-in-order"},
	},
	{
		name: "stops at the first op that fails",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				stopped := false
				return oneByOne(ops, func(op store.Op) (result store.Result, err error) {
					if !stopped {
						result, err = run(ctx, s, op)
						stopped = result.Err != nil
					}
					return result, err
				})
			}
		},
		fails: []string{
			"apply/an-op-that-fails-does-not-stop-the-others",
			"apply/an-invalid-op-fails-alone",
		},
	},
	{
		name: "refuses a batch for one invalid op",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				for _, op := range ops {
					if op.Verb < store.OpGet || op.Verb > store.OpIncr || op.Key == "" || op.TTL < 0 {
						return nil, store.ErrInvalid
					}
				}
				return s.connection.Apply(ctx, ops)
			}
		},
		fails: []string{"apply/an-invalid-op-fails-alone"},
	},
	{
		name: "takes an op without a verb for a read",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				ops = slices.Clone(ops)
				for i := range ops {
					ops[i].Verb = max(ops[i].Verb, store.OpGet)
				}
				return s.connection.Apply(ctx, ops)
			}
		},
		fails: []string{"apply/an-invalid-op-fails-alone"},
	},
	{
		name: "fails to delete a missing key",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				return oneByOne(ops, func(op store.Op) (store.Result, error) {
					_, getErr := s.connection.Get(ctx, op.Key)
					result, err := run(ctx, s, op)
					if op.Verb == store.OpDelete && errors.Is(getErr, store.ErrNotFound) {
						result.Err = store.ErrNotFound
					}
					return result, err
				})
			}
		},
		fails: []string{"apply/opdelete-deletes-whatever-the-value"},
	},
	{
		name: "begins the ttl of a counter in a batch anew",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				return oneByOne(ops, func(op store.Op) (store.Result, error) {
					result, err := run(ctx, s, op)
					if op.Verb == store.OpIncr && result.Err == nil {
						s.connection.Set(ctx, op.Key, strconv.AppendInt(nil, result.Sum, 10), op.TTL)
					}
					return result, err
				})
			}
		},
		fails: []string{"apply/opincr-keeps-the-time-to-live-it-finds"},
	},
	{
		name: "refuses an empty batch",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				if len(ops) == 0 {
					return nil, store.ErrInvalid
				}
				return s.connection.Apply(ctx, ops)
			}
		},
		fails: []string{"apply/an-empty-batch-is-no-error"},
	},
}

// oneByOne is an Apply that is no batch.
func oneByOne(ops []store.Op, run func(op store.Op) (store.Result, error)) ([]store.Result, error) {
	results := make([]store.Result, len(ops))
	for i, op := range ops {
		result, err := run(op)
		if err != nil {
			return nil, err
		}
		results[i] = result
	}
	return results, nil
}

func run(ctx context.Context, s *altered, op store.Op) (store.Result, error) {
	results, err := s.connection.Apply(ctx, []store.Op{op})
	if err != nil {
		return store.Result{}, err
	}
	return results[0], nil
}
