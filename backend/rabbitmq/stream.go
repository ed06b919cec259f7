package rabbitmq

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// window is how many messages may be without the broker's word at a time. With
// fewer it waits for us; more only wait there.
const window = 1000

// sizes is what is known of how large a body may be.
type sizes struct {
	taken atomic.Int64 // the largest that the broker has taken; see stream.number
	most  atomic.Int64 // the largest that it takes, by its own word; 0: it has not said
}

// harmless is the size of a body up to which the broker is taken to take it.
const harmless = 64 << 10

// stream is a channel that publishes. The broker confirms each message by its
// number on the channel, in any order.
type stream struct {
	conn  *connection
	ch    *amqp.Channel
	sizes *sizes
	over  chan struct{} // closed when nothing is to be written to it any more

	mu      sync.Mutex
	changed sync.Cond      // on mu: something below has
	sent    []*publication // guarded by mu: by number, from first on; nil: concluded
	first   uint64         // guarded by mu
	open    int            // guarded by mu: without an outcome
	large   *publication   // guarded by mu: larger than what the broker has taken so far

	ended    bool // guarded by mu: over is closed, and all is concluded
	replaced bool // guarded by mu: over is closed, and it ends when all is concluded
}

func openStream(conn *connection, sizes *sizes) (*stream, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	s := &stream{conn: conn, ch: ch, sizes: sizes, over: make(chan struct{}), first: 1}
	s.changed.L = &s.mu
	// A message that is returned is confirmed after that. The client waits until
	// the one is received, without a buffer, and so it is known here before the
	// other can be.
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	returns, confirms := ch.NotifyReturn(make(chan amqp.Return)), ch.NotifyPublish(make(chan amqp.Confirmation, window))
	go func() {
		s.listen(returns, confirms)
		s.end(<-closed)
	}()
	return s, nil
}

// write publishes batch; what cannot be written any more is concluded.
func (s *stream) write(batch []*publication) {
	s.conn.wire.hold()
	defer s.conn.wire.flow()
	for _, one := range batch {
		if one.batch.abandoned.Load() || !s.number(one) {
			one.conclude(errNotWritten)
			continue
		}
		err := s.ch.Publish(one.exchange, one.key, true, false, one.message)
		if err == nil {
			continue
		}
		if errors.Is(err, amqp.ErrClosed) {
			err = errNotWritten
		} else {
			err = fmt.Errorf("%w: %w", errLostConfirm, err)
		}
		s.fail(one, err)
	}
}

// number gives a publication its number, when it may be written. It returns false
// when nothing may be any more.
func (s *stream) number(one *publication) bool {
	for {
		s.mu.Lock()
		if s.ended || s.replaced {
			s.mu.Unlock()
			return false
		}
		blocked := s.conn.blocked.Load()
		if blocked == nil && s.mayFollow(one) {
			s.sent = append(s.sent, one)
			s.open++
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
		s.conn.wire.flow() // or those that it waits for would not be sent
		if blocked != nil {
			// It would read no more than what is on its way.
			select {
			case <-blocked.over:
			case <-s.over:
			}
		} else {
			s.mu.Lock()
			for !s.ended && !s.replaced && !s.mayFollow(one) {
				s.changed.Wait()
			}
			s.mu.Unlock()
		}
		s.conn.wire.hold()
	}
}

// mayFollow reports whether one may be written behind what was. The window must
// have room. And a body that is larger than what the broker has taken so far goes
// alone: one that is too large costs the channel, and with it the confirms of all
// that were sent before. The caller holds mu.
func (s *stream) mayFollow(one *publication) bool {
	size := int64(len(one.message.Body))
	if size > harmless && size > s.sizes.taken.Load() {
		if s.open > 0 {
			return false
		}
		s.large = one
		return true
	}
	return s.large == nil && s.open < window
}

// fail takes back the latest number, which the client has not used, unless the
// end of the stream has come before.
func (s *stream) fail(one *publication, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.sent); n > 0 && s.sent[n-1] == one {
		s.sent = s.sent[:n-1]
		s.concluded(one, err)
	}
}

