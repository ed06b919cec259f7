package status

import (
	"context"
	"fmt"
	"time"

	"github.com/goferhq/queue/store"
)

const (
	// A job that is waited for is often a short one; a long one does not mind
	// a second more.
	firstPoll = 10 * time.Millisecond
	lastPoll  = time.Second

	// watchedPoll is for what a [store.Watcher] does not tell: that a record
	// has expired, or a change while it was reconnecting.
	watchedPoll = 30 * time.Second
)

// Wait returns the record of a job once the job has finished. A job without a
// record is [ErrNotFound] at once, also if the record goes while Wait waits;
// other errors are those of [Tracker.Get].
//
// When ctx ends first, Wait returns the record as it last was, and an error
// that names its state and wraps the context's.
//
// With a store that is a [store.Watcher] Wait learns of the end at once;
// otherwise it asks, every 10 milliseconds at first and every second later.
func (t *Tracker) Wait(ctx context.Context, id string) (Record, error) {
	// Watching begins before the first read: a change between the two would
	// otherwise be missed.
	changed := make(chan struct{}, 1)
	interval, longest := firstPoll, lastPoll
	if watcher, ok := t.store.(store.Watcher); ok {
		interval, longest = watchedPoll, watchedPoll
		stop := watcher.Watch(key(id), func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		defer stop()
	}

	var last Record
	for {
		record, err := t.Get(ctx, id)
		switch {
		case err != nil && ctx.Err() != nil:
			return last, unfinished(ctx, id, last.State)
		case err != nil:
			return Record{}, err
		case record.State.Finished():
			return record, nil
		}
		last = record
		select {
		case <-ctx.Done():
			return last, unfinished(ctx, id, last.State)
		case <-changed:
		case <-time.After(interval):
			interval = min(2*interval, longest)
		}
	}
}

func unfinished(ctx context.Context, id string, state State) error {
	if state == "" {
		state = "unknown"
	}
	return fmt.Errorf("status: job %s is still %s: %w", id, state, ctx.Err())
}
