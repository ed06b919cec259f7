package storetest_test

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/store"
)

// server is a sound store that several connections share.
type server struct{ memory *store.Memory }

func newServer() *server { return &server{store.NewMemory()} }

func (s *server) connect() *connection { return &connection{memory: s.memory} }

func (s *server) open() (store.Store, error) { return s.connect(), nil }

// connection is a handle on a server that is closed on its own.
type connection struct {
	memory *store.Memory
	closed atomic.Bool
}

func (c *connection) live() store.Store {
	if c.closed.Load() {
		return closedStore
	}
	return c.memory
}

var closedStore = func() store.Store {
	m := store.NewMemory()
	m.Close()
	return m
}()

func (c *connection) Get(ctx context.Context, key string) ([]byte, error) {
	return c.live().Get(ctx, key)
}

func (c *connection) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return c.live().Set(ctx, key, value, ttl)
}

func (c *connection) SetNX(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	return c.live().SetNX(ctx, key, value, ttl)
}

func (c *connection) CompareAndDelete(ctx context.Context, key string, value []byte) (bool, error) {
	return c.live().CompareAndDelete(ctx, key, value)
}

func (c *connection) Incr(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	return c.live().Incr(ctx, key, delta, ttl)
}

func (c *connection) List(ctx context.Context, prefix string) ([]store.Item, error) {
	return c.live().List(ctx, prefix)
}

func (c *connection) Apply(ctx context.Context, ops []store.Op) ([]store.Result, error) {
	return c.live().Apply(ctx, ops)
}

func (c *connection) Close() error {
	c.closed.Store(true)
	return nil
}

func (c *connection) Watch(key string, changed func()) func() {
	return c.memory.Watch(key, changed)
}

// altered is a connection some of whose methods are replaced.
type altered struct {
	*connection
	get              func(ctx context.Context, key string) ([]byte, error)
	set              func(ctx context.Context, key string, value []byte, ttl time.Duration) error
	setNX            func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error)
	compareAndDelete func(ctx context.Context, key string, value []byte) (bool, error)
	incr             func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error)
	list             func(ctx context.Context, prefix string) ([]store.Item, error)
	apply            func(ctx context.Context, ops []store.Op) ([]store.Result, error)
	close            func() error
	watch            func(key string, changed func()) func()
}

func (a *altered) Get(ctx context.Context, key string) ([]byte, error) {
	if a.get != nil {
		return a.get(ctx, key)
	}
	return a.connection.Get(ctx, key)
}

func (a *altered) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if a.set != nil {
		return a.set(ctx, key, value, ttl)
	}
	return a.connection.Set(ctx, key, value, ttl)
}

func (a *altered) SetNX(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	if a.setNX != nil {
		return a.setNX(ctx, key, value, ttl)
	}
	return a.connection.SetNX(ctx, key, value, ttl)
}

func (a *altered) CompareAndDelete(ctx context.Context, key string, value []byte) (bool, error) {
	if a.compareAndDelete != nil {
		return a.compareAndDelete(ctx, key, value)
	}
	return a.connection.CompareAndDelete(ctx, key, value)
}

func (a *altered) Incr(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	if a.incr != nil {
		return a.incr(ctx, key, delta, ttl)
	}
	return a.connection.Incr(ctx, key, delta, ttl)
}

func (a *altered) List(ctx context.Context, prefix string) ([]store.Item, error) {
	if a.list != nil {
		return a.list(ctx, prefix)
	}
	return a.connection.List(ctx, prefix)
}

func (a *altered) Apply(ctx context.Context, ops []store.Op) ([]store.Result, error) {
	if a.apply != nil {
		return a.apply(ctx, ops)
	}
	return a.connection.Apply(ctx, ops)
}

func (a *altered) Close() error {
	if a.close != nil {
		return a.close()
	}
	return a.connection.Close()
}

func (a *altered) Watch(key string, changed func()) func() {
	if a.watch != nil {
		return a.watch(key, changed)
	}
	return a.connection.Watch(key, changed)
}
