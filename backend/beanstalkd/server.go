package beanstalkd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// server is one of the servers that jobs are spread over.
type server struct {
	backend *Backend
	address string

	mu        sync.Mutex
	shared    *wire.Conn      // guarded by mu: for what needs no connection of its own
	consumers []*consumer     // guarded by mu
	dialing   *dialing        // guarded by mu: of shared; nil when nobody dials
	failures  int             // guarded by mu: dials that failed in a row
	notBefore time.Time       // guarded by mu: of the next dial, and why
	down      error           // guarded by mu
	asking    bool            // guarded by mu: whether it is up
	watched   map[string]bool // guarded by mu: the queues that shared watches, see heedPauses
	paces     map[string]pace // guarded by mu: by queue
	firsts    firsts          // guarded by mu
}

// dialing is an attempt to connect that several calls wait for.
type dialing struct {
	done chan struct{}
	conn *wire.Conn
	err  error
}

// conn returns the connection that pushes and questions share, after dialing if
// need be. Its errors are ErrUnavailable, ErrClosed and that of ctx.
func (s *server) conn(ctx context.Context) (*wire.Conn, error) {
	s.mu.Lock()
	if s.shared != nil && s.shared.Err() == nil {
		defer s.mu.Unlock()
		return s.shared, nil
	}
	d := s.dialing
	if d == nil {
		if err := s.mayDial(); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		d = &dialing{done: make(chan struct{})}
		s.dialing = d
		go func() {
			d.conn, d.err = s.dial()
			s.mu.Lock()
			s.dialing = nil
			if d.err == nil {
				s.shared, s.watched = d.conn, nil
				if s.backend.life.Err() != nil {
					s.shared.Close()
				}
			}
			s.mu.Unlock()
			close(d.done)
		}()
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dial connects, and has the server answer: one that hangs is down too. A server
// that is down is left alone for a while that grows.
func (s *server) dial() (*wire.Conn, error) {
	b := s.backend
	conn, err := wire.Dial(b.life, s.address, b.settings.timeout)
	if err == nil {
		if _, err = conn.Do(b.life, []byte(ping), 1); err != nil {
			conn.Close()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case b.life.Err() != nil:
		if err == nil {
			conn.Close()
		}
		return nil, backend.ErrClosed
	case err == nil:
		s.failures, s.down = 0, nil
		return conn, nil
	}
	pause := min(10*time.Millisecond<<min(s.failures, 20), 2*time.Second)
	s.failures++
	s.notBefore = time.Now().Add(pause/2 + rand.N(pause/2))
	s.down = fmt.Errorf("%w: beanstalkd at %s: %w", backend.ErrUnavailable, s.address, err)
	return nil, s.down
}

// mayDial returns why the server is not to be dialed yet. The caller holds mu.
func (s *server) mayDial() error {
	if s.backend.life.Err() != nil {
		return backend.ErrClosed
	}
	if s.down != nil && time.Now().Before(s.notBefore) {
		return s.down
	}
	return nil
}

// do sends commands over the shared connection and waits for their replies.
func (s *server) do(ctx context.Context, request []byte, commands int) ([]wire.Reply, error) {
	conn, err := s.conn(ctx)
	if err != nil {
		return nil, err
	}
	replies, err := conn.Do(ctx, request, commands)
	return replies, s.explain(ctx, err)
}

// look is do for commands that change nothing: whatever became of them, they
// can be sent again.
func (s *server) look(ctx context.Context, request []byte, commands int) ([]wire.Reply, error) {
	replies, err := s.do(ctx, request, commands)
	if err != nil && s.backend.usable(ctx) == nil && !errors.Is(err, backend.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	return replies, err
}

// explain turns an error of a connection into one of package backend.
func (s *server) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return err
	case s.backend.life.Err() != nil:
		return backend.ErrClosed
	case errors.Is(err, backend.ErrUnavailable):
		return err
	case errors.Is(err, wire.ErrNotSent):
		return fmt.Errorf("%w: beanstalkd at %s: %w", backend.ErrUnavailable, s.address, err)
	}
	return fmt.Errorf("beanstalkd at %s: %w", s.address, err)
}

// isUp reports whether the server was reached when it was last tried.
func (s *server) isUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down == nil
}

// inTurn returns the servers in the order in which to use them, which changes
// each time. While some are up, those that are not are tried beside.
func (b *Backend) inTurn() []*server {
	if len(b.servers) == 1 {
		return b.servers
	}
	first := int(b.turn.Add(1) % uint32(len(b.servers)))
	all := slices.Concat(b.servers[first:], b.servers[:first])
	up := slices.DeleteFunc(slices.Clone(all), func(s *server) bool { return !s.isUp() })
	if len(up) == 0 || len(up) == len(all) {
		return all
	}
	ended, end := context.WithCancel(b.life)
	end()
	for _, s := range all {
		if s.isUp() {
			continue
		}
		if conn, _ := s.conn(ended); conn != nil { // else it begins to dial, if it is time to
			s.ask(conn)
		}
	}
	return up
}

// ask finds out, by itself, whether a server is up after all over whose shared
// connection nothing was heard that says otherwise.
func (s *server) ask(conn *wire.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking || s.down == nil || time.Now().Before(s.notBefore) {
		return
	}
	s.asking = true
	go func() {
		_, err := conn.Do(s.backend.life, []byte(ping), 1)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.asking = false; err == nil {
			s.failures, s.down = 0, nil
		}
	}()
}

// close ends the connections.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared != nil {
		s.shared.Close()
	}
	for _, c := range s.consumers {
		c.conn.Close()
	}
}
