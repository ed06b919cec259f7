package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// lingerFor is how long the connection is kept without a watch: who waits
	// for one job after the other need not connect for each.
	lingerFor = 5 * time.Second

	// checkEvery is how often the connection is looked at: when nothing was
	// heard since the last time it is pinged, and when that brought nothing
	// either it is replaced.
	checkEvery = 10 * time.Second

	// The pause before a connection that failed is replaced doubles from the
	// first to the last, so that a server which is down is not stormed.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// listen tells the watches of what is published, on one connection after the
// other, until ctx ends or there is nothing left to watch.
func (w *watches) listen(ctx context.Context) {
	pause := firstPause
	for {
		l := &line{watches: w, pubsub: w.client.Subscribe(ctx), subscribed: make(map[string]struct{})}
		if !l.serve(ctx) {
			return
		}
		if l.confirmed.Load() {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		}
	}
}

// line is a connection for subscriptions, and what is known of it. go-redis
// would connect again by itself; here each line is given up at its first
// error, so that one place decides when to connect and what to subscribe to.
type line struct {
	watches    *watches
	pubsub     *redis.PubSub
	subscribed map[string]struct{} // channels that the server was asked to tell of
	heard      atomic.Bool         // something arrived since this was last reset
	confirmed  atomic.Bool         // the server has confirmed a subscription
}

// serve runs the line until it fails, and then returns true, or until it is no
// longer wanted.
func (l *line) serve(ctx context.Context) (failed bool) {
	ctx, hangUp := context.WithCancel(ctx)
	var reader sync.WaitGroup
	defer func() {
		hangUp()
		l.pubsub.Close() // ends the reader
		reader.Wait()
	}()
	broken := make(chan struct{})
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	linger := time.NewTimer(lingerFor)
	defer linger.Stop()

	l.watches.lookAtAll()
	reading, pinged := false, false
	for {
		select {
		case <-ctx.Done():
			return false
		case <-broken:
			return true
		case <-l.watches.wake:
			if err := l.subscribe(ctx); err != nil {
				return true
			}
			if len(l.subscribed) == 0 {
				linger.Reset(lingerFor)
			} else if !reading {
				reading = true
				reader.Go(func() {
					l.read(ctx)
					close(broken)
				})
			}
		case <-linger.C:
			if l.watches.finish() {
				return false
			}
		case <-check.C:
			switch {
			case !reading || l.heard.Swap(false):
				pinged = false
			case pinged:
				return true
			case l.pubsub.Ping(ctx) != nil:
				return true
			default:
				pinged = true
			}
		}
	}
}

// subscribe makes the subscriptions of the line those that are watched.
func (l *line) subscribe(ctx context.Context) error {
	var more, fewer []string
	for channel, watched := range l.watches.news() {
		_, subscribed := l.subscribed[channel]
		switch {
		case watched && !subscribed:
			more = append(more, channel)
			l.subscribed[channel] = struct{}{}
		case !watched && subscribed:
			fewer = append(fewer, channel)
			delete(l.subscribed, channel)
		}
	}
	if len(fewer) > 0 {
		if err := l.pubsub.Unsubscribe(ctx, fewer...); err != nil {
			return err
		}
	}
	if len(more) > 0 {
		return l.pubsub.Subscribe(ctx, more...)
	}
	return nil
}

// read tells of what arrives, until the line fails or is closed.
func (l *line) read(ctx context.Context) {
	for {
		message, err := l.pubsub.Receive(ctx)
		if err != nil || ctx.Err() != nil {
			return
		}
		l.heard.Store(true)
		switch message := message.(type) {
		case *redis.Message:
			l.watches.tell(message.Channel)
		case *redis.Subscription:
			if message.Kind == "subscribe" {
				l.confirmed.Store(true)
				l.watches.tell(message.Channel)
			}
		}
	}
}
