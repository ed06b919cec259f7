package rabbitmq

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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
	credit atomic.Int64          // of all subscriptions: how many messages the broker sends without an ack
	unsent atomic.Int64          // acks that the broker has not been told of

	// Guarded by consumer.mu.
	unsettled     int // messages that the broker waits for a word on
	room          int // how many more it sends
	subscriptions map[*subscription]bool
	tags          int // given to subscriptions so far

	receiving sync.WaitGroup // consumers that may still bring messages
	gone      chan struct{}  // closed when the line knows that it is lost

	mu     sync.Mutex      // guards all below, and is held while acks are written
	oldest *loan           // of those that the broker waits for a word on, by number
	newest *loan           // of the same
	seen   uint64          // up to this number all messages have come
	beyond map[uint64]bool // numbers beyond that have come too

	acks    []*loan     // settled, but the broker has not been told yet
	patient int         // so many of them have waited for one firing of timer
	timer   *time.Timer // that ends their waiting; nil unless it is set
	held    bool        // the broker is not to be told now
}

// subscription is one of the consumers of a channel. Its fields are guarded by
// consumer.mu.
type subscription struct {
	tag    string
	credit int // how many messages the broker sends to this one without an ack
	room   int // how many more it sends
	ended  bool
}

// loan is a message that the broker waits for a word on.
type loan struct {
	channel *channel
	source  *subscription
	message amqp.Delivery
	count   int // how often it was handed out before without being settled

	older, newer *loan // guarded by channel.mu: its neighbours in the channel's list

	id string // of the message on loan, which may have been made here

	mu       sync.Mutex  // guards all below
	settling *settlement // works on it, or has settled it
	over     bool        // settled
	outcome  error       // of what has settled it
	told     bool        // somebody was told of the outcome
}

// number is that of the message on its channel.
func (l *loan) number() uint64 { return l.message.DeliveryTag }

// see notes that messages have come.
func (c *channel) see(loans []loan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range loans {
		l := &loans[i]
		older := c.newest // most often: subscriptions may overtake each other here
		for older != nil && older.number() > l.number() {
			older = older.older
		}
		c.insert(l, older)
		if l.number() != c.seen+1 {
			c.beyond[l.number()] = true
			continue
		}
		for c.seen++; c.beyond[c.seen+1]; c.seen++ {
			delete(c.beyond, c.seen+1)
		}
	}
}

// insert puts l behind older in the list, or first. The caller holds mu.
func (c *channel) insert(l, older *loan) {
	newer := c.oldest
	if older != nil {
		newer = older.newer
		older.newer = l
	} else {
		c.oldest = l
	}
	if newer != nil {
		newer.older = l
	} else {
		c.newest = l
	}
	l.older, l.newer = older, newer
}

// remove takes l off the list. The caller holds mu.
func (c *channel) remove(l *loan) {
	if l.older != nil {
		l.older.newer = l.newer
	} else {
		c.oldest = l.newer
	}
	if l.newer != nil {
		l.newer.older = l.older
	} else {
		c.newest = l.older
	}
	l.older, l.newer = nil, nil
}

// lostError is that of a settle on a channel which is lost.
func (c *channel) lostError() error {
	if reason := c.reason.Load(); reason != nil {
		return fmt.Errorf("%w: %w", backend.ErrLeaseLost, *reason)
	}
	return backend.ErrLeaseLost
}
