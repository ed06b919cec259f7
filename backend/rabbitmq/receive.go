package rabbitmq

import (
	"runtime"

	amqp "github.com/rabbitmq/amqp091-go"
)

// maxReceived is how many messages are taken from the client at a time.
const maxReceived = 64

// receive puts the messages of a consumer in line until it ends.
func (l *line) receive(ch *channel, from *subscription, deliveries <-chan amqp.Delivery) {
	defer ch.receiving.Done()
	c := l.consumer
	var batch []amqp.Delivery
	for d := range deliveries {
		batch = append(batch[:0], d)
		runtime.Gosched() // the client passes on one at a time
	more:
		for len(batch) < maxReceived {
			select {
			case d, ok := <-deliveries:
				if !ok {
					break more
				}
				batch = append(batch, d)
			default:
				break more
			}
		}
		l.arrived(ch, from, batch)
		clear(batch)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	from.ended = true
	ch.room -= from.room
	ch.credit.Add(-int64(from.credit))
	delete(ch.subscriptions, from)
	if ch.room <= 0 && l.channel == ch {
		l.empty = false
	}
	if l.demand > 0 {
		l.nudge() // if it was RabbitMQ that has ended it
	}
}

func (l *line) arrived(ch *channel, from *subscription, batch []amqp.Delivery) {
	c := l.consumer
	all := make([]loan, len(batch))
	loans := make([]*loan, 0, len(batch))
	var again []*loan
	for i := range batch {
		one := &all[i]
		one.channel, one.source, one.message = ch, from, batch[i]
		one.count = countOf(&one.message)
		if one.message.Redelivered && c.backend.settings.classic {
			again = append(again, one)
		} else {
			loans = append(loans, one)
		}
	}
	ch.see(all)
	c.mu.Lock()
	if !ch.lost.Load() {
		l.came(ch, from, len(batch))
		l.put(loans)
	}
	c.mu.Unlock()
	if len(again) > 0 {
		c.backend.running.Go(func() { c.backend.recount(ch, again) })
	}
}
