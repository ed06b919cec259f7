package storetest

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/goferhq/queue/store"
)

var locks = []rule{
	{
		name: "setnx-stores-a-missing-key",
		why:  "A lock that is free must be given to the first who asks.",
		check: func(ctx context.Context, b *bench) error {
			stored, err := b.SetNX(ctx, b.key("lock"), []byte("me"), 0)
			if err != nil || !stored {
				return fmt.Errorf("a SetNX of a missing key returned %v, %v, want true", stored, err)
			}
			return expectValue(ctx, b, b.key("lock"), "me")
		},
	},
	{
		name: "setnx-leaves-an-existing-key-alone",
		why:  "Who asks for a lock in vain must neither be told that they have it nor take it from its holder, nor cut its time short.",
		check: func(ctx context.Context, b *bench) error {
			key := b.key("lock")
			if err := b.Set(ctx, key, []byte("holder"), 0); err != nil {
				return err
			}
			stored, err := b.SetNX(ctx, key, []byte("other"), shortTTL)
			if err != nil || stored {
				return fmt.Errorf("a SetNX of an existing key returned %v, %v, want false", stored, err)
			}
			if err := expectValue(ctx, b, key, "holder"); err != nil {
				return fmt.Errorf("after a SetNX in vain, %w", err)
			}
			expire(shortTTL)
			if err := expectValue(ctx, b, key, "holder"); err != nil {
				return fmt.Errorf("after the time to live of a SetNX in vain, %w", err)
			}
			return nil
		},
	},
	{
		name: "of-concurrent-setnx-one-succeeds",
		why:  "SetNX is the acquisition of a lock. If two callers are told that they have it, a unique job runs twice; a mutex in the client does not help, since the callers are processes on different machines.",
		check: func(ctx context.Context, b *bench) error {
			return expectOneWinner(b, "SetNX", func(round int, s store.Store) (bool, error) {
				return s.SetNX(ctx, b.key(fmt.Sprint("lock ", round)), []byte("me"), 0)
			})
		},
	},
	{
		name: "compareanddelete-deletes-an-equal-value",
		why:  "A lock that its holder cannot release blocks everybody until it expires.",
		check: func(ctx context.Context, b *bench) error {
			key := b.key("lock")
			if err := b.Set(ctx, key, []byte("me"), 0); err != nil {
				return err
			}
			deleted, err := b.CompareAndDelete(ctx, key, []byte("me"))
			if err != nil || !deleted {
				return fmt.Errorf("a CompareAndDelete with the value of the key returned %v, %v, want true", deleted, err)
			}
			return expectMissing(ctx, b, key)
		},
	},
	{
		name: "compareanddelete-leaves-a-different-value",
		why:  "A holder whose lock expired and was taken by another must not release the other's lock.",
		check: func(ctx context.Context, b *bench) error {
			key := b.key("lock")
			if err := b.Set(ctx, key, []byte("another"), 0); err != nil {
				return err
			}
			for _, value := range []string{"me", "", "ANOTHER", "anothe", "another "} {
				deleted, err := b.CompareAndDelete(ctx, key, []byte(value))
				if err != nil || deleted {
					return fmt.Errorf("a CompareAndDelete with %q of a key that holds %q returned %v, %v, want false", value, "another", deleted, err)
				}
			}
			return expectValue(ctx, b, key, "another")
		},
	},
	{
		name: "compareanddelete-of-a-missing-key-is-false",
		why:  "A lock that expired before its release is no error: the caller only wants to know that it no longer had it.",
		check: func(ctx context.Context, b *bench) error {
			for _, value := range []string{"me", ""} {
				deleted, err := b.CompareAndDelete(ctx, b.key("missing"), []byte(value))
				if err != nil || deleted {
					return fmt.Errorf("a CompareAndDelete of a missing key with %q returned %v, %v, want false and no error", value, deleted, err)
				}
			}
			return nil
		},
	},
	{
		name: "of-concurrent-compareanddelete-one-succeeds",
		why:  "Comparing and deleting must be one step: between two steps a lock can expire, be taken by another, and be deleted under its hands.",
		check: func(ctx context.Context, b *bench) error {
			lock := func(round int) string { return b.key(fmt.Sprint("lock ", round)) }
			for round := range rounds {
				if err := b.Set(ctx, lock(round), []byte("me"), 0); err != nil {
					return err
				}
			}
			return expectOneWinner(b, "CompareAndDelete", func(round int, s store.Store) (bool, error) {
				return s.CompareAndDelete(ctx, lock(round), []byte("me"))
			})
		},
	},
}

const (
	rounds  = 20 // of a race, since one may go well by luck
	callers = 8  // in a race, on two connections
)

func expectOneWinner(b *bench, method string, try func(round int, s store.Store) (bool, error)) error {
	other, err := b.second()
	if err != nil {
		return err
	}
	for round := range rounds {
		var winners atomic.Int64
		err := together(callers, func(i int) error {
			s := b.Store
			if i%2 == 1 {
				s = other
			}
			won, err := try(round, s)
			if won {
				winners.Add(1)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("one of %d concurrent calls of %s failed: %w", callers, method, err)
		}
		if n := winners.Load(); n != 1 {
			return fmt.Errorf("%d of %d concurrent calls of %s returned true, want exactly 1", n, callers, method)
		}
	}
	return nil
}
