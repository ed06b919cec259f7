package redis

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Watch implements [store.Watcher]. What any process does through this package
// is told as soon as the server has done it; a key that expires, or that is
// changed by other means, is not reported.
//
// All watches of the store share one connection, which the first of them has
// opened in the background, and which is closed a few seconds after the last
// has stopped. Changes go unseen until the server has confirmed that it will
// tell of them, and while the connection is down. changed is therefore also
// called at each confirmation, the first and those on a new connection: who
// then reads the key has missed nothing. A connection that has become silent,
// so that not even pings are answered, is replaced within half a minute.
//
// A call of changed that is under way while stop is called may end after it;
// stop may be called more than once. Calls come one after the other, from the
// goroutine that reads the connection, or from Close: a changed that blocks
// holds up all the others.
func (s *Store) Watch(key string, changed func()) (stop func()) {
	return s.watches.add(s.channel(key), changed)
}

// watches is who is to be told of which channel, and the life of the goroutine
// that listens for them.
type watches struct {
	client redis.UniversalClient
	wake   chan struct{} // has a token while the listener has channels to look at

	mu        sync.Mutex // guards what follows
	closed    bool
	byChannel map[string]map[*watch]struct{} // no channel is without a watch
	stale     map[string]struct{}            // channels that gained their first watch or lost their last
	end       context.CancelFunc             // ends the listener; nil while there is none
}

type watch struct {
	changed func()
	stopped atomic.Bool
}

func (w *watch) tell() {
	if !w.stopped.Load() {
		w.changed()
	}
}

func newWatches(client redis.UniversalClient) *watches {
	return &watches{
		client:    client,
		wake:      make(chan struct{}, 1),
		byChannel: make(map[string]map[*watch]struct{}),
		stale:     make(map[string]struct{}),
	}
}

func (w *watches) add(channel string, changed func()) (stop func()) {
	added := &watch{changed: changed}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return func() {}
	}
	if w.byChannel[channel] == nil {
		w.byChannel[channel] = make(map[*watch]struct{})
		w.lookLocked(channel)
	}
	w.byChannel[channel][added] = struct{}{}
	if w.end == nil {
		var ctx context.Context
		ctx, w.end = context.WithCancel(context.Background())
		go w.listen(ctx)
	}
	return func() { w.remove(channel, added) }
}

func (w *watches) remove(channel string, stopped *watch) {
	stopped.stopped.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.byChannel[channel], stopped)
	if others, exist := w.byChannel[channel]; exist && len(others) == 0 {
		delete(w.byChannel, channel)
		w.lookLocked(channel)
	}
}

// lookLocked makes the listener look whether it listens to a channel rightly.
func (w *watches) lookLocked(channel string) {
	w.stale[channel] = struct{}{}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// lookAtAll makes the listener look at every channel that is watched.
func (w *watches) lookAtAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for channel := range w.byChannel {
		w.lookLocked(channel)
	}
}

// news returns the channels to look at, and whether each is watched.
func (w *watches) news() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched := make(map[string]bool, len(w.stale))
	for channel := range w.stale {
		watched[channel] = w.byChannel[channel] != nil
	}
	clear(w.stale)
	return watched
}

// tell calls the watches of a channel, without the lock: they may use the store.
func (w *watches) tell(channel string) {
	w.mu.Lock()
	told := slices.Collect(maps.Keys(w.byChannel[channel]))
	w.mu.Unlock()
	for _, watch := range told {
		watch.tell()
	}
}

// finish tells the listener whether it can end for want of watches. It then
// must: the next watch starts another one.
func (w *watches) finish() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.byChannel) > 0 {
		return w.closed
	}
	w.end()
	w.end = nil
	return true
}

func (w *watches) close() {
	w.mu.Lock()
	w.closed = true
	var told []*watch
	for _, watches := range w.byChannel {
		told = slices.AppendSeq(told, maps.Keys(watches))
	}
	w.byChannel, w.stale = nil, nil
	if w.end != nil {
		w.end()
	}
	w.mu.Unlock()
	for _, watch := range told {
		watch.tell()
	}
}
