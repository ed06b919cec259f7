package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// link is a connection that is made again whenever it is lost.
type link struct {
	backend *Backend
	purpose string // the end of the connection's name

	mu      sync.Mutex    // guards all below
	current *connection   // nil while there is none
	changed chan struct{} // closed, and made anew, with each change of current and err
	err     error         // why there is none
}

// connection is one of a link. What hangs on it is lost with it: a delivery is
// settled on the connection that it came over, or not at all.
type connection struct {
	*amqp.Connection
	wire *wire
	host string

	lost chan struct{} // closed when the connection is
	err  error         // why; read it when lost is closed

	blocked atomic.Pointer[blocking] // nil while the broker takes messages
}

// blocking is a time in which the broker takes no messages: it is short of memory
// or of disk.
type blocking struct {
	reason string
	over   chan struct{} // closed when it is
}

// The pauses between two tries to make a connection: they double, with jitter,
// so that not all clients of a broker come back in the same moment.
const (
	firstPause = 50 * time.Millisecond
	mostPause  = 2 * time.Second
)

// supervise keeps the link up until the backend is closed, from first on.
func (l *link) supervise(first *connection) {
	for current := first; current != nil; current = l.dialAgain() {
		select {
		case <-current.lost:
			l.set(nil, current.err)
		case <-l.backend.life.Done():
			return
		}
	}
}

// dialAgain returns nil when the backend is closed.
func (l *link) dialAgain() *connection {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		l.backend.pause(l.backend.life, pause/2+rand.N(pause/2))
		if l.backend.life.Err() != nil {
			return nil
		}
		c, err := l.dial(l.backend.life)
		if err == nil {
			if !l.set(c, nil) {
				return nil
			}
			return c
		}
		l.set(nil, err)
	}
}

// set reports whether the backend is still open; a connection that comes too
// late is closed.
func (l *link) set(c *connection, err error) bool {
	l.mu.Lock()
	l.current, l.err = c, err
	if l.changed != nil {
		close(l.changed)
	}
	l.changed = make(chan struct{})
	l.mu.Unlock()
	if c != nil && l.backend.life.Err() != nil {
		c.abandon()
		return false
	}
	return true
}

// get returns the connection, and waits for it if there is none: until ctx ends
// or the timeout of the URL has passed, which is [backend.ErrUnavailable].
func (l *link) get(ctx context.Context) (*connection, error) {
	var timeout <-chan time.Time
	for {
		current, changed, err := l.look()
		if current != nil {
			return current, nil
		}
		if timeout == nil {
			timer := time.NewTimer(l.backend.settings.timeout)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-timeout:
			return nil, fmt.Errorf("%w: no connection to RabbitMQ: %w", backend.ErrUnavailable, err)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.backend.life.Done():
			return nil, backend.ErrClosed
		}
	}
}

// look returns the connection, nil if there is none that is good; then also why,
// and what is closed when that changes.
func (l *link) look() (current *connection, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil && l.current.IsClosed() { // supervise is about to notice
		return nil, l.changed, errJustLost
	}
	return l.current, l.changed, l.err
}

var errJustLost = errors.New("the connection was lost just now")

// peek returns the connection, nil if there is none.
func (l *link) peek() *connection {
	current, _, _ := l.look()
	return current
}

// watch notes what the broker says of c, until it is lost.
func (c *connection) watch() {
	closed := c.NotifyClose(make(chan *amqp.Error, 1))
	blocked := c.NotifyBlocked(make(chan amqp.Blocking, 1))
	go func() {
		for b := range blocked { // it is closed with the connection
			var now *blocking
			if b.Active {
				now = &blocking{b.Reason, make(chan struct{})}
			}
			if before := c.blocked.Swap(now); before != nil {
				close(before.over)
			}
		}
	}()
	go func() {
		c.err = fmt.Errorf("the connection to RabbitMQ at %s was closed", c.host)
		if reason := <-closed; reason != nil {
			c.err = fmt.Errorf("the connection to RabbitMQ at %s was lost: %w", c.host, reason)
		}
		close(c.lost)
	}()
}

// abandon ends the connection without waiting for anybody.
func (c *connection) abandon() { c.CloseDeadline(time.Now()) }

// close ends the connection, and gives the broker until the deadline to answer.
func (l *link) close(deadline time.Time) {
	if c := l.peek(); c != nil {
		c.CloseDeadline(deadline)
	}
}

// refusal is what the broker has said against a method, nil if err is another.
func refusal(err error) *amqp.Error {
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Server {
		return e
	}
	return nil
}
