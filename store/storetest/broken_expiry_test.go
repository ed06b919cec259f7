package storetest_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goferhq/queue/store"
)

var brokenExpiry = []broken{
	{
		name: "forgets the ttl of Set",
		alter: func(s *altered) {
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				return s.connection.Set(ctx, key, value, min(ttl, 0))
			}
		},
		fails: []string{ // every case that needs a key to expire, to look at something else
			"expiry/set-with-a-ttl-expires",
			"expiry/a-ttl-counts-in-milliseconds-rounded-up",
			"expiry/an-expired-key-is-not-listed",
			"expiry/an-expired-key-is-missing-to-every-method",
			"counters/incr-keeps-the-time-to-live-it-finds",
			"apply/opincr-keeps-the-time-to-live-it-finds",
		},
	},
	{
		name: "forgets the ttl of SetNX",
		alter: func(s *altered) {
			s.setNX = func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
				return s.connection.SetNX(ctx, key, value, min(ttl, 0))
			}
		},
		fails: []string{"expiry/setnx-with-a-ttl-frees-the-lock"},
	},
	{
		name: "forgets the ttl of Incr",
		alter: func(s *altered) {
			s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
				return s.connection.Incr(ctx, key, delta, min(ttl, 0))
			}
		},
		fails: []string{"expiry/incr-creates-with-a-ttl"},
	},
	{
		name: "forgets the ttls of Apply",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				ops = slices.Clone(ops)
				for i := range ops {
					ops[i].TTL = min(ops[i].TTL, 0)
				}
				return s.connection.Apply(ctx, ops)
			}
		},
		fails: []string{"expiry/apply-keeps-the-ttl-of-its-ops"},
	},
	{
		name: "keeps the old ttl when a value is replaced",
		alter: func(s *altered) {
			expiries := make(map[string]time.Time)
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if left := time.Until(expiries[key]); left > 0 {
					ttl = left
				} else if ttl > 0 {
					expiries[key] = time.Now().Add(ttl)
				}
				return s.connection.Set(ctx, key, value, ttl)
			}
		},
		fails: []string{"expiry/set-replaces-the-ttl"},
	},
	{
		name: "rounds ttls down to seconds",
		alter: func(s *altered) {
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if ttl > time.Second {
					ttl = ttl.Truncate(time.Second)
				}
				return s.connection.Set(ctx, key, value, ttl)
			}
		},
		fails: []string{"expiry/a-ttl-counts-in-milliseconds-rounded-up"},
	},
	{
		name: "rounds ttls up to seconds",
		alter: func(s *altered) {
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if ttl > time.Second {
					ttl = (ttl + time.Second - 1).Truncate(time.Second)
				}
				return s.connection.Set(ctx, key, value, ttl)
			}
		},
		fails: []string{"expiry/a-ttl-counts-in-milliseconds-rounded-up"},
	},
	{
		name: "takes a ttl below a millisecond for none",
		alter: func(s *altered) {
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				return s.connection.Set(ctx, key, value, ttl.Truncate(time.Millisecond))
			}
		},
		fails: []string{"expiry/a-ttl-counts-in-milliseconds-rounded-up"},
	},
	{
		name: "overflows on a long ttl",
		alter: func(s *altered) {
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if ttl > 1<<31*time.Second {
					return nil
				}
				return s.connection.Set(ctx, key, value, ttl)
			}
		},
		fails: []string{"expiry/a-ttl-of-a-century-is-kept"},
	},
	{
		name: "lists expired keys",
		alter: func(s *altered) {
			var expiring []store.Item
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if ttl > 0 {
					expiring = append(expiring, store.Item{Key: key, Value: value})
				}
				return s.connection.Set(ctx, key, value, ttl)
			}
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				items, err := s.connection.List(ctx, prefix)
				for _, item := range expiring {
					listed := func(other store.Item) bool { return other.Key == item.Key }
					if err == nil && strings.HasPrefix(item.Key, prefix) && !slices.ContainsFunc(items, listed) {
						items = append(items, item)
					}
				}
				slices.SortFunc(items, func(a, b store.Item) int { return strings.Compare(a.Key, b.Key) })
				return items, err
			}
		},
		fails: []string{"expiry/an-expired-key-is-not-listed"},
	},
	{
		name: "continues expired counters",
		alter: func(s *altered) {
			expiring := make(map[string]int64)
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && ttl > 0 {
					expiring[key] = n
				}
				return s.connection.Set(ctx, key, value, ttl)
			}
			s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
				if _, err := s.connection.Get(ctx, key); errors.Is(err, store.ErrNotFound) {
					delta += expiring[key]
				}
				return s.connection.Incr(ctx, key, delta, ttl)
			}
		},
		fails: []string{"expiry/an-expired-key-is-missing-to-every-method"},
	},
}
