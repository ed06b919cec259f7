package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goferhq/queue/store"
)

var lifecycle = []rule{
	{
		name: "an-ended-context-is-refused",
		why:  "The caller has gone: work in its name holds up a shutdown, and an error that is not its context's reads as a broken store.",
		check: func(ctx context.Context, b *bench) error {
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			if err := expectEveryCall(cancelled, b, "with a cancelled context", context.Canceled); err != nil {
				return err
			}
			late, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
			defer cancel()
			return expectEveryCall(late, b, "with a context past its deadline", context.DeadlineExceeded)
		},
	},
	{
		name: "use-after-close-is-refused",
		why:  "A store that works on after Close hides a shutdown in the wrong order, and one that panics or blocks turns it into a crash.",
		check: func(ctx context.Context, b *bench) error {
			if err := b.Close(); err != nil {
				return fmt.Errorf("the first Close failed: %w", err)
			}
			return expectEveryCall(ctx, b, "after Close", store.ErrClosed)
		},
	},
	{
		name: "closing-twice-is-no-error",
		why:  "A deferred Close follows an explicit one in every careful program.",
		check: func(ctx context.Context, b *bench) error {
			if err := b.Close(); err != nil {
				return fmt.Errorf("the first Close failed: %w", err)
			}
			if err := b.Close(); err != nil {
				return fmt.Errorf("the second Close failed: %w", err)
			}
			return nil
		},
	},
	{
		name: "close-leaves-other-connections-alone",
		why:  "A process that ends must not take the statuses of the others with it.",
		check: func(ctx context.Context, b *bench) error {
			if b.harness.Private {
				return nil
			}
			other, err := b.second()
			if err != nil {
				return err
			}
			key := b.key("key")
			if err := first(b.Set(ctx, key, []byte("value"), 0), b.Close()); err != nil {
				return err
			}
			if err := expectValue(ctx, other, key, "value"); err != nil {
				return fmt.Errorf("after another connection was closed, %w", err)
			}
			return nil
		},
	},
}

// expectEveryCall checks that every method but Close fails with want.
func expectEveryCall(ctx context.Context, b *bench, when string, want error) error {
	key := b.key("key")
	_, get := b.Get(ctx, key)
	set := b.Set(ctx, key, []byte("value"), 0)
	_, setNX := b.SetNX(ctx, key, []byte("value"), 0)
	_, compareAndDelete := b.CompareAndDelete(ctx, key, []byte("value"))
	_, incr := b.Incr(ctx, key, 1, 0)
	_, list := b.List(ctx, b.prefix)
	_, apply := b.Apply(ctx, []store.Op{{Verb: store.OpSet, Key: key, Value: []byte("value")}})
	return errors.Join(
		expectError("Get "+when, get, want),
		expectError("Set "+when, set, want),
		expectError("SetNX "+when, setNX, want),
		expectError("CompareAndDelete "+when, compareAndDelete, want),
		expectError("Incr "+when, incr, want),
		expectError("List "+when, list, want),
		expectError("Apply "+when, apply, want),
	)
}
