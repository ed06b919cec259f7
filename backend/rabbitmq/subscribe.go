package rabbitmq

import (
	"math"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// grow adds a consumer with the credit that is missing, at least one. It reports
// whether there is one: if somebody still asks, and the channel is not lost.
func (l *line) grow(ch *channel) bool {
	c := l.consumer
	c.mu.Lock()
	if l.demand == 0 || l.channel != ch {
		c.mu.Unlock()
		return false
	}
	credit := min(max(l.demand-max(l.room(), 0)-len(l.free), 1), math.MaxUint16)
	ch.tags++
	one := &subscription{tag: strconv.Itoa(ch.tags), credit: credit, room: credit}
	ch.subscriptions[one] = true
	ch.room += credit
	ch.credit.Add(int64(credit))
	l.starved = time.Time{}
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
	l.stumbles = 0
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

// probe finds out whether the broker holds nothing ready.
func (l *line) probe(ch *channel) {
	c := l.consumer
	c.mu.Lock()
	room := ch.room
	l.look = time.Now().Add(lookAgain)
	c.mu.Unlock()
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
