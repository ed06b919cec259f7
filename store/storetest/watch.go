package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/store"
)

// watch holds the rules of [store.Watcher]. A store that is none keeps them
// all: its callers poll.
var watch = []rule{
	{
		name: "watch-tells-of-every-kind-of-change",
		why:  "Who waits for a key sleeps until told: a change that is not told leaves them asleep for long after the job is done.",
		check: func(ctx context.Context, b *bench) error {
			watcher, ok := b.Store.(store.Watcher)
			if !ok {
				return nil
			}
			key := b.key("key")
			changed, stop := watchKey(watcher, key)
			defer stop()
			applyOne := func(op store.Op) error {
				_, err := applyAll(ctx, b, op)
				return err
			}
			for _, change := range []struct {
				name string
				make func() error
			}{
				{"SetNX", func() error { _, err := b.SetNX(ctx, key, []byte("1"), 0); return err }},
				{"Set", func() error { return b.Set(ctx, key, []byte("2"), 0) }},
				{"Incr", func() error { _, err := b.Incr(ctx, key, 1, 0); return err }},
				{"CompareAndDelete", func() error { _, err := b.CompareAndDelete(ctx, key, []byte("3")); return err }},
				{"OpSet", func() error { return applyOne(store.Op{Verb: store.OpSet, Key: key, Value: []byte("4")}) }},
				{"OpIncr", func() error { return applyOne(store.Op{Verb: store.OpIncr, Key: key, Delta: 1}) }},
				{"OpDelete", func() error { return applyOne(store.Op{Verb: store.OpDelete, Key: key}) }},
			} {
				forget(changed)
				if err := change.make(); err != nil {
					return fmt.Errorf("%s failed: %w", change.name, err)
				}
				if err := expectTold(ctx, changed, change.name); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name: "watch-tells-of-changes-by-other-connections",
		why:  "The one who waits for a job and the one who runs it are different processes.",
		check: func(ctx context.Context, b *bench) error {
			watcher, ok := b.Store.(store.Watcher)
			if !ok {
				return nil
			}
			other, err := b.second()
			if err != nil {
				return err
			}
			changed, stop := watchKey(watcher, b.key("key"))
			defer stop()
			if err := other.Set(ctx, b.key("key"), []byte("value"), 0); err != nil {
				return err
			}
			return expectTold(ctx, changed, "Set by another connection, right after Watch returned")
		},
	},
	{
		name: "watch-tells-every-watcher-of-a-key",
		why:  "Several may wait for one job; a store that keeps only the last of them forgets the others.",
		check: func(ctx context.Context, b *bench) error {
			watcher, ok := b.Store.(store.Watcher)
			if !ok {
				return nil
			}
			key := b.key("key")
			one, stopOne := watchKey(watcher, key)
			defer stopOne()
			two, stopTwo := watchKey(watcher, key)
			defer stopTwo()
			if err := b.Set(ctx, key, []byte("value"), 0); err != nil {
				return err
			}
			if err := first(expectTold(ctx, one, "Set, the first of two watchers"), expectTold(ctx, two, "Set, the second of two watchers")); err != nil {
				return err
			}
			stopTwo()
			forget(one)
			if err := b.Set(ctx, key, []byte("value"), 0); err != nil {
				return err
			}
			return expectTold(ctx, one, "Set after another watcher of the key stopped")
		},
	},
	{
		name: "watch-is-silent-once-stopped",
		why:  "A watch that cannot be ended leaks, and calls into code that has finished.",
		check: func(ctx context.Context, b *bench) error {
			watcher, ok := b.Store.(store.Watcher)
			if !ok {
				return nil
			}
			var stopped, late atomic.Bool
			stop := watcher.Watch(b.key("key"), func() {
				if stopped.Load() {
					late.Store(true)
				}
			})
			stop()
			// A call that was under way may still end.
			time.Sleep(clockSlack)
			stopped.Store(true)
			if err := b.Set(ctx, b.key("key"), []byte("value"), 0); err != nil {
				return err
			}
			time.Sleep(clockSlack)
			if late.Load() {
				return fmt.Errorf("the watcher was called for a change that was made after stop had returned")
			}
			return nil
		},
	},
}

func watchKey(watcher store.Watcher, key string) (changed <-chan struct{}, stop func()) {
	told := make(chan struct{}, 1)
	stop = watcher.Watch(key, func() {
		select {
		case told <- struct{}{}:
		default:
		}
	})
	return told, sync.OnceFunc(stop)
}

func forget(changed <-chan struct{}) {
	select {
	case <-changed:
	default:
	}
}

// toldWithin is generous: a watcher that takes longer is slower than polling.
const toldWithin = 5 * time.Second

func expectTold(ctx context.Context, changed <-chan struct{}, of string) error {
	select {
	case <-changed:
		return nil
	case <-time.After(toldWithin):
		return fmt.Errorf("the watcher was not called within %v of this change: %s", toldWithin, of)
	case <-ctx.Done():
		return fmt.Errorf("the watcher was not called for this change: %s: %w", of, ctx.Err())
	}
}
