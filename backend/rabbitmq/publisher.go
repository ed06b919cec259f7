package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// publisher stores messages: it writes those of all callers in one stream, many
// at a time, and tells each caller what the broker said of its own.
type publisher struct {
	link *link

	mu      sync.Mutex
	waiting []*publication // guarded by mu: not written yet
	work    chan struct{}  // of capacity 1: some are waiting

	sizes sizes
}

// publication is a message on its way.
type publication struct {
	exchange, key string
	message       amqp.Publishing

	batch *batch
	err   error // how it went; read it when the batch is done
}

// batch is what one call publishes.
type batch struct {
	open      atomic.Int32  // publications without an outcome
	done      chan struct{} // closed when there are none
	abandoned atomic.Bool   // its caller has left
}

// Outcomes of a publication.
var (
	// errUnroutable is that of a message for which there was no queue.
	errUnroutable = errors.New("RabbitMQ has no queue for it")

	// errNotWritten is that of a message which was not sent: the connection was
	// lost before.
	errNotWritten = errors.New("the connection was lost before it was sent")
)

// pauses are what publish waits before it tries again what RabbitMQ has refused. A
// queue that was just made, or that has lost a node, has no leader for a moment.
// One that is full stays so.
var pauses = []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}

// publish stores publications and sets the err of each. It returns an error, and
// sets none, when ctx ended before, or the backend was closed: then it is open
// which of them are stored.
func (p *publisher) publish(ctx context.Context, all []*publication) error {
	tries := 0
	for todo := all; ; {
		if err := p.once(ctx, todo); err != nil {
			return err
		}
		var again []*publication
		refused := false
		for _, one := range todo {
			if one.err == errNotWritten || one.err == errRefused && tries < len(pauses) {
				again = append(again, one)
				refused = refused || one.err == errRefused
			}
		}
		if todo = again; len(todo) == 0 {
			return nil
		}
		if refused {
			p.link.backend.pause(ctx, pauses[tries])
			tries++
		}
	}
}

func (p *publisher) once(ctx context.Context, all []*publication) error {
	conn, err := p.link.get(ctx)
	if err != nil {
		if !errors.Is(err, backend.ErrUnavailable) {
			return err
		}
		for _, one := range all {
			one.err = err
		}
		return nil
	}
	b := &batch{done: make(chan struct{})}
	b.open.Store(int32(len(all)))
	for _, one := range all {
		one.batch, one.err = b, nil
	}
	p.mu.Lock()
	p.waiting = append(p.waiting, all...)
	p.mu.Unlock()
	select {
	case p.work <- struct{}{}:
	default:
	}
	lost := conn.lost
	for {
		select {
		case <-b.done:
			return nil
		case <-lost: // what has not been written is for another connection, if there is one
			for _, one := range p.withdraw(b) {
				one.conclude(errNotWritten)
			}
			lost = nil
		case <-ctx.Done():
			b.abandoned.Store(true)
			p.withdraw(b)
			if b := conn.blocked.Load(); b != nil {
				return fmt.Errorf("%w: RabbitMQ takes no messages at present: %s", ctx.Err(), b.reason)
			}
			return ctx.Err()
		case <-p.link.backend.life.Done():
			return backend.ErrClosed
		}
	}
}

// withdraw takes back, and returns, what has not been written of a batch.
func (p *publisher) withdraw(b *batch) (withdrawn []*publication) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.waiting[:0]
	for _, one := range p.waiting {
		if one.batch == b {
			withdrawn = append(withdrawn, one)
		} else {
			kept = append(kept, one)
		}
	}
	clear(p.waiting[len(kept):])
	p.waiting = kept
	return withdrawn
}

// conclude notes how it went.
func (one *publication) conclude(err error) {
	one.err = err
	if one.batch.open.Add(-1) == 0 {
		close(one.batch.done)
	}
}

// run publishes until the backend is closed.
func (p *publisher) run() {
	life := p.link.backend.life
	for life.Err() == nil {
		conn, err := p.link.get(life)
		if err != nil { // for a while
			p.returnAll()
			continue
		}
		s, err := openStream(conn, &p.sizes)
		if err != nil {
			conn.abandon() // or the next try would be the same at once
			<-conn.lost
			continue
		}
		p.feed(s)
	}
}

// feed writes what is waiting to s, until that is lost or should be replaced.
func (p *publisher) feed(s *stream) {
	var batch []*publication
	for {
		select {
		case <-p.work:
		case <-s.over:
			p.returnAll()
			return
		case <-p.link.backend.life.Done():
			s.ch.Close()
			return
		}
		p.mu.Lock()
		batch, p.waiting = p.waiting, batch[:0]
		p.mu.Unlock()
		s.write(batch)
		clear(batch)
	}
}

// returnAll gives what has not been written back to its callers, who find out
// whether there is a connection again.
func (p *publisher) returnAll() {
	p.mu.Lock()
	waiting := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	for _, one := range waiting {
		one.conclude(errNotWritten)
	}
}
