package rabbitmq

import (
	"fmt"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// channel is one over which a queue is consumed. Its deliveries are settled on
// it or not at all: the broker gives them to others as soon as it is closed.
type channel struct {
	*amqp.Channel
	line *line
	conn *connection

	lost   atomic.Bool
	reason atomic.Pointer[error] // why it was lost

	// Guarded by consumer.mu.
	unsettled     int // messages that the broker waits for a word on
	room          int // how many more it sends
	subscriptions map[*subscription]bool
	tags          int // given to subscriptions so far

	receiving sync.WaitGroup // consumers that may still bring messages
	gone      chan struct{}  // closed when the line knows that it is lost

	mu    sync.Mutex // guards all below, and is held while acks are written
	first uint64     // the lowest number that is not settled
	loans []loanState
}

// subscription is one of the consumers of a channel. Its fields are guarded by
// consumer.mu.
type subscription struct {
	tag   string
	room  int // how many messages more the broker sends to this one
	ended bool
}

// loanState is that of a message of a channel, by its number.
type loanState byte

const (
	unseen  loanState = iota // the client has it, or it is still to come
	held                     // here, or on loan
	settled                  // the broker is to be told
	told                     // the broker was told of this one alone
)

// loan is a message that the broker waits for a word on.
type loan struct {
	channel *channel
	source  *subscription
	message amqp.Delivery
	count   int // how often it was handed out before without being settled

	id string // of the message on loan, which may have been made here

	mu       sync.Mutex  // guards all below
	settling *settlement // works on it, or has settled it
	over     bool        // settled
	outcome  error       // of what has settled it
	told     bool        // somebody was told of the outcome
}

// see notes that messages have come.
func (c *channel) see(batch []amqp.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range batch {
		c.set(batch[i].DeliveryTag, held)
	}
}

// set changes the state of a message. The caller holds mu.
func (c *channel) set(number uint64, state loanState) {
	if number < c.first {
		return
	}
	i := int(number - c.first)
	for len(c.loans) <= i {
		c.loans = append(c.loans, unseen)
	}
	c.loans[i] = state
}

// ack tells the broker that messages are done: by one word of those up to which
// all are, and by one each of the others.
func (c *channel) ack(loans []*loan) error {
	c.conn.wire.hold()
	defer c.conn.wire.flow()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost.Load() {
		return c.lostError()
	}
	for _, l := range loans {
		c.set(l.message.DeliveryTag, settled)
	}
	// The broker must not be told of one twice: it would close the channel.
	var last uint64
	done := 0
	for ; done < len(c.loans) && c.loans[done] >= settled; done++ {
		if c.loans[done] == settled {
			last = c.first + uint64(done)
		}
	}
	c.loans = c.loans[done:]
	c.first += uint64(done)
	if last > 0 {
		if err := c.Ack(last, true); err != nil {
			return c.failed(err)
		}
	}
	for _, l := range loans {
		if l.message.DeliveryTag < c.first {
			continue
		}
		c.set(l.message.DeliveryTag, told)
		if err := c.Ack(l.message.DeliveryTag, false); err != nil {
			return c.failed(err)
		}
	}
	return nil
}

// nack has the broker keep messages.
func (c *channel) nack(loans []*loan) {
	c.mu.Lock()
	for _, l := range loans {
		c.set(l.message.DeliveryTag, told)
		c.Nack(l.message.DeliveryTag, false, true) // if it fails they come back anyway
	}
	c.mu.Unlock()
	mu := &c.line.consumer.mu
	mu.Lock()
	c.makeRoom(loans)
	mu.Unlock()
}

// makeRoom notes that the broker was told of loans: it sends as many others. The
// caller holds consumer.mu.
func (c *channel) makeRoom(loans []*loan) {
	c.unsettled -= len(loans)
	for _, l := range loans {
		if l.source.room++; !l.source.ended {
			c.room++
		}
	}
}

// failed is the error of a word that could not be written: the channel is
// closed, and the broker gives its messages to others.
func (c *channel) failed(err error) error {
	return fmt.Errorf("%w: RabbitMQ was lost before the job was settled: %w", backend.ErrLeaseLost, err)
}

// lostError is that of a settle on a channel which is lost.
func (c *channel) lostError() error {
	if reason := c.reason.Load(); reason != nil {
		return fmt.Errorf("%w: %w", backend.ErrLeaseLost, *reason)
	}
	return backend.ErrLeaseLost
}
