package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/goferhq/queue/store"
)

var apply = []rule{
	{
		name: "apply-returns-one-result-for-each-op-in-order",
		why:  "Callers match results to ops by position: one that is missing or misplaced gives a job the status of its neighbour.",
		check: func(ctx context.Context, b *bench) error {
			if err := first(
				b.Set(ctx, b.key("a"), []byte("value of a"), 0),
				b.Set(ctx, b.key("b"), []byte("value of b"), 0),
			); err != nil {
				return err
			}
			results, err := applyAll(ctx, b,
				store.Op{Verb: store.OpGet, Key: b.key("b")},
				store.Op{Verb: store.OpSet, Key: b.key("c"), Value: []byte("value of c")},
				store.Op{Verb: store.OpIncr, Key: b.key("n"), Delta: 5},
				store.Op{Verb: store.OpDelete, Key: b.key("n")},
				store.Op{Verb: store.OpGet, Key: b.key("a")},
			)
			if err != nil {
				return err
			}
			for i, want := range []store.Result{{Value: []byte("value of b")}, {}, {Sum: 5}, {}, {Value: []byte("value of a")}} {
				if err := expectResult(i, results[i], want); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name: "apply-runs-ops-in-order",
		why:  "A batch may write a key twice or read what it wrote: out of order, the older value wins.",
		check: func(ctx context.Context, b *bench) error {
			key := b.key("key")
			results, err := applyAll(ctx, b,
				store.Op{Verb: store.OpSet, Key: key, Value: []byte("1")},
				store.Op{Verb: store.OpGet, Key: key},
				store.Op{Verb: store.OpIncr, Key: key, Delta: 1},
				store.Op{Verb: store.OpGet, Key: key},
				store.Op{Verb: store.OpDelete, Key: key},
				store.Op{Verb: store.OpIncr, Key: key, Delta: 5},
				store.Op{Verb: store.OpSet, Key: key, Value: []byte("last")},
			)
			if err != nil {
				return err
			}
			return first(
				expectResult(1, results[1], store.Result{Value: []byte("1")}),
				expectResult(2, results[2], store.Result{Sum: 2}),
				expectResult(3, results[3], store.Result{Value: []byte("2")}),
				expectResult(5, results[5], store.Result{Sum: 5}),
				expectValue(ctx, b, key, "last"),
			)
		},
	},
	{
		name: "an-op-that-fails-does-not-stop-the-others",
		why:  "A batch carries the statuses of many jobs: one that is missing or malformed must not cost the others theirs.",
		check: func(ctx context.Context, b *bench) error {
			text := b.key("text")
			if err := b.Set(ctx, text, []byte("text"), 0); err != nil {
				return err
			}
			results, err := applyAll(ctx, b,
				store.Op{Verb: store.OpGet, Key: b.key("missing")},
				store.Op{Verb: store.OpIncr, Key: text, Delta: 1},
				store.Op{Verb: store.OpSet, Key: b.key("behind"), Value: []byte("written")},
			)
			if err != nil {
				return err
			}
			return first(
				expectError("OpGet of a missing key", results[0].Err, store.ErrNotFound),
				expectError("OpIncr of text", results[1].Err, store.ErrNotANumber),
				expectValue(ctx, b, text, "text"),
				expectSuccess("OpSet behind ops that failed", results[2].Err),
				expectValue(ctx, b, b.key("behind"), "written"),
			)
		},
	},
	{
		name: "an-invalid-op-fails-alone",
		why:  "An op that was left empty, or that lacks a key, is a mistake of its caller: it must be reported, and its neighbours in the batch are not to blame.",
		check: func(ctx context.Context, b *bench) error {
			results, err := applyAll(ctx, b,
				store.Op{Key: b.key("key")},
				store.Op{Verb: 99, Key: b.key("key")},
				store.Op{Verb: store.OpSet, Value: []byte("value")},
				store.Op{Verb: store.OpSet, Key: b.key("key"), Value: []byte("value"), TTL: -time.Second},
				store.Op{Verb: store.OpSet, Key: b.key("behind"), Value: []byte("written")},
			)
			if err != nil {
				return err
			}
			return first(
				expectError("an op without a verb", results[0].Err, store.ErrInvalid),
				expectError("an op with an unknown verb", results[1].Err, store.ErrInvalid),
				expectError("OpSet without a key", results[2].Err, store.ErrInvalid),
				expectError("OpSet with a negative ttl", results[3].Err, store.ErrInvalid),
				expectSuccess("OpSet behind invalid ops", results[4].Err),
				expectMissing(ctx, b, b.key("key")),
				expectValue(ctx, b, b.key("behind"), "written"),
			)
		},
	},
	{
		name: "opdelete-deletes-whatever-the-value",
		why:  "A record is deleted by those who do not know its value, and deleting what is gone has reached its aim.",
		check: func(ctx context.Context, b *bench) error {
			if err := b.Set(ctx, b.key("key"), []byte("value"), 0); err != nil {
				return err
			}
			results, err := applyAll(ctx, b,
				store.Op{Verb: store.OpDelete, Key: b.key("key")},
				store.Op{Verb: store.OpDelete, Key: b.key("missing")},
			)
			if err != nil {
				return err
			}
			return first(
				expectSuccess("OpDelete", results[0].Err),
				expectSuccess("OpDelete of a missing key", results[1].Err),
				expectMissing(ctx, b, b.key("key")),
			)
		},
	},
	{
		name: "opincr-keeps-the-time-to-live-it-finds",
		why:  "A counter in a batch is the same counter as one outside: its window begins with its first count.",
		check: func(ctx context.Context, b *bench) error {
			return expectTTLKept(ctx, b, "window", func(key string) error {
				_, err := applyAll(ctx, b, store.Op{Verb: store.OpIncr, Key: key, Delta: 1, TTL: time.Hour})
				return err
			})
		},
	},
	{
		name: "an-empty-batch-is-no-error",
		why:  "Callers that have nothing to write should not need a special case.",
		check: func(ctx context.Context, b *bench) error {
			_, err := applyAll(ctx, b)
			return err
		},
	},
}

// applyAll is Apply, with the count of the results checked so that a case can
// index them.
func applyAll(ctx context.Context, s store.Store, ops ...store.Op) ([]store.Result, error) {
	results, err := s.Apply(ctx, ops)
	if err != nil {
		return nil, fmt.Errorf("an Apply of %d ops failed as a whole: %w", len(ops), err)
	}
	if len(results) != len(ops) {
		return nil, fmt.Errorf("an Apply of %d ops returned %d results", len(ops), len(results))
	}
	return results, nil
}

func expectResult(i int, got, want store.Result) error {
	if got.Err != nil || string(got.Value) != string(want.Value) || got.Sum != want.Sum {
		return fmt.Errorf("result %d of Apply is the value %q, the sum %d and the error %v, want %q, %d and none",
			i, got.Value, got.Sum, got.Err, want.Value, want.Sum)
	}
	return nil
}
