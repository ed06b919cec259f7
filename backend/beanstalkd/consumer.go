package beanstalkd

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// consumer is a connection that takes jobs. The server lets nobody else settle
// or touch them, and gives them to others as soon as the connection is lost.
//
// While it waits for a job nothing else can be said over it, and so only one
// that holds no job waits. At most one more of them is needed than there are
// jobs in hand, and usually two do.
type consumer struct {
	server *server
	conn   *wire.Conn
	wake   string // a tube of its own; a job in it ends its waiting

	busy      bool      // guarded by server.mu: a Reserve uses it
	restUntil time.Time // guarded by server.mu: do not wait on it before

	tubes []string // watched, known to the Reserve that uses it

	mu   sync.Mutex
	held map[uint64]*receipt // guarded by mu: what the server keeps for it
	gone bool                // guarded by mu: the connection is lost, and with it all that
}

// receipt is what a delivery is settled by.
type receipt struct {
	consumer *consumer
	id       uint64
	priority uint32
	ttr      time.Duration
	tube     string
	raw      []byte // of a malformed job: its own bytes

	// Guarded by consumer.mu.
	until    time.Time   // when the server takes it back unless it is touched, at the earliest
	latest   time.Time   // and at the latest
	leaseEnd time.Time   // until when it is touched
	settling *settlement // the call that settles it, or has
	outcome  error       // of settling, when that is done
	told     bool        // the outcome was told to a later call
}

// receiptOf returns the receipt of a delivery of this backend, or nil.
func (b *Backend) receiptOf(d *backend.Delivery) *receipt {
	if r, ok := d.Receipt.(*receipt); ok && r.consumer.server.backend == b {
		return r
	}
	return nil
}

const (
	// maxHeld is how many jobs one connection holds. The server looks through
	// all of them whenever one comes or goes.
	maxHeld = 200

	// maxTake is how many jobs one request asks for.
	maxTake = 100

	// maxIdle is how many connections without a job are kept.
	maxIdle = 3
)

// acquire returns a consumer that nobody else takes jobs with: for waiting one
// that holds none, otherwise rather one that does. n is how many jobs are to be
// taken.
func (s *server) acquire(ctx context.Context, waiting bool, n int) (*consumer, error) {
	if best := s.choose(waiting, n); best != nil {
		return best, nil
	}
	s.mu.Lock()
	err := s.mayDial()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	done := make(chan *consumer, 1)
	var failure error
	go func() {
		conn, err := s.dial()
		if err != nil {
			failure = err
			close(done)
			return
		}
		c := &consumer{server: s, conn: conn, busy: true, tubes: []string{"default"}, held: make(map[uint64]*receipt)}
		c.wake = wakeTubes + strings.ToLower(rand.Text())
		s.mu.Lock()
		s.consumers = append(s.consumers, c)
		closed := s.backend.life.Err() != nil
		s.mu.Unlock()
		go c.watchOver()
		if closed {
			conn.Close()
		}
		done <- c
	}()
	select {
	case c, ok := <-done:
		if !ok {
			return nil, failure
		}
		return c, nil
	case <-ctx.Done():
		go func() { // whoever comes next may have it
			if c, ok := <-done; ok {
				s.free(c)
			}
		}()
		return nil, ctx.Err()
	}
}

// choose returns one of the consumers that are there, if one will do.
func (s *server) choose(waiting bool, n int) *consumer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *consumer
	most, idle := -1, 0
	for _, c := range s.consumers {
		if c.busy || c.conn.Err() != nil {
			continue
		}
		held := c.holds()
		if held == 0 {
			if idle++; idle > maxIdle {
				c.conn.Close()
				continue
			}
		}
		if waiting && (held > 0 || time.Now().Before(c.restUntil)) || held+n > maxHeld {
			continue
		}
		if held > most {
			best, most = c, held
		}
	}
	if best != nil {
		best.busy = true
	}
	return best
}

// free lets others have the consumer.
func (s *server) free(c *consumer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.busy = false
}

// holds returns how many jobs the server keeps for it.
func (c *consumer) holds() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// watchOver ends with the connection, and tells of the jobs that were lost with
// it.
func (c *consumer) watchOver() {
	<-c.conn.Done()
	s := c.server
	s.mu.Lock()
	s.consumers = slices.DeleteFunc(s.consumers, func(other *consumer) bool { return other == c })
	s.mu.Unlock()
	c.mu.Lock()
	lost := len(c.held)
	clear(c.held)
	c.gone = true
	c.mu.Unlock()
	if lost > 0 {
		s.backend.losses.Tell()
	}
}

// hold notes that the server keeps a job for c, if it still does.
func (c *consumer) hold(r *receipt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		c.held[r.id] = r
	}
}

// watch returns the commands after which exactly those tubes are watched, and
// the one that ends the waiting, and how many they are.
func (c *consumer) watch(tubes []string) (request []byte, commands int) {
	add := func(command, tube string) {
		request = appendTube(request, command, tube)
		commands++
	}
	wanted := append([]string{c.wake}, tubes...)
	if slices.Equal(wanted, c.tubes) {
		return nil, 0
	}
	for _, tube := range wanted {
		if !slices.Contains(c.tubes, tube) {
			add("watch", tube)
		}
	}
	for _, tube := range c.tubes {
		if !slices.Contains(wanted, tube) {
			add("ignore", tube)
		}
	}
	c.tubes = wanted
	return request, commands
}
