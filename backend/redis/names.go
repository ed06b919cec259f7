package redis

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/push"
)

// names tells a worker of all queues when there is a new one. It has Redis
// send it a note when the set of queues changes, on a connection of its own:
// queues come and go so seldom that it does not matter that every worker of all
// queues is told.
type names struct {
	backend *Backend
	started atomic.Bool
	told    atomic.Bool // Redis sends notes
	waits   atomic.Pointer[line]
	done    chan struct{}
}

func (n *names) init(b *Backend) {
	n.backend = b
	n.done = make(chan struct{})
}

// processor calls changed for each note of Redis.
func (n *names) processor() push.NotificationProcessor {
	p := push.NewProcessor()
	p.RegisterHandler("invalidate", note(func() { n.backend.waiting.wakeAll() }), true)
	return p
}

type note func()

// HandlePushNotification implements push.NotificationHandler.
func (f note) HandlePushNotification(context.Context, push.NotificationHandlerContext, []any) error {
	f()
	return nil
}

// watch begins to listen for new queues. It returns after how long a worker
// looks for itself: soon where Redis sends no notes, and else in case that one
// was lost.
func (n *names) watch() time.Duration {
	if n.started.CompareAndSwap(false, true) {
		go n.listen()
	}
	if n.told.Load() {
		return restPoll
	}
	return pausedPoll
}

func (n *names) listen() {
	defer close(n.done)
	b := n.backend
	for pause := time.Second; b.life.Err() == nil; pause = min(2*pause, time.Minute) {
		on, err := b.dial((*goredis.Client).EphemeralConn)
		if err == nil {
			err = on.conn.Do(context.Background(), "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", b.prefix+"queues").Err()
			if err == nil {
				n.told.Store(true)
				b.waiting.wakeAll() // what has come before
				n.waits.Store(on)
				n.hold(on)
				n.waits.Store(nil)
				n.told.Store(false)
				b.waiting.wakeAll() // they look for themselves now
				pause = time.Second
			}
			on.conn.Close()
		}
		b.pause(pause) // longer each time where a user may not do this
	}
}

// hold keeps the connection until it breaks. It gets its notes while it waits
// for something that never comes.
func (n *names) hold(on *line) {
	var err error
	for n.backend.life.Err() == nil && (err == nil || errors.Is(err, goredis.Nil)) {
		err = on.conn.BLPop(context.Background(), blockTime, n.backend.prefix+"gofer:nothing").Err()
	}
}

// close ends the listening, as far as Redis answers.
func (n *names) close() {
	if !n.started.Load() {
		return
	}
	n.backend.endWait(n.waits.Load, n.done)
}
