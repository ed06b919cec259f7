package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/store"
)

// Store is a [store.Store] and [store.Watcher] in Redis. It starts goroutines
// only for a call whose context can end, and while a key is watched.
//
// Every method is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	prefix  string
	closed  atomic.Bool
	watches *watches
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
)

// New returns a store whose keys are those of the client's database that begin
// with prefix. Stores with the same database and prefix share their keys. The
// package comment says what is asked of the client, and what a prefix is best
// like on a cluster.
//
// Closing the store does not close the client.
func New(client redis.UniversalClient, prefix string) *Store {
	return &Store{client: client, prefix: prefix, watches: newWatches(client)}
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if key == "" {
		return nil, store.ErrInvalid
	}
	value, err := await(ctx, s, func(ctx context.Context) ([]byte, error) {
		return valueOf(s.client.Get(ctx, s.prefix+key))
	})
	return value, describe(err, "get", key)
}

// Set implements [store.Store].
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	results, err := s.apply(ctx, []store.Op{{Verb: store.OpSet, Key: key, Value: value, TTL: ttl}})
	if err != nil {
		return describe(err, "set", key)
	}
	return results[0].Err
}

// SetNX implements [store.Store].
func (s *Store) SetNX(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error) {
	if key == "" || ttl < 0 {
		return false, store.ErrInvalid
	}
	arguments := append([]any{s.channel(key), string(value)}, expiry(ttl)...)
	stored, err = await(ctx, s, func(ctx context.Context) (bool, error) {
		return s.run(ctx, setNX, key, arguments).Bool()
	})
	return stored, describe(err, "set if missing", key)
}

// CompareAndDelete implements [store.Store].
func (s *Store) CompareAndDelete(ctx context.Context, key string, value []byte) (deleted bool, err error) {
	if key == "" {
		return false, store.ErrInvalid
	}
	arguments := []any{s.channel(key), string(value)}
	deleted, err = await(ctx, s, func(ctx context.Context) (bool, error) {
		return s.run(ctx, compareAndDelete, key, arguments).Bool()
	})
	return deleted, describe(err, "compare and delete", key)
}

// Incr implements [store.Store]. Redis takes for an integer what it would print
// as one: neither "+5" nor "007".
func (s *Store) Incr(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	if key == "" || ttl < 0 {
		return 0, store.ErrInvalid
	}
	sum, err := await(ctx, s, func(ctx context.Context) (int64, error) {
		return sumOf(s.run(ctx, incr, key, s.incrArguments(key, delta, ttl)))
	})
	return sum, describe(err, "incr", key)
}

// Close implements [store.Store]. It wakes every watcher, so that those who
// wait for a key learn that the store is closed, and ends the connection that
// the watches share, without waiting for its goroutines: on a server that
// hangs they end by the timeouts of the client.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.watches.close()
	return nil
}

// channel is where changes of a key are published.
func (s *Store) channel(key string) string { return s.prefix + "changed:" + key }

// valueOf returns the reply of a GET.
func valueOf(reply *redis.StringCmd) ([]byte, error) {
	switch value, err := reply.Result(); {
	case errors.Is(err, redis.Nil):
		return nil, store.ErrNotFound
	case err != nil:
		return nil, err
	default:
		return []byte(value), nil // a copy: Bytes would return the client's own memory
	}
}

// expiry returns the arguments of SET for a time to live.
func expiry(ttl time.Duration) []any {
	if ttl == 0 {
		return nil
	}
	milliseconds := int64(ttl / time.Millisecond)
	if ttl%time.Millisecond > 0 {
		milliseconds++
	}
	return []any{"px", strconv.FormatInt(milliseconds, 10)}
}

// describe says what failed. An outcome that the contract has a name for is
// returned as it is.
func describe(err error, verb, key string) error {
	switch err {
	case nil, store.ErrNotFound, store.ErrClosed, store.ErrNotANumber, store.ErrInvalid:
		return err
	}
	return fmt.Errorf("store: redis: %s %q: %w", verb, key, err)
}
