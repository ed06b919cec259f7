package rabbitmq

import (
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The ladder holds jobs back. Its levels are queues whose messages expire, that
// of level n after 2ⁿ seconds, and an exchange in front of each. A delay of s
// seconds is written in binary: at each level whose bit is 1 the job waits in
// the queue, at the others it goes on to the next, and below the last one to the
// queue that it is meant for. All jobs of a queue of the ladder wait equally
// long, and so none stands in the way of another.
//
// The bits are the routing key, from the highest on, and behind them is the name
// of the destination: "0.0.….1.0.1.send.email" waits at level 2 and at level 0.
//
// A queue is a quorum queue whose expired messages are moved "at-least-once": a
// level gives a message up when the next one has it, whatever is killed.
const levels = 25

// maxDelay is that of a job which waits at every level: 388 days.
const maxDelay = (1<<levels - 1) * time.Second

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func level(n int) string { return fmt.Sprintf("%sdelay.%02d", ownNames, n) }

// delayRoute returns where a job for queue is published that is due in so many
// seconds, at least one.
func delayRoute(queue string, seconds int64) (exchange, key string) {
	highest := 0
	bits := make([]byte, 0, 2*levels+len(queue))
	for n := levels - 1; n >= 0; n-- {
		bit := byte('0')
		if seconds>>n&1 == 1 {
			bit, highest = '1', max(highest, n)
		}
		bits = append(bits, bit, '.')
	}
	return level(highest), string(append(bits, queue...))
}

// delayedKey is what binds a queue to the exchange below the ladder.
func delayedKey(queue string) string { return strings.Repeat("*.", levels) + queue }

// declareLadder declares what holds jobs back. The calls are not waited for:
// one that fails closes the channel, which the next that is waited for tells.
func declareLadder(ch *amqp.Channel) error {
	for n := range levels {
		if err := declareLevel(ch, n); err != nil {
			return err
		}
	}
	return nil
}

func declareLevel(ch *amqp.Channel, n int) error {
	const noWait = true
	name, next := level(n), delayedExchange
	if n > 0 {
		next = level(n - 1)
	}
	if err := ch.ExchangeDeclare(name, amqp.ExchangeTopic, true, false, false, noWait, nil); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(name, true, false, false, noWait, amqp.Table{
		amqp.QueueTypeArg:        amqp.QueueTypeQuorum,
		"x-message-ttl":          int64(1000) << n,
		"x-dead-letter-exchange": next,
		"x-dead-letter-strategy": "at-least-once",
		amqp.QueueOverflowArg:    amqp.QueueOverflowRejectPublish,
		deliveryLimit:            unlimited,
	}); err != nil {
		return err
	}
	above := strings.Repeat("*.", levels-1-n)
	if err := ch.QueueBind(name, above+"1.#", name, noWait, nil); err != nil {
		return err
	}
	return ch.ExchangeBind(next, above+"0.#", name, noWait, nil)
}
