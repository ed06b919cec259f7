package status

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/store"
)

// ErrNotFound is returned by Get and Wait for a job without a record: it was
// not tracked, or its record has expired.
var ErrNotFound = errors.New("status: no record: the job was not tracked, or its record has expired")

const (
	defaultKeep = 24 * time.Hour // as long as php-resque keeps it

	// storeTimeout bounds each call that is made for a job rather than for a
	// reader. A store that takes longer is as good as down.
	storeTimeout = time.Second

	// pause is how long a store that failed is left alone.
	pause = time.Second
)

// Tracker writes and reads records. It needs no Close: it has a goroutine only
// while there are updates to write, and that ends by itself. [Tracker.Flush]
// before the store is closed writes the last of them.
//
// A store that fails is left alone for a second, in which updates are dropped.
// From its first failure until it answers again no Create waits for it.
//
// Every method is safe for concurrent use.
type Tracker struct {
	store   store.Store
	keep    time.Duration
	dropped atomic.Int64

	mu       sync.Mutex    // guards what follows
	pending  []update      // oldest first
	taken    uint64        // updates ever put into pending
	settled  uint64        // those of them that were written or dropped
	progress chan struct{} // closed when settled grows; nil if nobody waits for it
	flushing bool          // a goroutine runs flushPending
	failure  error         // what the latest call of the store said; nil if it worked
	retryAt  time.Time     // when a store that failed may be called again
}

// Option changes how a Tracker works.
type Option func(*Tracker)

// Keep sets how long the record of a finished job is kept after it was last
// written: 24 hours by default, and for a duration that is not positive.
func Keep(d time.Duration) Option {
	return func(t *Tracker) {
		if d > 0 {
			t.keep = d
		}
	}
}

// New returns a Tracker on s, which it does not close. Trackers of any number
// of processes may share a store.
func New(s store.Store, options ...Option) *Tracker {
	t := &Tracker{store: s, keep: defaultKeep}
	for _, option := range options {
		option(t)
	}
	return t
}

// Create writes new records at once, in one batch, replacing records that
// these jobs may have had. CreatedAt becomes the present if it is zero. It is
// what starts a job over whose attempts are counted anew.
//
// Create takes a second at most, so that a dead store does not hold up what
// the records are of. While the store fails Create does not wait at all: it
// returns an error that wraps the store's, and hands the records on as
// [Tracker.Update] does, to be written by the next try or dropped. Other
// errors are the store's, the context's, and [store.ErrInvalid] for a record
// without an ID, after which none is written.
func (t *Tracker) Create(ctx context.Context, records ...Record) error {
	if len(records) == 0 {
		return nil
	}
	now := time.Now()
	ops := make([]store.Op, len(records))
	for i, r := range records {
		if r.ID == "" {
			return fmt.Errorf("status: a record without an id: %w", store.ErrInvalid)
		}
		if r.CreatedAt.IsZero() {
			r.CreatedAt = now
		}
		r.UpdatedAt = now
		op, err := t.asOp(r)
		if err != nil {
			return err
		}
		ops[i] = op
	}
	if failure := t.failing(); failure != nil {
		for i, r := range records {
			t.Update(r.ID, r.Attempt, func(current *Record) {
				*current, _ = decode(r.ID, ops[i].Value)
			})
		}
		return fmt.Errorf("status: not written yet, the store fails: %w", failure)
	}
	results, err := t.apply(ctx, ops)
	if err != nil {
		return fmt.Errorf("status: create: %w", err)
	}
	for i, result := range results {
		if result.Err != nil {
			return fmt.Errorf("status: create job %s: %w", records[i].ID, result.Err)
		}
	}
	return nil
}

// Delete deletes the records of jobs that will not happen after all. A record
// that an update which is still under way writes afterwards stays until it
// expires. Delete takes a second at most, and fails at once in the pause after
// the store has failed.
func (t *Tracker) Delete(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	if failure := t.paused(); failure != nil {
		return fmt.Errorf("status: not deleted, the store fails: %w", failure)
	}
	ops := make([]store.Op, len(ids))
	for i, id := range ids {
		ops[i] = store.Op{Verb: store.OpDelete, Key: key(id)}
	}
	if _, err := t.apply(ctx, ops); err != nil {
		return fmt.Errorf("status: delete: %w", err)
	}
	return nil
}

// Get returns the record of a job, or [ErrNotFound]. It does not see updates
// that are not written yet; those of this Tracker are after [Tracker.Flush].
// Other errors are the store's and the context's, or say that the stored
// record is corrupt; the next update replaces such a record.
func (t *Tracker) Get(ctx context.Context, id string) (Record, error) {
	value, err := t.store.Get(ctx, key(id))
	if errors.Is(err, store.ErrNotFound) {
		return Record{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return Record{}, fmt.Errorf("status: get job %s: %w", id, err)
	}
	return decode(id, value)
}

// Dropped returns how many updates were lost since New: because the buffer was
// full, or because the store failed or refused them.
func (t *Tracker) Dropped() int64 { return t.dropped.Load() }

func key(id string) string { return "status:" + id }

func (t *Tracker) asOp(r Record) (store.Op, error) {
	value, err := r.encode()
	return store.Op{Verb: store.OpSet, Key: key(r.ID), Value: value, TTL: r.timeToLive(t.keep)}, err
}

// apply calls the store within storeTimeout and notes whether it works.
func (t *Tracker) apply(ctx context.Context, ops []store.Op) ([]store.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	results, err := t.store.Apply(limited, ops)
	if err == nil && len(results) != len(ops) {
		err = fmt.Errorf("the store returned %d results for %d ops", len(results), len(ops))
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil, err // The caller went away: that says nothing of the store.
	}
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %v: %w", storeTimeout, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failure = err
	if err != nil {
		t.retryAt = time.Now().Add(pause)
	}
	return results, err
}

// failing returns the error of the store's latest call, if that failed.
func (t *Tracker) failing() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failure
}

// paused is failing until it is time to try again, and then nil.
func (t *Tracker) paused() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pausedLocked()
}

func (t *Tracker) pausedLocked() error {
	if t.failure != nil && time.Now().Before(t.retryAt) {
		return t.failure
	}
	return nil
}
