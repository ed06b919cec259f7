package store

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Memory is a [Store] and [Watcher] in the memory of this process: exact, and
// gone with the process. It suits tests and services of a single process.
//
// It starts no goroutine and no timer, so that time under testing/synctest
// works as expected. An expired key is invisible at once; its memory is given
// back when the key is next touched or by later writes, whichever comes
// first, so that keys which nobody reads again do not pile up.
//
// Every method is safe for concurrent use.
type Memory struct {
	mu       sync.Mutex // guards everything below
	closed   bool
	entries  map[string]*entry
	expiring expiryHeap // the entries that have an expiry
	watches  map[string]map[*watch]struct{}
	changed  []func() // to be called once mu is released
}

var (
	_ Store   = (*Memory)(nil)
	_ Watcher = (*Memory)(nil)
)

// NewMemory returns an empty store, which shares its keys with no other.
func NewMemory() *Memory {
	return &Memory{
		entries: make(map[string]*entry),
		watches: make(map[string]map[*watch]struct{}),
	}
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	result, err := m.applyOne(ctx, Op{Verb: OpGet, Key: key})
	return result.Value, err
}

// Set implements [Store].
func (m *Memory) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	_, err := m.applyOne(ctx, Op{Verb: OpSet, Key: key, Value: value, TTL: ttl})
	return err
}

// SetNX implements [Store].
func (m *Memory) SetNX(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error) {
	if key == "" || ttl < 0 {
		return false, ErrInvalid
	}
	err = m.locked(ctx, func(now time.Time) {
		if m.lookup(key, now) == nil {
			m.put(key, value, ttl, now)
			stored = true
		}
	})
	return stored, err
}

// CompareAndDelete implements [Store].
func (m *Memory) CompareAndDelete(ctx context.Context, key string, value []byte) (deleted bool, err error) {
	if key == "" {
		return false, ErrInvalid
	}
	err = m.locked(ctx, func(now time.Time) {
		if e := m.lookup(key, now); e != nil && bytes.Equal(e.value, value) {
			m.remove(e)
			m.touch(key)
			deleted = true
		}
	})
	return deleted, err
}

// Incr implements [Store].
func (m *Memory) Incr(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	result, err := m.applyOne(ctx, Op{Verb: OpIncr, Key: key, Delta: delta, TTL: ttl})
	return result.Sum, err
}

// List implements [Store]. It looks at every key, and sorts those that match.
func (m *Memory) List(ctx context.Context, prefix string) ([]Item, error) {
	var items []Item
	err := m.locked(ctx, func(now time.Time) {
		for key, e := range m.entries {
			if strings.HasPrefix(key, prefix) && !e.expired(now) {
				items = append(items, Item{Key: key, Value: bytes.Clone(e.value)})
			}
		}
	})
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(a.Key, b.Key) })
	return items, err
}

