package rabbitmq

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
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
	switch {
	case l.consumer.closed && l.channel == nil:
		return nil
	case l.consumer.closed:
		return l.retire
	case l.channel == nil && l.demand == 0:
		return nil
	case l.channel == nil:
		return l.connect
	case l.resting:
		return l.goToRest
	case l.curious > 0 && !l.empty && len(l.free) == 0 && !time.Now().Before(l.look):
		return l.probe
	case l.needsCredit():
		return func() { l.grow(l.channel) }
	}
	return l.pause
}

// pause waits until there may be something to do.
func (l *line) pause() {
	c := l.consumer
	c.mu.Lock()
	var look <-chan time.Time
	if l.curious > 0 && !l.empty {
		timer := time.NewTimer(time.Until(l.look))
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

// connect opens a channel for the queue. What prevents it the waiting hear of.
func (l *line) connect() {
	ch, err := l.open()
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
	l.channel, l.empty, l.resting, l.look = ch, false, false, time.Time{}
	l.mayRest()
}

func (l *line) open() (*channel, error) {
	b := l.consumer.backend
	conn, err := b.consuming.get(b.life)
	if err != nil {
		return nil, err
	}
	if err := b.topology.ensure(b.life, l.queue); err != nil {
		return nil, err
	}
	opened, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	ch := &channel{Channel: opened, line: l, conn: conn, subscriptions: make(map[*subscription]bool), gone: make(chan struct{}), first: 1}
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
	if l.demand > 0 {
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

// probe finds out whether the broker holds nothing ready.
func (l *line) probe() {
	c := l.consumer
	c.mu.Lock()
	ch, room := l.channel, l.room()
	l.look = time.Now().Add(lookAgain)
	c.mu.Unlock()
	if ch == nil {
		return
	}
	found, err := ch.QueueDeclarePassive(l.queue, true, false, false, false, nil)
	if err != nil {
		l.failed(ch, err)
		return
	}
	if found.Messages > 0 {
		return // with credit they come
	}
	if room > 0 && !l.awaitSent(ch) || room <= 0 && !l.grow(ch) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.channel == ch && l.room() > 0 {
		l.empty = true
		l.wakeAll()
	}
}

// awaitSent waits for what the broker has sent before its latest answer. That has
// come, but may not have passed through the client yet. It returns false when a
// message comes.
//
// To end the consumers would tell for certain. But a quorum queue takes back what
// it sends meanwhile, and counts it as handed out.
func (l *line) awaitSent(ch *channel) bool {
	c := l.consumer
	timeout := time.NewTimer(passage)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		came := len(l.free) > 0 || l.channel != ch || l.curious == 0
		c.mu.Unlock()
		if came {
			return false
		}
		select {
		case <-l.work:
		case <-timeout.C:
			return true
		case <-c.backend.life.Done():
			return false
		}
	}
}

// passage is how long a message may take through the client.
const passage = 20 * time.Millisecond

// lookAgain is after what time an answer is asked for again that said that there
// are messages, which may be with other consumers by now.
const lookAgain = 20 * time.Millisecond

// grow adds a consumer with the credit that is missing, at least one. It reports
// whether the channel is still good.
func (l *line) grow(ch *channel) bool {
	c := l.consumer
	c.mu.Lock()
	if ch == nil || l.channel != ch {
		c.mu.Unlock()
		return false
	}
	credit := min(max(l.demand-max(l.room(), 0)-len(l.free), 1), math.MaxUint16)
	ch.tags++
	one := &subscription{tag: strconv.Itoa(ch.tags), room: credit}
	ch.subscriptions[one] = true
	ch.room += credit
	ch.receiving.Add(1)
	c.mu.Unlock()
	err := ch.Qos(credit, 0, false)
	var deliveries <-chan amqp.Delivery
	if err == nil {
		deliveries, err = ch.Consume(l.queue, one.tag, false, false, false, false, nil)
	}
	if err != nil {
		ch.receiving.Done()
		l.failed(ch, err)
		return false
	}
	c.backend.running.Go(func() { l.receive(ch, one, deliveries) })
	return true
}

// cancel ends the consumers of a channel, and waits for what was sent to them. It
// reports whether the channel is still good. What a quorum queue sends in this
// moment it takes back and counts as handed out: this is for lines with no room,
// or whose queue is empty.
func (l *line) cancel(ch *channel) bool {
	c := l.consumer
	c.mu.Lock()
	var tags []string
	for one := range ch.subscriptions {
		tags = append(tags, one.tag)
	}
	c.mu.Unlock()
	for _, tag := range tags {
		if err := ch.Cancel(tag, false); err != nil {
			l.failed(ch, err)
			return false
		}
	}
	ch.receiving.Wait()
	return true
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
	c.mu.Lock()
	defer c.mu.Unlock()
	// The queue was deleted, or RabbitMQ has stumbled over one that is just being
	// made, which costs the connection.
	if (reason.Code == amqp.NotFound || reason.Code == amqp.InternalError) && time.Since(l.stumbled) > time.Second {
		l.stumbled = time.Now()
		c.backend.topology.forget(l.queue)
		return
	}
	l.refuse(fmt.Errorf("%w: consuming from queue %q: %w", backend.ErrUnavailable, l.queue, reason))
}

// goToRest ends the consumers and gives back what nobody has asked for.
func (l *line) goToRest() {
	c := l.consumer
	c.mu.Lock()
	ch := l.channel
	l.resting = false
	hoards := l.hoards()
	c.mu.Unlock()
	if !hoards || !l.cancel(ch) {
		return
	}
	c.mu.Lock()
	if l.demand > 0 || l.channel != ch { // somebody asks after all
		l.wakeOne()
		c.mu.Unlock()
		return
	}
	unclaimed := l.free
	l.free = nil
	c.mu.Unlock()
	c.backend.giveBack(ch, unclaimed)
	c.mu.Lock()
	unused := l.channel == ch && ch.unsettled == 0 && l.demand == 0
	if unused {
		l.channel = nil
		ch.lost.Store(true)
	}
	c.mu.Unlock()
	if unused {
		ch.Close()
	}
}

// retire is the rest of a line whose backend is being closed.
func (l *line) retire() {
	c := l.consumer
	c.mu.Lock()
	ch := l.channel
	c.mu.Unlock()
	if !l.cancel(ch) {
		return
	}
	c.mu.Lock()
	unclaimed := l.free
	l.free, l.channel = nil, nil
	c.mu.Unlock()
	c.backend.giveBack(ch, unclaimed)
}
