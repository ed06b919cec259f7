package beanstalkd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue/backend"
)

// control asks one server what is rarely asked, by the client library, over a
// connection of its own that is dialed when it is first needed.
//
// The library waits for a reply as long as it takes. Here a call ends with its
// context or when the time for a reply is over, and its connection with it,
// since the reply may still come.
type control struct {
	server *server
	turn   chan struct{} // holds an element while a call is in progress

	client *beanstalk.Conn // guarded by turn; nil when there is no connection
	net    net.Conn        // guarded by turn: that of client
}

func newControl(s *server) control {
	return control{server: s, turn: make(chan struct{}, 1)}
}

// stats returns what the server tells of itself.
func (c *control) stats(ctx context.Context) (stats map[string]string, err error) {
	err = c.call(ctx, func(client *beanstalk.Conn) (err error) {
		stats, err = client.Stats()
		return err
	})
	return stats, err
}

// tubes returns the names of the tubes that exist at the moment.
func (c *control) tubes(ctx context.Context) (names []string, err error) {
	err = c.call(ctx, func(client *beanstalk.Conn) (err error) {
		names, err = client.ListTubes()
		return err
	})
	return names, err
}

// tubeStats returns what the server tells of a tube, and whether that exists.
func (c *control) tubeStats(ctx context.Context, tube string) (stats map[string]string, ok bool, err error) {
	err = c.call(ctx, func(client *beanstalk.Conn) (err error) {
		stats, err = beanstalk.NewTube(client, tube).Stats()
		return err
	})
	if errors.Is(err, beanstalk.ErrNotFound) {
		return nil, false, nil
	}
	return stats, err == nil, err
}

// pauseTube pauses a tube for d, or ends its pause when d is zero. It reports
// whether the tube exists.
func (c *control) pauseTube(ctx context.Context, tube string, d time.Duration) (ok bool, err error) {
	err = c.call(ctx, func(client *beanstalk.Conn) error {
		return beanstalk.NewTube(client, tube).Pause(d)
	})
	if errors.Is(err, beanstalk.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// call runs f, which may run twice: a connection that has lain idle may have
// been lost without a word, and only its use tells.
func (c *control) call(ctx context.Context, f func(*beanstalk.Conn) error) error {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.server.backend.life, cancel)()
	select {
	case c.turn <- struct{}{}:
	case <-within.Done():
		return c.server.backend.usable(ctx)
	}
	defer func() { <-c.turn }()
	over := c.server.backend.usable(ctx)
	if over != nil {
		return over
	}
	idle := c.client != nil
	err := c.try(within, f)
	if idle && c.client == nil && within.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.try(within, f)
	}
	if err == nil {
		return nil
	}
	if isReply(err) {
		return fmt.Errorf("beanstalkd at %s: %w", c.server.address, err)
	}
	if over = c.server.backend.usable(ctx); over != nil {
		return over
	}
	return fmt.Errorf("%w: beanstalkd at %s: %w", backend.ErrUnavailable, c.server.address, err)
}

// try runs f over the connection, and drops that when it may be out of step.
func (c *control) try(ctx context.Context, f func(*beanstalk.Conn) error) error {
	timeout := c.server.backend.settings.timeout
	if c.client == nil {
		dialer := net.Dialer{Timeout: timeout}
		conn, err := dialer.DialContext(ctx, "tcp", c.server.address)
		if err != nil {
			return err
		}
		c.net, c.client = conn, beanstalk.NewConn(conn)
	}
	conn := c.net
	conn.SetDeadline(time.Now().Add(timeout))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := f(c.client)
	if !stop() || err != nil && !isReply(err) {
		c.drop()
	}
	return err
}

// drop closes the connection. The caller has the turn.
func (c *control) drop() {
	if c.client != nil {
		c.client.Close()
		c.client, c.net = nil, nil
	}
}

// close ends the connection, once the life of the backend has ended.
func (c *control) close() {
	c.turn <- struct{}{}
	c.drop()
	<-c.turn
}

// isReply reports whether an error of the client library is what the server
// said, and not that it said nothing, or nothing that it can say.
func isReply(err error) bool {
	for _, reply := range []error{
		beanstalk.ErrNotFound, beanstalk.ErrOOM, beanstalk.ErrInternal, beanstalk.ErrBadFormat, beanstalk.ErrUnknown, beanstalk.ErrDraining,
	} {
		if errors.Is(err, reply) {
			return true
		}
	}
	return false
}
