package beanstalkd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
	"github.com/goferhq/queue/backend/internal/hosts"
)

func init() { backend.Register("beanstalkd", open) }

const (
	defaultPort    = "11300"
	defaultLease   = 30 * time.Second
	defaultTimeout = 3 * time.Second
)

// Option is an option of [New].
type Option func(*settings)

// Lease is the TTR of the jobs that are pushed: how long a worker may hold one
// before the server hands it to another. It is in whole seconds, at least one;
// 30 seconds if it is not given.
func Lease(d time.Duration) Option { return func(s *settings) { s.lease = d } }

// Timeout is how long a connection may take to come about, and a server to
// reply: 3 seconds if it is not given.
func Timeout(d time.Duration) Option { return func(s *settings) { s.timeout = d } }

// New connects to the servers at addresses, each a host with or without a port.
// It is what [backend.Open] does with a URL, and fails as that does unless one
// of the servers can be used.
func New(ctx context.Context, addresses []string, options ...Option) (*Backend, error) {
	s := settings{timeout: defaultTimeout, lease: defaultLease}
	for _, option := range options {
		option(&s)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	addresses, err := hosts.WithPorts(addresses, defaultPort)
	if err != nil {
		return nil, err
	}
	return connect(ctx, addresses, s)
}

func open(ctx context.Context, u *url.URL) (backend.Backend, error) {
	addresses, s, err := parse(u)
	if err != nil {
		return nil, err
	}
	b, err := connect(ctx, addresses, s)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// parse reads what the package comment says of a URL.
func parse(u *url.URL) (addresses []string, s settings, err error) {
	p := backend.NewParams(u)
	s = settings{
		timeout: p.Duration("timeout", defaultTimeout),
		lease:   p.Duration("lease", defaultLease),
	}
	if err := p.Err(); err != nil {
		return nil, s, err
	}
	if err := s.check(); err != nil {
		return nil, s, err
	}
	switch {
	case u.User != nil:
		return nil, s, fmt.Errorf("%w: beanstalkd has neither users nor passwords; leave them out of the URL", backend.ErrInvalid)
	case u.Opaque != "" || u.Path != "" && u.Path != "/":
		return nil, s, fmt.Errorf("%w: a beanstalkd URL has no path: it ends behind its hosts, as beanstalkd://host:11300", backend.ErrInvalid)
	case u.Fragment != "":
		return nil, s, fmt.Errorf("%w: a beanstalkd URL has no fragment", backend.ErrInvalid)
	}
	addresses, err = hosts.WithPorts(strings.Split(u.Host, ","), defaultPort)
	return addresses, s, err
}

func (s settings) check() error {
	switch {
	case s.timeout <= 0:
		return fmt.Errorf("%w: the timeout is not positive", backend.ErrInvalid)
	case s.lease < time.Second || s.lease%time.Second != 0:
		return fmt.Errorf("%w: a lease of %v; beanstalkd has whole seconds, at least 1s", backend.ErrInvalid, s.lease)
	case s.lease/time.Second > maxSeconds:
		return fmt.Errorf("%w: a lease of %v; beanstalkd has at most %ds", backend.ErrInvalid, s.lease, int64(maxSeconds))
	}
	return nil
}

// connect asks every server how it is. One that can be used is enough: the
// others are dialed again whenever they are needed.
func connect(ctx context.Context, addresses []string, settings settings) (*Backend, error) {
	b := &Backend{settings: settings}
	b.life, b.die = context.WithCancel(context.Background())
	for _, address := range addresses {
		b.servers = append(b.servers, &server{backend: b, address: address})
	}
	sizes := make([]int, len(b.servers))
	errs := b.onEach(func(i int, s *server) (err error) {
		sizes[i], err = s.greet(ctx)
		return err
	})
	usable := false
	for i, size := range sizes {
		usable = usable || errs[i] == nil
		if size > 0 && (b.maxBody == 0 || size-unreplayable < b.maxBody) {
			b.maxBody = size - unreplayable
		}
	}
	if usable {
		return b, nil
	}
	b.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, errors.Join(errs...)
}

// unreplayable is by how much a body must be smaller than what the server
// takes. It stores larger ones too, but cannot read its binlog beyond them.
const unreplayable = 2

// greet returns the size of the largest job that the server takes, and an error
// if it cannot be used; both of one that drains.
func (s *server) greet(ctx context.Context) (maxJob int, err error) {
	stats, err := s.stats(ctx)
	if err != nil {
		return 0, err
	}
	maxJob, err = strconv.Atoi(stats["max-job-size"])
	if err != nil || maxJob <= unreplayable {
		return 0, fmt.Errorf("%w: beanstalkd at %s tells no max-job-size that could be used", backend.ErrUnavailable, s.address)
	}
	if drains(stats) {
		return maxJob, s.refused(wire.Reply{Word: wire.Draining})
	}
	return maxJob, nil
}

func drains(stats map[string]string) bool { return stats["draining"] == "true" }
