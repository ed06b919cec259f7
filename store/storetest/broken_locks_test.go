package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/goferhq/queue/store"
)

var brokenLocks = []broken{
	{
		name: "gives a lock to all who ask",
		alter: func(s *altered) {
			s.setNX = func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
				err := s.connection.Set(ctx, key, value, ttl)
				return err == nil, err
			}
		},
		fails: []string{
			"locks/setnx-leaves-an-existing-key-alone",
			"locks/of-concurrent-setnx-one-succeeds",
		},
	},
	{
		name: "never says that a lock was taken",
		alter: func(s *altered) {
			s.setNX = func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
				_, err := s.connection.SetNX(ctx, key, value, ttl)
				return false, err
			}
		},
		fails: []string{
			"expiry/setnx-with-a-ttl-frees-the-lock",
			"locks/setnx-stores-a-missing-key",
			"locks/of-concurrent-setnx-one-succeeds",
		},
	},
	{
		name: "looks before it locks",
		alter: func(s *altered) {
			s.setNX = func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
				_, err := s.connection.Get(ctx, key)
				if !errors.Is(err, store.ErrNotFound) {
					return s.connection.SetNX(ctx, key, value, ttl)
				}
				time.Sleep(time.Millisecond)
				err = s.connection.Set(ctx, key, value, ttl)
				return err == nil, err
			}
		},
		fails: []string{"locks/of-concurrent-setnx-one-succeeds"},
	},
	{
		name: "sets the ttl of a lock that another holds",
		alter: func(s *altered) {
			s.setNX = func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
				stored, err := s.connection.SetNX(ctx, key, value, ttl)
				if old, getErr := s.connection.Get(ctx, key); err == nil && getErr == nil && !stored {
					s.connection.Set(ctx, key, old, ttl)
				}
				return stored, err
			}
		},
		fails: []string{"locks/setnx-leaves-an-existing-key-alone"},
	},
	{
		name: "releases a lock without deleting it",
		alter: func(s *altered) {
			s.compareAndDelete = func(ctx context.Context, key string, value []byte) (bool, error) {
				if key == "" {
					return false, store.ErrInvalid
				}
				old, err := s.connection.Get(ctx, key)
				if errors.Is(err, store.ErrNotFound) {
					return false, nil
				}
				return err == nil && bytes.Equal(old, value), err
			}
		},
		fails: []string{
			"locks/compareanddelete-deletes-an-equal-value",
			"locks/of-concurrent-compareanddelete-one-succeeds",
			"watch/watch-tells-of-every-kind-of-change",
		},
	},
	{
		name: "releases a lock whoever holds it",
		alter: func(s *altered) {
			s.compareAndDelete = func(ctx context.Context, key string, value []byte) (bool, error) {
				if old, err := s.connection.Get(ctx, key); err == nil {
					value = old
				}
				return s.connection.CompareAndDelete(ctx, key, value)
			}
		},
		fails: []string{"locks/compareanddelete-leaves-a-different-value"},
	},
	{
		name: "fails to release a lock that has expired",
		alter: func(s *altered) {
			s.compareAndDelete = func(ctx context.Context, key string, value []byte) (bool, error) {
				if _, err := s.connection.Get(ctx, key); err != nil {
					return false, err
				}
				return s.connection.CompareAndDelete(ctx, key, value)
			}
		},
		fails: []string{
			"expiry/an-expired-key-is-missing-to-every-method",
			"locks/compareanddelete-of-a-missing-key-is-false",
			"locks/of-concurrent-compareanddelete-one-succeeds",
		},
	},
	{
		name: "looks before it releases",
		alter: func(s *altered) {
			s.compareAndDelete = func(ctx context.Context, key string, value []byte) (bool, error) {
				old, err := s.connection.Get(ctx, key)
				if err != nil || !bytes.Equal(old, value) {
					return s.connection.CompareAndDelete(ctx, key, value)
				}
				time.Sleep(time.Millisecond)
				_, err = s.connection.Apply(ctx, []store.Op{{Verb: store.OpDelete, Key: key}})
				return err == nil, err
			}
		},
		fails: []string{"locks/of-concurrent-compareanddelete-one-succeeds"},
	},
}
