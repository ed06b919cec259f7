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

// Acks wait for each other: for one word to the broker it takes as long whether it
// is about one message or a hundred that come behind each other.
const (
	// ackAfter is how long an ack waits for others; twice as long when it is one
	// for which a message in front is still missing.
	ackAfter = time.Millisecond

	// maxWaiting is how many acks wait at most; fewer if the broker sends no more
	// than a few messages until it hears of them.
	maxWaiting = 64
)

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

// ack has the broker told that messages are done: soon, and together.
func (c *channel) ack(loans []*loan) error {
	c.mu.Lock()
	if c.lost.Load() {
		c.mu.Unlock()
		return c.lostError()
	}
	for _, l := range loans {
		c.remove(l)
	}
	c.acks = append(c.acks, loans...)
	c.unsent.Add(int64(len(loans)))
	wait := min(int(c.credit.Load())/2, maxWaiting)
	if c.timer == nil {
		c.timer = time.AfterFunc(ackAfter, c.fire)
	}
	if len(c.acks) < wait || c.held {
		c.mu.Unlock()
		return nil
	}
	all := len(c.acks) >= 2*wait // the missing one is slow
	told := c.tell(all)
	c.mu.Unlock()
	c.wereTold(told)
	return nil
}

// fire is called by the timer.
func (c *channel) fire() {
	c.mu.Lock()
	c.timer = nil
	var told []*loan
	if !c.held {
		told = c.tell(false)
		waited := min(c.patient, len(c.acks))
		told = append(told, c.tellEach(waited)...)
	}
	if c.patient = len(c.acks); c.patient > 0 && !c.lost.Load() {
		c.timer = time.AfterFunc(ackAfter, c.fire)
	}
	c.mu.Unlock()
	c.wereTold(told)
}

// flush tells the broker of all acks.
func (c *channel) flush() {
	c.mu.Lock()
	c.held = false
	told := c.tell(true)
	c.mu.Unlock()
	c.wereTold(told)
}

// hold has acks wait until flush: the broker sends no messages in their place.
func (c *channel) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// tell tells the broker of those acks up to which there is none missing by one
// word, and of the others too, one by one, if it is to tell of all. It must tell
// of none twice, or the broker closes the channel. It returns those that it told
// of. The caller holds mu.
func (c *channel) tell(all bool) (told []*loan) {
	done := c.seen // up to this number all are
	if c.oldest != nil {
		done = min(done, c.oldest.number()-1)
	}
	var last uint64
	rest := c.acks[:0]
	for _, l := range c.acks {
		if n := l.number(); n <= done {
			last = max(last, n)
			told = append(told, l)
		} else {
			rest = append(rest, l)
		}
	}
	clear(c.acks[len(rest):])
	c.acks = rest
	if last > 0 {
		// Should it fail, the channel is closed, and all of it comes back.
		c.Ack(last, true)
	}
	if all {
		told = append(told, c.tellEach(len(c.acks))...)
	}
	c.patient = min(c.patient, len(c.acks))
	return told
}

// tellEach tells the broker of the first n acks, one by one. The caller holds mu.
func (c *channel) tellEach(n int) (told []*loan) {
	if n == 0 {
		return nil
	}
	c.conn.wire.hold()
	defer c.conn.wire.flow()
	for _, l := range c.acks[:n] {
		c.Ack(l.number(), false)
	}
	told = append(told, c.acks[:n]...)
	c.acks = append(c.acks[:0], c.acks[n:]...)
	return told
}

// wereTold notes that the broker was told of loans.
func (c *channel) wereTold(loans []*loan) {
	if len(loans) == 0 {
		return
	}
	c.unsent.Add(-int64(len(loans)))
	l := c.line
	l.consumer.mu.Lock()
	defer l.consumer.mu.Unlock()
	c.makeRoom(loans)
	l.settled = time.Now()
	if l.channel != c {
		return
	}
	if l.needsCredit() {
		l.nudge()
	}
	l.mayRest()
}

// nack has the broker keep messages.
func (c *channel) nack(loans []*loan) {
	c.mu.Lock()
	for _, l := range loans {
		c.remove(l)
		c.Nack(l.number(), false, true) // if it fails they come back anyway
	}
	c.mu.Unlock()
	c.unsent.Add(int64(len(loans))) // for a moment
	c.wereTold(loans)
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

// lostError is that of a settle on a channel which is lost.
func (c *channel) lostError() error {
	if reason := c.reason.Load(); reason != nil {
		return fmt.Errorf("%w: %w", backend.ErrLeaseLost, *reason)
	}
	return backend.ErrLeaseLost
}
