// Package store is the small key-value side plane of the queue: job status,
// unique-job locks, schedules and control signals are built on it, once, for
// every broker.
//
// The jobs themselves never pass through a store. A store that is down makes
// status stale; it does not stop a job.
//
// [NewMemory] is the implementation for tests and for single-process
// services. A broker that can hold keys offers a store of its own, and a
// queue on a broker that cannot is paired with one when it is opened.
// Package storetest is the suite that every implementation passes.
package store

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound is returned by Get for a key that does not exist or has
	// expired.
	ErrNotFound = errors.New("store: key not found")

	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("store: closed")

	// ErrNotANumber is returned by Incr for a key whose value is not a
	// decimal 64-bit integer, or whose sum would overflow one. The value is
	// left as it was.
	ErrNotANumber = errors.New("store: value is not a 64-bit integer")

	// ErrInvalid is returned for an empty key, a negative time to live, or an
	// operation without a verb. Nothing is changed.
	ErrInvalid = errors.New("store: invalid argument")
)

// Store is a key-value store whose keys can expire.
//
// Keys are non-empty strings; values are arbitrary bytes. A time to live of
// zero keeps the key until it is deleted; a positive one is kept to the
// millisecond, rounded up, by the store's own clock; a negative one is
// [ErrInvalid]. Values passed in are copied or sent before the method returns,
// and values returned belong to the caller.
//
// Every method is safe for concurrent use, returns promptly once its context
// has ended, and fails with [ErrClosed] after Close.
type Store interface {
	// Get returns the value of key, or [ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, error)

	// Set stores value under key, replacing what was there and its time to
	// live.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// SetNX stores value under key if key does not exist, and reports whether
	// it did. It is the acquisition of a lock: of any number of concurrent
	// callers exactly one is told true.
	SetNX(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error)

	// CompareAndDelete deletes key if its value equals value, and reports
	// whether it did. It is the release of a lock: a holder whose lock expired
	// and was taken by another deletes nothing.
	CompareAndDelete(ctx context.Context, key string, value []byte) (deleted bool, err error)

	// Incr adds delta to the decimal integer at key and returns the sum. A
	// missing key counts as 0 and is created with ttl; an existing key keeps
	// the time to live that it has.
	Incr(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error)

	// List returns the items whose keys begin with prefix, sorted by key.
	// An empty prefix lists everything.
	List(ctx context.Context, prefix string) ([]Item, error)

	// Apply runs ops in order in one round trip where the store can, and
	// returns one result for each. It is a batch, not a transaction: other
	// callers may see some of its effects before others, and an op that fails
	// says so in its own result and does not stop those behind it. The error
	// is for the batch as a whole; after one, which ops were applied is
	// unknown.
	Apply(ctx context.Context, ops []Op) ([]Result, error)

	// Close releases what the store holds. Closing twice is not an error.
	Close() error
}

// Item is a key and its value.
type Item struct {
	Key   string
	Value []byte
}

// Verb is what an [Op] does.
type Verb int

// The verbs of [Op]. The zero Verb is invalid, so that an Op left empty by
// mistake is an error and not a read.
const (
	OpGet    Verb = iota + 1 // read Key
	OpSet                    // set Key to Value with TTL
	OpDelete                 // delete Key, whatever its value; a missing key is no error
	OpIncr                   // add Delta to Key; TTL as for Incr
)

// Op is one operation of [Store.Apply].
type Op struct {
	Verb  Verb
	Key   string
	Value []byte        // of OpSet
	Delta int64         // of OpIncr
	TTL   time.Duration // of OpSet and OpIncr
}

// Result is the outcome of one [Op].
type Result struct {
	Value []byte // of OpGet
	Sum   int64  // of OpIncr
	Err   error  // nil, ErrNotFound of OpGet, ErrNotANumber of OpIncr, ErrInvalid
}

// Watcher is implemented by a store that can tell at once when a key changes.
// A reader that waits for a key polls a store without it, at intervals that
// grow to a second.
type Watcher interface {
	// Watch calls changed, from any goroutine and possibly more often than
	// needed, after key has been set or deleted, until stop is called.
	// changed must not block.
	Watch(key string, changed func()) (stop func())
}
