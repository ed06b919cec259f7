package rabbitmq

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/hosts"
	"github.com/goferhq/queue/backend/internal/tlsparams"
)

func init() {
	backend.Register("amqp", open)
	backend.Register("amqps", open)
}

const (
	defaultTimeout   = 5 * time.Second
	defaultHeartbeat = 10 * time.Second

	none = math.MinInt // no maximum of priorities
)

// settings are what a URL says.
type settings struct {
	hosts          []string // with ports
	user, password string
	vhost          string
	tls            *tls.Config // nil without TLS
	timeout        time.Duration
	heartbeat      time.Duration
	name           string // of the connections
	classic        bool   // the type of the queues of jobs
	maxPriority    int    // 0 without priorities
}

func open(ctx context.Context, u *url.URL) (backend.Backend, error) {
	s, err := parse(u)
	if err != nil {
		return nil, err
	}
	b, err := connect(ctx, s)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// parse reads what the package comment says of a URL.
func parse(u *url.URL) (s settings, err error) {
	p := backend.NewParams(u)
	s = settings{
		user:        "guest",
		password:    "guest",
		vhost:       "/",
		timeout:     p.Duration("timeout", defaultTimeout),
		heartbeat:   p.Duration("heartbeat", defaultHeartbeat),
		name:        p.String("connection_name", filepath.Base(os.Args[0])),
		maxPriority: p.Int("max-priority", none),
	}
	kind := p.String("type", "quorum")
	s.classic = kind == "classic"
	port := "5672"
	if u.Scheme == "amqps" {
		port = "5671"
	}
	s.tls, err = tlsparams.Read(p, u.Scheme == "amqps", "amqps://")
	if err == nil {
		err = p.Err()
	}
	if err == nil {
		err = s.check(kind)
	}
	s.maxPriority = max(s.maxPriority, 0)
	switch {
	case err != nil:
		return s, err
	case u.Opaque != "":
		return s, fmt.Errorf("%w: write two slashes behind the scheme, as amqp://host:5672/vhost", backend.ErrInvalid)
	case u.Fragment != "":
		return s, fmt.Errorf("%w: an AMQP URL has no fragment", backend.ErrInvalid)
	case strings.Count(u.EscapedPath(), "/") > 1:
		return s, fmt.Errorf("%w: the path of an AMQP URL is one virtual host; write a slash in its name as %%2F", backend.ErrInvalid)
	}
	if u.User != nil {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
	}
	s.vhost = cmp.Or(strings.TrimPrefix(u.Path, "/"), s.vhost)
	if len(s.vhost) > maxShort {
		return s, fmt.Errorf("%w: the virtual host, the path of the URL, has %d bytes; AMQP has at most %d", backend.ErrInvalid, len(s.vhost), maxShort)
	}
	s.hosts, err = hosts.WithPorts(strings.Split(u.Host, ","), port)
	return s, err
}

func (s settings) check(kind string) error {
	switch {
	case kind != "quorum" && kind != "classic":
		return fmt.Errorf("%w: parameter type is neither quorum nor classic", backend.ErrInvalid)
	case s.maxPriority != none && (s.maxPriority < 1 || s.maxPriority > 255):
		return fmt.Errorf("%w: parameter max-priority is not from 1 to 255", backend.ErrInvalid)
	case s.maxPriority > 0 && !s.classic:
		return fmt.Errorf("%w: quorum queues have no strict priorities; write type=classic&max-priority=%d", backend.ErrInvalid, s.maxPriority)
	case s.timeout <= 0:
		return fmt.Errorf("%w: the timeout is not positive", backend.ErrInvalid)
	case s.heartbeat < time.Second || s.heartbeat%time.Second != 0 || s.heartbeat/time.Second > math.MaxUint16:
		return fmt.Errorf("%w: a heartbeat of %v; AMQP has whole seconds, at least 1s and at most %ds", backend.ErrInvalid, s.heartbeat, math.MaxUint16)
	}
	return nil
}

// connect makes both connections. It fails when none of the hosts can be used.
func connect(ctx context.Context, s settings) (*Backend, error) {
	b := newBackend(s)
	for _, l := range []*link{b.consuming, b.publishing} {
		c, err := l.dial(ctx)
		if err != nil {
			b.Close()
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return nil, err
		}
		l.set(c, nil)
		b.running.Go(func() { l.supervise(c) })
	}
	b.running.Go(b.publisher.run)
	return b, nil
}
