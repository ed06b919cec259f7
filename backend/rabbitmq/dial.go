package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// dial tries each of the hosts once, from the one on that worked last.
func (l *link) dial(ctx context.Context) (*connection, error) {
	b := l.backend
	var errs []error
	for range b.settings.hosts {
		n := int(b.host.Load()) % len(b.settings.hosts)
		c, err := l.dialHost(ctx, b.settings.hosts[n])
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
		b.host.CompareAndSwap(uint32(n), uint32((n+1)%len(b.settings.hosts)))
	}
	return nil, errors.Join(errs...)
}

// dialHost makes a connection, in no more than the timeout of the URL.
func (l *link) dialHost(ctx context.Context, host string) (*connection, error) {
	s := &l.backend.settings
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, fmt.Errorf("%w: RabbitMQ at %s: %w", backend.ErrUnavailable, host, err)
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() }) // the handshake knows of no context
	c, err := l.shakeHands(ctx, raw, host)
	if err == nil && !stop() {
		c.abandon()
		err = ctx.Err()
	}
	if err != nil {
		stop()
		raw.Close()
		if ctx.Err() != nil { // whatever the client makes of that
			err = ctx.Err()
		}
		return nil, explainDial(err, host, s)
	}
	return c, nil
}

func (l *link) shakeHands(ctx context.Context, raw net.Conn, host string) (*connection, error) {
	s := &l.backend.settings
	if s.tls != nil {
		config := s.tls.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(host)
		}
		encrypted := tls.Client(raw, config)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		raw = encrypted
	}
	c := &connection{host: host, lost: make(chan struct{})}
	c.wire = newWire(raw, heartbeats*s.heartbeat)
	c.wire.blocked = func() bool { return c.blocked.Load() != nil }
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(s.name + " " + l.purpose)
	var err error
	c.Connection, err = amqp.Open(c.wire, amqp.Config{
		SASL:       []amqp.Authentication{&amqp.PlainAuth{Username: s.user, Password: s.password}},
		Vhost:      s.vhost,
		Heartbeat:  s.heartbeat,
		Properties: properties,
		Locale:     "en_US",
		FrameSize:  frameSize,
	})
	if err != nil {
		return nil, err
	}
	if version, _ := c.Connection.Properties["version"].(string); isTooOld(version) {
		c.abandon()
		return nil, fmt.Errorf("%w: version %.20q; delays that lose nothing need 3.10 or later", backend.ErrUnsupported, version)
	}
	if size := c.Connection.Config.FrameSize; size > 0 && size < frameSize {
		c.abandon()
		return nil, fmt.Errorf("%w: a frame_max of %d; the headers of a buried job need %d", backend.ErrUnsupported, size, frameSize)
	}
	c.watch()
	return c, nil
}

const (
	// frameSize is what RabbitMQ itself proposes.
	frameSize = 128 << 10

	// heartbeats is how many of them may be missed, as in the client.
	heartbeats = 3
)

// isTooOld reports whether a version is one without dead-lettering at least
// once. One that cannot be read is not.
func isTooOld(version string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major < 3 || major == 3 && minor < 10
}

// explainDial says which of the settings is wrong. None of them is in the text:
// the broker repeats no password.
func explainDial(err error, host string, s *settings) error {
	switch {
	case errors.Is(err, backend.ErrUnsupported):
		return fmt.Errorf("RabbitMQ at %s: %w", host, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: RabbitMQ at %s did not answer within %v (parameter timeout)", backend.ErrUnavailable, host, s.timeout.Round(time.Millisecond))
	case errors.Is(err, amqp.ErrCredentials):
		return fmt.Errorf("%w: RabbitMQ at %s refuses user %.100q or the password", backend.ErrUnavailable, host, s.user)
	}
	if reason := refusal(err); reason != nil && reason.Code == amqp.NotAllowed {
		return fmt.Errorf("%w: RabbitMQ at %s has no virtual host %.100q, the path of the URL, that user %.100q may use: %s", backend.ErrUnavailable, host, s.vhost, s.user, reason.Reason)
	}
	return fmt.Errorf("%w: RabbitMQ at %s: %w", backend.ErrUnavailable, host, err)
}