// concluded concludes a publication that was sent. The caller holds mu.
func (s *stream) concluded(one *publication, err error) {
	s.open--
	if s.large == one {
		s.large = nil
		s.changed.Broadcast()
	}
	if s.open == window-1 || s.open == 0 {
		s.changed.Broadcast()
	}
	one.conclude(err)
}

// listen reads what the broker says until the channel is closed.
func (s *stream) listen(returns <-chan amqp.Return, confirms <-chan amqp.Confirmation) {
	for returns != nil || confirms != nil {
		select {
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			s.returned(&r)
		case c, ok := <-confirms:
			if !ok {
				confirms = nil
				continue
			}
			s.confirmed(c)
		}
	}
}

// confirmed concludes the message of a number.
func (s *stream) confirmed(c amqp.Confirmation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := c.DeliveryTag - s.first
	if c.DeliveryTag < s.first || i >= uint64(len(s.sent)) || s.sent[i] == nil {
		return
	}
	one := s.sent[i]
	s.sent[i] = nil
	for len(s.sent) > 0 && s.sent[0] == nil {
		s.sent = s.sent[1:]
		s.first++
	}
	err := one.err // it was returned
	if err == nil && !c.Ack {
		err = errRefused
	}
	if s.large == one {
		s.sizes.taken.Store(int64(len(one.message.Body)))
	}
	s.concluded(one, err)
	if err == errRefused && !s.replaced {
		// RabbitMQ goes on refusing what comes over a channel that has seen a
		// queue without a leader.
		s.replaced = true
		close(s.over)
		s.changed.Broadcast()
	}
	if s.replaced && s.open == 0 {
		go s.ch.Close()
	}
}

// returned notes that a message had no queue. The broker names it by what we
// wrote: of several that look the same, none counts as stored.
func (s *stream) returned(r *amqp.Return) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.sent {
		if one != nil && one.message.MessageId == r.MessageId && one.key == r.RoutingKey && one.exchange == r.Exchange {
			one.err = errUnroutable
		}
	}
}

// end concludes what the broker did not live to speak of. The reason is nil when
// it was the driver that closed the channel.
func (s *stream) end(reason *amqp.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if !s.replaced {
		close(s.over)
	}
	s.changed.Broadcast()
	outcome := func(*publication) error { return errLostConfirm }
	if reason != nil {
		outcome = s.verdict(reason)
	}
	for _, one := range s.sent {
		if one != nil {
			one.conclude(outcome(one))
		}
	}
	s.sent = nil
}

// verdict returns what became of each publication when RabbitMQ closed the
// channel for a reason: because of one of them, behind which it has taken none.
func (s *stream) verdict(reason *amqp.Error) func(*publication) error {
	lost := fmt.Errorf("%w: %w", errLostConfirm, reason)
	var size, most int64
	if n, _ := fmt.Sscanf(reason.Reason, tooLargeReason, &size, &most); n == 2 {
		s.sizes.most.Store(most)
	}
	met := false
	return func(one *publication) error {
		switch {
		case met:
			return errNotWritten
		case most > 0 && int64(len(one.message.Body)) == size:
			met = true
			return fmt.Errorf("%w: %s", backend.ErrTooLarge, reason.Reason)
		case reason.Code == amqp.NotFound && one.exchange != "" && strings.Contains(reason.Reason, "'"+one.exchange+"'"):
			met = true
			return errUnroutable
		}
		return lost
	}
}

// tooLargeReason is what RabbitMQ closes a channel with.
const tooLargeReason = "PRECONDITION_FAILED - message size %d is larger than configured max size %d"

var (
	// errLostConfirm is the outcome of a message that the broker may have or not.
	errLostConfirm = errors.New("RabbitMQ was lost before it confirmed the message: whether it is stored is not known")

	// errRefused is the outcome of one that the broker confirms not to have taken.
	errRefused = errors.New("RabbitMQ has refused it: the queue is full by its policy, or is getting another leader")
)
