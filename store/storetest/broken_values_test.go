package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/goferhq/queue/store"
)

var brokenValues = []broken{
	{
		name: "cuts long values",
		alter: func(s *altered) {
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				return s.connection.Set(ctx, key, value[:min(len(value), 1<<16)], ttl)
			}
		},
		fails: []string{"values/get-returns-the-bytes-that-set-stored"},
	},
	{
		name: "takes an empty value for a missing key",
		alter: func(s *altered) {
			s.get = func(ctx context.Context, key string) ([]byte, error) {
				value, err := s.connection.Get(ctx, key)
				if err == nil && len(value) == 0 {
					return nil, store.ErrNotFound
				}
				return value, err
			}
		},
		fails: []string{
			"values/an-empty-value-is-a-value",
			"counters/incr-refuses-what-is-not-a-number", // the empty value is none
		},
	},
	{
		name: "returns nothing for a missing key",
		alter: func(s *altered) {
			s.get = func(ctx context.Context, key string) ([]byte, error) {
				value, err := s.connection.Get(ctx, key)
				if errors.Is(err, store.ErrNotFound) {
					return nil, nil
				}
				return value, err
			}
		},
		fails: []string{ // every case that ends with a missing key
			"values/a-key-never-set-is-not-found",
			"values/a-negative-ttl-is-invalid-and-changes-nothing",
			"expiry/set-with-a-ttl-expires",
			"expiry/incr-creates-with-a-ttl",
			"expiry/apply-keeps-the-ttl-of-its-ops",
			"expiry/a-ttl-counts-in-milliseconds-rounded-up",
			"locks/compareanddelete-deletes-an-equal-value",
			"counters/incr-keeps-the-time-to-live-it-finds",
			"apply/an-invalid-op-fails-alone",
			"apply/opdelete-deletes-whatever-the-value",
			"apply/opincr-keeps-the-time-to-live-it-finds",
		},
	},
	{
		name: "fails with an error of its own for a missing key",
		alter: func(s *altered) {
			s.apply = func(ctx context.Context, ops []store.Op) ([]store.Result, error) {
				results, err := s.connection.Apply(ctx, ops)
				for i := range results {
					if errors.Is(results[i].Err, store.ErrNotFound) {
						results[i].Err = errors.New("no such key")
					}
				}
				return results, err
			}
		},
		fails: []string{
			"expiry/an-expired-key-is-missing-to-every-method",
			"apply/an-op-that-fails-does-not-stop-the-others",
		},
	},
	{
		name: "keeps the end of a longer old value",
		alter: func(s *altered) {
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				old, err := s.connection.Get(ctx, key)
				if err == nil && len(old) > len(value) {
					value = append(bytes.Clone(value), old[len(value):]...)
				}
				return s.connection.Set(ctx, key, value, ttl)
			}
		},
		fails: []string{
			"values/set-replaces-the-value",
			"counters/incr-refuses-what-is-not-a-number", // sets one key to several values
		},
	},
	{
		name: "trims keys",
		alter: func(s *altered) {
			s.get = func(ctx context.Context, key string) ([]byte, error) {
				return s.connection.Get(ctx, strings.TrimSuffix(key, "\n"))
			}
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				return s.connection.Set(ctx, strings.TrimSuffix(key, "\n"), value, ttl)
			}
		},
		fails: []string{"values/keys-are-exact"},
	},
	{
		name: "keeps the slice that Set is given",
		alter: func(s *altered) {
			kept, written := make(map[string][]byte), make(map[string]string)
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				kept[key], written[key] = value, string(value)
				return s.connection.Set(ctx, key, value, ttl)
			}
			s.get = func(ctx context.Context, key string) ([]byte, error) {
				value, err := s.connection.Get(ctx, key)
				if err == nil && written[key] == string(value) {
					return bytes.Clone(kept[key]), nil
				}
				return value, err
			}
		},
		fails: []string{"values/values-passed-in-are-copied"},
	},
	{
		name: "returns its own memory",
		alter: func(s *altered) {
			own, written := make(map[string][]byte), make(map[string]string)
			s.get = func(ctx context.Context, key string) ([]byte, error) {
				value, err := s.connection.Get(ctx, key)
				if err != nil {
					return nil, err
				}
				if own[key] == nil || written[key] != string(value) {
					own[key], written[key] = value, string(value)
				}
				return own[key], nil
			}
		},
		fails: []string{"values/values-returned-belong-to-the-caller"},
	},
	{
		name: "accepts an empty key",
		alter: func(s *altered) {
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if key == "" {
					return nil
				}
				return s.connection.Set(ctx, key, value, ttl)
			}
		},
		fails: []string{"values/an-empty-key-is-invalid"},
	},
	{
		name: "takes a negative ttl for none",
		alter: func(s *altered) {
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				return s.connection.Set(ctx, key, value, max(ttl, 0))
			}
		},
		fails: []string{"values/a-negative-ttl-is-invalid-and-changes-nothing"},
	},
	{
		name: "refuses a negative ttl after it has written",
		alter: func(s *altered) {
			s.setNX = func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
				stored, err := s.connection.SetNX(ctx, key, value, max(ttl, 0))
				if ttl < 0 {
					return false, store.ErrInvalid
				}
				return stored, err
			}
		},
		fails: []string{"values/a-negative-ttl-is-invalid-and-changes-nothing"},
	},
}
