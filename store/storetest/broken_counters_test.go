package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/goferhq/queue/store"
)

var brokenCounters = []broken{
	{
		name: "counts only up",
		alter: func(s *altered) {
			s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
				return s.connection.Incr(ctx, key, max(delta, -delta), ttl)
			}
		},
		fails: []string{
			"counters/incr-counts-a-missing-key-from-zero",
			"counters/incr-counts-to-the-ends-of-64-bits",
			"counters/incr-refuses-to-overflow",
		},
	},
	{
		name: "counts in an encoding of its own",
		alter: func(s *altered) {
			var counters sync.Map
			s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
				sum, err := s.connection.Incr(ctx, key, delta, ttl)
				if err == nil {
					counters.Store(key, fmt.Sprintf("%08x", sum))
				}
				return sum, err
			}
			s.get = func(ctx context.Context, key string) ([]byte, error) {
				value, err := s.connection.Get(ctx, key)
				if encoded, ok := counters.Load(key); ok && err == nil {
					return []byte(encoded.(string)), nil
				}
				return value, err
			}
		},
		fails: []string{ // every case that reads a counter
			"counters/a-counter-is-a-decimal-value",
			"counters/incr-keeps-the-time-to-live-it-finds",
			"counters/concurrent-incr-loses-no-count",
		},
	},
	{
		name: "counts in floating point",
		alter: func(s *altered) {
			s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
				sum, err := s.connection.Incr(ctx, key, delta, ttl)
				if sum > 1<<53 {
					sum &^= 1<<10 - 1
				}
				return sum, err
			}
		},
		fails: []string{"counters/incr-counts-to-the-ends-of-64-bits"},
	},
	{
		name: "takes text for 0",
		alter: func(s *altered) {
			s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
				value, getErr := s.connection.Get(ctx, key)
				_, parseErr := strconv.ParseInt(string(value), 10, 64)
				if getErr == nil && parseErr != nil {
					return delta, s.connection.Set(ctx, key, strconv.AppendInt(nil, delta, 10), ttl)
				}
				return s.connection.Incr(ctx, key, delta, ttl)
			}
		},
		fails: []string{"counters/incr-refuses-what-is-not-a-number"},
	},
	{
		name: "wraps around",
		alter: func(s *altered) {
			s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
				sum, err := s.connection.Incr(ctx, key, delta, ttl)
				if !errors.Is(err, store.ErrNotANumber) {
					return sum, err
				}
				value, getErr := s.connection.Get(ctx, key)
				n, parseErr := strconv.ParseInt(string(value), 10, 64)
				if getErr != nil || parseErr != nil {
					return 0, err
				}
				return n + delta, s.connection.Set(ctx, key, strconv.AppendInt(nil, n+delta, 10), 0)
			}
		},
		fails: []string{"counters/incr-refuses-to-overflow"},
	},
	{
		name: "begins the ttl of a counter anew",
		alter: func() func(s *altered) {
			var one sync.Mutex // so that no count is lost, which is another rule
			return func(s *altered) {
				s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
					one.Lock()
					defer one.Unlock()
					sum, err := s.connection.Incr(ctx, key, delta, ttl)
					if err != nil {
						return 0, err
					}
					return sum, s.connection.Set(ctx, key, strconv.AppendInt(nil, sum, 10), ttl)
				}
			}
		}(),
		fails: []string{"counters/incr-keeps-the-time-to-live-it-finds"},
	},
	{
		name: "looks before it counts",
		alter: func(s *altered) {
			s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
				before, err := number(ctx, s.connection, key)
				if err != nil {
					return s.connection.Incr(ctx, key, delta, ttl)
				}
				time.Sleep(time.Millisecond)
				now, err := number(ctx, s.connection, key)
				if err != nil {
					return 0, err
				}
				// What others have added since is lost, as with Get and Set; the
				// time to live is not, which is another rule.
				return s.connection.Incr(ctx, key, delta+before-now, ttl)
			}
		},
		fails: []string{"counters/concurrent-incr-loses-no-count"},
	},
}

func number(ctx context.Context, s store.Store, key string) (int64, error) {
	value, err := s.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(value), 10, 64)
}
