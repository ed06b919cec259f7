package storetest_test

import (
	"context"
	"errors"

	"github.com/goferhq/queue/store"
)

var brokenLifecycle = []broken{
	{
		name: "ignores an ended context",
		alter: func(s *altered) {
			s.get = func(ctx context.Context, key string) ([]byte, error) {
				return s.connection.Get(context.WithoutCancel(ctx), key)
			}
		},
		fails: []string{"lifecycle/an-ended-context-is-refused"},
	},
	{
		name: "takes every end of a context for a cancellation",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				if ctx.Err() != nil {
					return nil, context.Canceled
				}
				return s.connection.List(ctx, prefix)
			}
		},
		fails: []string{"lifecycle/an-ended-context-is-refused"},
	},
	{
		name: "works on after Close",
		alter: func(s *altered) {
			s.list = func(ctx context.Context, prefix string) ([]store.Item, error) {
				return s.memory.List(ctx, prefix)
			}
		},
		fails: []string{"lifecycle/use-after-close-is-refused"},
	},
	{
		name: "fails to close twice",
		alter: func(s *altered) {
			s.close = func() error {
				if s.closed.Load() {
					return errors.New("already closed")
				}
				return s.connection.Close()
			}
		},
		fails: []string{"lifecycle/closing-twice-is-no-error"},
	},
	{
		name: "forgets everything when a connection closes",
		alter: func(s *altered) {
			s.close = func() error {
				items, _ := s.memory.List(context.Background(), "")
				for _, item := range items {
					s.memory.CompareAndDelete(context.Background(), item.Key, item.Value)
				}
				return s.connection.Close()
			}
		},
		fails: []string{"lifecycle/close-leaves-other-connections-alone"},
	},
}
