package rabbitmq

import (
	"errors"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// window is how many messages may be without the broker's word at a time. With
// fewer it waits for us; more only wait there.
const window = 1000

// stream is a channel that publishes. The broker confirms each message by its
// number on the channel, in any order.
type stream struct {
	conn *connection
	ch   *amqp.Channel
	over chan struct{} // closed when nothing is to be written to it any more

	tooLarge func(most int64) // called when a message was larger than the broker takes

	mu      sync.Mutex
	changed sync.Cond      // on mu: there is room in the window, or the stream has ended
	sent    []*publication // guarded by mu: by number, from first on; nil: concluded
	first   uint64         // guarded by mu
	open    int            // guarded by mu: without an outcome
	ended   bool           // guarded by mu

	replaced bool // guarded by mu: over is closed, and it ends when all is concluded
}

func openStream(conn *connection, tooLarge func(most int64)) (*stream, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	s := &stream{conn: conn, ch: ch, over: make(chan struct{}), tooLarge: tooLarge, first: 1}
	s.changed.L = &s.mu
	// A message that is returned is confirmed after that. Without buffers the
	// one is known here before the other is.
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	returns, confirms := ch.NotifyReturn(make(chan amqp.Return)), ch.NotifyPublish(make(chan amqp.Confirmation))
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
		if !s.number(one) {
			one.conclude(errNotWritten)
			continue
		}
		err := s.ch.Publish(one.exchange, one.key, true, false, one.message)
		if err == nil {
			continue
		}
		if errors.Is(err, amqp.ErrClosed) {
			err = errNotWritten
		}
		s.fail(one, err)
	}
}

// number gives a publication its number, and waits for room in the window. It
// returns false when the stream has ended.
func (s *stream) number(one *publication) bool {
	if b := s.conn.blocked.Load(); b != nil {
		// It would read no more than what is on its way.
		s.conn.wire.flow()
		select {
		case <-b.over:
		case <-s.over:
		}
		s.conn.wire.hold()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.open >= window && !s.ended {
		s.mu.Unlock()
		s.conn.wire.flow() // or those that we wait for would not be sent
		s.mu.Lock()
		for s.open >= window && !s.ended {
			s.changed.Wait()
		}
		s.conn.wire.hold()
	}
	if s.ended {
		return false
	}
	s.sent = append(s.sent, one)
	s.open++
	return true
}

// fail takes back the latest number, which the client has not used, unless the
// end of the stream has come before.
func (s *stream) fail(one *publication, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.sent); n > 0 && s.sent[n-1] == one {
		s.sent = s.sent[:n-1]
		s.open--
		one.conclude(err)
	}
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
	s.open--
	for len(s.sent) > 0 && s.sent[0] == nil {
		s.sent = s.sent[1:]
		s.first++
	}
	if s.open == window-1 {
		s.changed.Broadcast()
	}
	switch {
	case one.err != nil: // it was returned
		one.conclude(one.err)
	case !c.Ack:
		one.conclude(errRefused)
		s.replace()
	default:
		one.conclude(nil)
	}
	if s.replaced && s.open == 0 {
		go s.ch.Close()
	}
}

// replace has the stream replaced: RabbitMQ goes on refusing what comes over a
// channel that has seen a queue without a leader. The caller holds mu.
func (s *stream) replace() {
	if !s.replaced {
		s.replaced = true
		close(s.over)
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
	err := error(errLostConfirm)
	var size, most int64
	if reason != nil {
		err = fmt.Errorf("%w: %w", errLostConfirm, reason)
		if n, _ := fmt.Sscanf(reason.Reason, tooLargeReason, &size, &most); n == 2 {
			s.tooLarge(most)
		}
	}
	for _, one := range s.sent {
		switch {
		case one == nil:
		case most > 0 && int64(len(one.message.Body)) == size:
			one.conclude(fmt.Errorf("%w: %s", backend.ErrTooLarge, reason.Reason))
		default:
			one.conclude(err)
		}
	}
	s.sent = nil
}

// tooLargeReason is what RabbitMQ closes a channel with.
const tooLargeReason = "PRECONDITION_FAILED - message size %d is larger than configured max size %d"

var (
	// errLostConfirm is the outcome of a message that the broker may have or not.
	errLostConfirm = errors.New("RabbitMQ was lost before it confirmed the message: whether it is stored is not known")

	// errRefused is the outcome of one that the broker confirms not to have taken.
	errRefused = errors.New("RabbitMQ has refused it: the queue is full by its policy, or is getting another leader")
)
