package rabbitmq

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// tend does for a line what the broker must be asked for, one thing after the
// other, until there is nobody who waits and no channel.
func (l *line) tend() {
	c := l.consumer
	for {
		c.mu.Lock()
		task := l.next()
		if task == nil {
			ended := l.tending
			l.tending = nil
			c.mu.Unlock()
			close(ended)
			return
		}
		c.mu.Unlock()
		task()
	}
}

// next returns what is to be done, nil to end. The caller holds consumer.mu.
func (l *line) next() func() {
	ch := l.channel // it may be lost until the task begins
	switch {
	case l.consumer.closed && ch == nil:
		return nil
	case l.consumer.closed:
		return func() { l.retire(ch) }
	case ch == nil && l.demand == 0:
		return nil
	case ch == nil:
		return l.connect
	case l.resting:
		return func() { l.goToRest(ch) }
	case l.curious > 0 && !l.empty && len(l.free) == 0 && !time.Now().Before(l.look):
		return func() { l.probe(ch) }
	case !l.needsCredit():
		l.starved = time.Time{}
	case !l.canWait():
		return func() { l.grow(ch) }
	}
	return l.pause
}

// pause waits until there may be something to do.
func (l *line) pause() {
	c := l.consumer
	c.mu.Lock()
	var look <-chan time.Time
	if at := l.starved.Add(starvation); !l.starved.IsZero() || l.curious > 0 && !l.empty {
		if l.starved.IsZero() || l.curious > 0 && !l.empty && l.look.Before(at) {
			at = l.look
		}
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		look = timer.C
	}
	c.mu.Unlock()
	select {
	case <-l.work:
	case <-look:
	case <-c.backend.life.Done():
	}
}

// connect opens a channel for the queue. What prevents it the waiting hear of,
// but not that the connection was lost meanwhile.
func (l *line) connect() {
	var ch *channel
	b := l.consumer.backend
	err := b.onConnection(b.life, func(conn *connection) (err error) {
		ch, err = l.open(conn)
		return err
	})
	c := l.consumer
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		l.refuse(err)
		return
	}
	if ch.lost.Load() { // already
		return
	}
	l.channel, l.empty, l.resting, l.look, l.asked = ch, false, false, time.Time{}, time.Now()
	l.most, l.starved = l.demand, time.Time{}
	l.mayRest()
}

func (l *line) open(conn *connection) (*channel, error) {
	b := l.consumer.backend
	if err := b.topology.ensure(b.life, l.queue); err != nil {
		return nil, err
	}
	opened, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	ch := &channel{Channel: opened, line: l, conn: conn, subscriptions: make(map[*subscription]bool), gone: make(chan struct{}), beyond: make(map[uint64]bool)}
	closed := opened.NotifyClose(make(chan *amqp.Error, 1))
	b.running.Go(func() {
		l.lose(ch, <-closed)
		close(ch.gone)
	})
	return ch, nil
}

// refuse has all who wait leave with err. The caller holds consumer.mu.
func (l *line) refuse(err error) {
	for len(l.waiting) > 0 {
		w := l.waiting[0]
		w.err = err
		w.notify()
		l.strike(w)
	}
}

// lose notes that a channel was closed, and tells those who hold what came over
// it.
func (l *line) lose(ch *channel, reason *amqp.Error) {
	c := l.consumer
	c.mu.Lock()
	if reason != nil {
		err := error(reason)
		ch.reason.Store(&err)
	}
	ch.lost.Store(true)
	lent := ch.unsettled
	if l.channel == ch {
		lent -= len(l.free)
		l.channel, l.free, l.empty = nil, nil, false
	}
	if l.tending != nil || l.demand > 0 {
		l.nudge()
	}
	c.mu.Unlock()
	if lent > 0 {
		c.backend.losses.Tell()
	}
	if reason != nil && reason.Code == amqp.PreconditionFailed && strings.Contains(reason.Reason, "timed out") {
		slog.Warn("queue: a job took longer than RabbitMQ lets a consumer take: it and all others that were held of its queue will run again; "+
			"set consumer_timeout in rabbitmq.conf to more than the longest job takes", "queue", l.queue, "jobs", lent, "reason", reason.Reason)
	}
}

// failed is called when the broker has refused something on a channel, which
// closes it. What declaring the queue again may mend is no error at first.
func (l *line) failed(ch *channel, err error) {
	reason := refusal(err)
	if reason == nil {
		ch.Close() // if the connection is not lost anyway
	}
	<-ch.gone
	if reason == nil {
		return
	}
	c := l.consumer
	// The queue was deleted, or RabbitMQ has stumbled over one that is just being
	// made, which costs the connection.
	if reason.Code == amqp.NotFound || reason.Code == amqp.InternalError {
		if l.stumbles++; l.stumbles < maxTries {
			c.backend.pause(c.backend.life, afterDeletion)
			c.backend.topology.forget(l.queue)
			return
		}
		l.stumbles = 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l.refuse(fmt.Errorf("%w: consuming from queue %q: %w", backend.ErrUnavailable, l.queue, reason))
}
