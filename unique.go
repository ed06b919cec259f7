package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/store"
)

// A unique job holds a lock in the store from its Enqueue until it is done,
// cancelled or buried: a key whose value is the job's ID. Where nobody
// releases it, because the store was down or the job was purged, it expires.

// uniqueLock is the field extraUnique of a message that holds a lock.
type uniqueLock struct {
	Key          string `json:"key"`
	Milliseconds int64  `json:"ttl_ms"`
}

// storeTimeout bounds what the store may take while an Enqueue or the end of a
// Run waits for it beside the job itself. A lock that is left then expires.
const storeTimeout = time.Second

// newUniqueLock returns the lock that the options ask for.
func newUniqueLock(m *backend.Message, o *jobOptions) uniqueLock {
	// Stores round a time to live up to the millisecond, and so does this.
	lock := uniqueLock{Milliseconds: int64((o.unique + time.Millisecond - 1) / time.Millisecond)}
	if o.uniqueKey != "" {
		lock.Key = "unique:key:" + o.uniqueKey
		return lock
	}
	hash := sha256.New()
	// The lengths keep ("ab", "c") and ("a", "bc") apart.
	fmt.Fprintf(hash, "%d:%s%d:%s", len(m.Queue), m.Queue, len(m.Kind), m.Kind)
	var compact bytes.Buffer // blanks do not tell arguments apart
	if json.Compact(&compact, m.Args) != nil {
		compact.Write(m.Args)
	}
	hash.Write(compact.Bytes())
	lock.Key = "unique:" + hex.EncodeToString(hash.Sum(nil))
	return lock
}

// lockUnique takes the lock of a message that has one to take, and reports
// whether it was free. The ID is that of the job which holds the lock then;
// when it is another, the error is ErrDuplicate.
func (q *Queue) lockUnique(ctx context.Context, m *backend.Message) (holder string, taken bool, err error) {
	lock := uniqueOf(m)
	if lock.Key == "" {
		return m.ID, false, nil
	}
	ttl := time.Duration(lock.Milliseconds) * time.Millisecond
	for {
		taken, err := q.store.SetNX(ctx, lock.Key, []byte(m.ID), ttl)
		if err != nil {
			// The reply may have been lost, and the lock be taken.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
			defer cancel()
			q.unlockUnique(ctx, m)
			return "", false, fmt.Errorf("%w: Unique: %w", ErrUnavailable, err)
		}
		if taken {
			return m.ID, true, nil
		}
		holder, err := q.store.Get(ctx, lock.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue // released in between
		case err != nil:
			return "", false, fmt.Errorf("%w: Unique: %w", ErrUnavailable, err)
		case string(holder) == m.ID:
			return m.ID, false, nil // the same Enqueue, sent again
		}
		return string(holder), false, fmt.Errorf("%w: %s", ErrDuplicate, holder)
	}
}

// unlockUnique releases the lock of a message that is done with.
func (q *Queue) unlockUnique(ctx context.Context, m *backend.Message) {
	lock := uniqueOf(m)
	if lock.Key == "" || q.store == nil || ctx.Err() != nil { // it expires
		return
	}
	if _, err := q.store.CompareAndDelete(ctx, lock.Key, []byte(m.ID)); err != nil {
		q.logger.Warn("queue: lock of a unique job not released; it will expire", "id", m.ID, "kind", m.Kind, "error", err)
	}
}

// uniqueOf returns the lock of m, with an empty key if it has none.
func uniqueOf(m *backend.Message) uniqueLock {
	var lock uniqueLock
	if raw := m.Extra[extraUnique]; raw != nil && json.Unmarshal(raw, &lock) != nil {
		return uniqueLock{}
	}
	return lock
}