// Apply implements [Store]. It is atomic here, which callers must not rely on.
func (m *Memory) Apply(ctx context.Context, ops []Op) ([]Result, error) {
	results := make([]Result, len(ops))
	err := m.locked(ctx, func(now time.Time) {
		for i, op := range ops {
			results[i] = m.run(op, now)
		}
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Close implements [Store]. It forgets every key, and wakes every watcher, so
// that those who wait for a key learn that the store is closed.
func (m *Memory) Close() error {
	m.mu.Lock()
	m.closed = true
	m.entries, m.expiring = nil, nil
	for key := range m.watches {
		m.touch(key)
	}
	m.unlockAndTell()
	return nil
}

// Watch implements [Watcher]. A key that expires is not reported. A call that
// is under way while stop is called may end after it; stop may be called more
// than once.
func (m *Memory) Watch(key string, changed func()) (stop func()) {
	w := &watch{changed: changed}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watches[key] == nil {
		m.watches[key] = make(map[*watch]struct{})
	}
	m.watches[key][w] = struct{}{}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watches[key], w)
		if len(m.watches[key]) == 0 {
			delete(m.watches, key)
		}
	}
}

type watch struct{ changed func() }

func (m *Memory) applyOne(ctx context.Context, op Op) (Result, error) {
	results, err := m.Apply(ctx, []Op{op})
	if err != nil {
		return Result{}, err
	}
	return results[0], results[0].Err
}

// locked runs f while it holds mu.
func (m *Memory) locked(ctx context.Context, f func(now time.Time)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	f(time.Now())
	m.unlockAndTell()
	return nil
}

// unlockAndTell calls the watchers without the lock: they may use the store.
func (m *Memory) unlockAndTell() {
	changed := m.changed
	m.changed = nil
	m.mu.Unlock()
	for _, call := range changed {
		call()
	}
}

func (m *Memory) touch(key string) {
	for w := range m.watches[key] {
		m.changed = append(m.changed, w.changed)
	}
}

func (m *Memory) run(op Op, now time.Time) Result {
	if op.Key == "" || op.TTL < 0 {
		return Result{Err: ErrInvalid}
	}
	switch op.Verb {
	case OpGet:
		e := m.lookup(op.Key, now)
		if e == nil {
			return Result{Err: ErrNotFound}
		}
		return Result{Value: bytes.Clone(e.value)}
	case OpSet:
		m.put(op.Key, op.Value, op.TTL, now)
		return Result{}
	case OpDelete:
		if e := m.lookup(op.Key, now); e != nil {
			m.remove(e)
			m.touch(op.Key)
		}
		return Result{}
	case OpIncr:
		return m.increment(op, now)
	default:
		return Result{Err: ErrInvalid}
	}
}

func (m *Memory) increment(op Op, now time.Time) Result {
	e := m.lookup(op.Key, now)
	if e == nil {
		m.put(op.Key, strconv.AppendInt(nil, op.Delta, 10), op.TTL, now)
		return Result{Sum: op.Delta}
	}
	n, err := strconv.ParseInt(string(e.value), 10, 64)
	overflows := op.Delta > 0 && n > math.MaxInt64-op.Delta || op.Delta < 0 && n < math.MinInt64-op.Delta
	if err != nil || overflows {
		return Result{Err: ErrNotANumber}
	}
	e.value = strconv.AppendInt(nil, n+op.Delta, 10)
	m.touch(op.Key)
	return Result{Sum: n + op.Delta}
}

// lookup returns the live entry of key, or nil.
func (m *Memory) lookup(key string, now time.Time) *entry {
	e := m.entries[key]
	if e != nil && e.expired(now) {
		m.remove(e)
		return nil
	}
	return e
}

func (m *Memory) put(key string, value []byte, ttl time.Duration, now time.Time) {
	m.reap(now)
	if old := m.entries[key]; old != nil {
		m.remove(old)
	}
	e := &entry{key: key, value: bytes.Clone(value)}
	m.entries[key] = e
	if ttl > 0 {
		e.expires = now.Add(roundUp(ttl))
		heap.Push(&m.expiring, e)
	}
	m.touch(key)
}

func (m *Memory) remove(e *entry) {
	delete(m.entries, e.key)
	if !e.expires.IsZero() {
		heap.Remove(&m.expiring, e.position)
	}
}

// reapAtMost bounds what one write does for keys that are not its own. A
// thousand cost it well under a millisecond, and since a write adds one key
// at most, expired keys are removed faster than they can gather.
const reapAtMost = 1000

func (m *Memory) reap(now time.Time) {
	for range reapAtMost {
		if len(m.expiring) == 0 || !m.expiring[0].expired(now) {
			return
		}
		m.remove(m.expiring[0])
	}
}

// roundUp makes ttl whole milliseconds, as stores that count in them do.
func roundUp(ttl time.Duration) time.Duration {
	if ttl > math.MaxInt64-time.Millisecond {
		return ttl
	}
	return (ttl + time.Millisecond - 1).Truncate(time.Millisecond)
}

type entry struct {
	key      string
	value    []byte
	expires  time.Time // zero: never
	position int       // in the expiry heap
}

func (e *entry) expired(now time.Time) bool {
	return !e.expires.IsZero() && !now.Before(e.expires)
}

// expiryHeap is a container/heap of entries, the next to expire first.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}

func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	e.position = len(*h)
	*h = append(*h, e)
}

func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
