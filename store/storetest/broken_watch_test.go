package storetest_test

import (
	"context"
	"sync/atomic"
	"time"
)

var brokenWatch = []broken{
	{
		name: "does not tell of counters",
		alter: func(s *altered) {
			var counting atomic.Bool
			s.incr = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
				counting.Store(true)
				defer counting.Store(false)
				return s.connection.Incr(ctx, key, delta, ttl)
			}
			s.watch = func(key string, changed func()) func() {
				return s.connection.Watch(key, func() {
					if !counting.Load() {
						changed()
					}
				})
			}
		},
		fails: []string{"watch/watch-tells-of-every-kind-of-change"},
	},
	{
		name: "tells only of its own changes",
		alter: func(s *altered) {
			watchers := make(map[string]func())
			s.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				err := s.connection.Set(ctx, key, value, ttl)
				if changed := watchers[key]; changed != nil {
					changed()
				}
				return err
			}
			s.watch = func(key string, changed func()) func() {
				watchers[key] = changed
				return func() { delete(watchers, key) }
			}
		},
		fails: []string{
			"watch/watch-tells-of-every-kind-of-change", // it tells of Set alone
			"watch/watch-tells-of-changes-by-other-connections",
			"watch/watch-tells-every-watcher-of-a-key", // it keeps the last alone
		},
	},
	{
		name: "begins to watch some time after Watch returned",
		alter: func(s *altered) {
			s.watch = func(key string, changed func()) func() {
				var stop atomic.Pointer[func()]
				timer := time.AfterFunc(time.Millisecond, func() {
					stopWatch := s.connection.Watch(key, changed)
					stop.Store(&stopWatch)
				})
				return func() {
					timer.Stop()
					if stopWatch := stop.Load(); stopWatch != nil {
						(*stopWatch)()
					}
				}
			}
		},
		fails: []string{
			"watch/watch-tells-of-every-kind-of-change",
			"watch/watch-tells-of-changes-by-other-connections",
			"watch/watch-tells-every-watcher-of-a-key",
		},
	},
	{
		name: "forgets a watcher when the next one comes",
		alter: func(s *altered) {
			stop := func() {}
			s.watch = func(key string, changed func()) func() {
				stop()
				stop = s.connection.Watch(key, changed)
				return stop
			}
		},
		fails: []string{"watch/watch-tells-every-watcher-of-a-key"},
	},
	{
		name: "cannot stop watching",
		alter: func(s *altered) {
			s.watch = func(key string, changed func()) func() {
				s.connection.Watch(key, changed)
				return func() {}
			}
		},
		fails: []string{"watch/watch-is-silent-once-stopped"},
	},
}
