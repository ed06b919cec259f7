package rabbitmq

import (
	"context"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

const (
	deliveryLimit = "x-delivery-limit"

	// unlimited is the delivery limit of quorum queues: RabbitMQ 4 has one of 20
	// by itself, and drops what exceeds it. What kills its workers is buried by
	// them, with a reason.
	unlimited = int64(1) << 30
)

// topology declares what the driver needs in the broker, each thing once for
// every connection: a broker that was killed may have forgotten what was
// declared a moment before.
type topology struct {
	backend *Backend

	mu       sync.Mutex              // guards all below
	conn     *connection             // what is known is known of this one
	declared map[string]*declaration // by name: of a queue, or of what is below
}

// Names of declarations that no queue can have.
const (
	commonParts = "the common parts" // what every queue needs
	theLadder   = "the ladder"       // what delays need
)

// declaration is a thing that is there, or about to be.
type declaration struct {
	declare func(*connection) error
	done    chan struct{} // closed when err is set
	err     error
}

// ensure declares queue unless that was done on the present connection. Its dead
// set follows by itself: who only consumes does not wait for it, since a broker
// that is short of memory does not take the name of a new queue.
func (t *topology) ensure(ctx context.Context, queue string) error {
	return t.once(ctx, queue, t.queue(queue))
}

// ensureDead does so for the dead set of queue.
func (t *topology) ensureDead(ctx context.Context, queue string) error {
	return t.once(ctx, deadQueue(queue), t.dead(queue))
}

// prepare begins to declare queue, and does not wait for that.
func (t *topology) prepare(queue string) {
	if conn := t.backend.consuming.peek(); conn != nil {
		t.begin(conn, queue, t.queue(queue))
	}
}

func (t *topology) queue(queue string) func(*connection) error {
	return func(conn *connection) error {
		err := t.declareQueue(conn, queue)
		if reason := refusal(err); reason != nil && reason.Code == amqp.NotFound { // what it is bound to
			t.forget(commonParts)
			err = t.declareQueue(conn, queue)
		}
		if err == nil {
			t.begin(conn, deadQueue(queue), t.dead(queue))
		}
		return err
	}
}

func (t *topology) dead(queue string) func(*connection) error {
	return func(conn *connection) error { return t.declareDead(conn, queue) }
}

// ensureLadder does so for what delays need.
func (t *topology) ensureLadder(ctx context.Context) error {
	return t.once(ctx, theLadder, func(conn *connection) error {
		if err := t.ensureCommon(); err != nil {
			return err
		}
		return t.onChannel(conn, "the queues of delays", declareLadder)
	})
}

func (t *topology) ensureCommon() error {
	return t.once(t.backend.life, commonParts, func(conn *connection) error {
		return t.onChannel(conn, "the driver's own queues", declareCommon)
	})
}

// forget has things declared again: they may have been deleted.
func (t *topology) forget(names ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		if d := t.declared[name]; d != nil && d.isDone() {
			delete(t.declared, name)
		}
	}
}

func (d *declaration) isDone() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// once has declare called unless it has been, on the present connection, for
// this name. Others who want the same wait for it.
func (t *topology) once(ctx context.Context, name string, declare func(*connection) error) error {
	return t.backend.onConnection(ctx, func(conn *connection) error {
		d := t.begin(conn, name, declare)
		if d.isDone() { // most often it is
			return d.err
		}
		select {
		case <-d.done:
			return d.err
		case <-ctx.Done():
			return ctx.Err()
		case <-t.backend.life.Done():
			return backend.ErrClosed
		}
	})
}

// onConnection calls f with the connection that consumes, and again with the next
// one when that is lost by it. RabbitMQ is known to end a connection that meets a
// queue which another is just making.
func (b *Backend) onConnection(ctx context.Context, f func(*connection) error) error {
	for tries := 1; ; tries++ {
		conn, err := b.consuming.get(ctx)
		if err != nil {
			return err
		}
		if err = f(conn); err == nil || !conn.IsClosed() || tries == maxTries || ctx.Err() != nil {
			return err
		}
	}
}

// maxTries is on how many connections a thing is tried that are all lost by it.
const maxTries = 5

// begin returns the declaration of a name, and begins it if that is still to be
// done.
func (t *topology) begin(conn *connection, name string, declare func(*connection) error) *declaration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != conn {
		before := t.declared
		t.conn, t.declared = conn, make(map[string]*declaration)
		go t.renew(conn, before)
	}
	d := t.declared[name]
	if d == nil {
		d = &declaration{declare: declare, done: make(chan struct{})}
		t.declared[name] = d
		go func() {
			d.err = declare(conn)
			t.mu.Lock()
			if d.err != nil && t.declared[name] == d {
				delete(t.declared, name) // the next one tries again
			}
			t.mu.Unlock()
			close(d.done)
		}()
	}
	return d
}

// renew declares on a new connection what was declared on the one before, so that
// nobody has to wait for it who needs it next.
func (t *topology) renew(conn *connection, before map[string]*declaration) {
	for name, d := range before {
		if d.isDone() && d.err == nil && !conn.IsClosed() {
			<-t.begin(conn, name, d.declare).done
		}
	}
}

// onChannel calls declare on a channel of its own, and sees to it that the
// broker has done all of it.
func (t *topology) onChannel(conn *connection, what string, declare func(*amqp.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	defer ch.Close()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err = declare(ch); err == nil {
		err = ch.Qos(1, 0, false) // the answer to which comes behind the others
	}
	if err == nil {
		return nil
	}
	if reason := refusal(err); reason == nil {
		select {
		case reason := <-closed: // of a call that was not waited for
			if reason != nil {
				err = reason
			}
		default:
		}
	}
	return explainDeclare(err, what)
}

// explainDeclare says what a person can do about the error of a declaration.
func explainDeclare(err error, what string) error {
	reason := refusal(err)
	if reason == nil {
		return fmt.Errorf("%w: declaring %s: %w", backend.ErrUnavailable, what, err)
	}
	switch reason.Code {
	case amqp.PreconditionFailed: // it names the argument
		return fmt.Errorf("%w: %s exists in RabbitMQ and is another than this driver declares: %s; delete it there, or use another name or virtual host",
			backend.ErrInvalid, what, reason.Reason)
	case amqp.ResourceLocked:
		return fmt.Errorf("%w: %s belongs to another connection alone: %s", backend.ErrInvalid, what, reason.Reason)
	case amqp.AccessRefused:
		return fmt.Errorf("%w: declaring %s: %s; the user needs the permissions configure, write and read", backend.ErrUnavailable, what, reason.Reason)
	}
	return fmt.Errorf("%w: declaring %s: %w", backend.ErrUnavailable, what, reason)
}

// declareCommon declares what every queue needs. Only the last call is waited
// for.
func declareCommon(ch *amqp.Channel) error {
	const noWait = true
	if err := ch.ExchangeDeclare(undeliverable, amqp.ExchangeFanout, true, false, false, noWait, nil); err != nil {
		return err
	}
	for _, name := range []string{undeliverable, namesQueue} {
		if _, err := ch.QueueDeclare(name, true, false, false, noWait, quorum()); err != nil {
			return err
		}
	}
	if err := ch.QueueBind(undeliverable, "", undeliverable, noWait, nil); err != nil {
		return err
	}
	return ch.ExchangeDeclare(delayedExchange, amqp.ExchangeTopic, true, false, false, noWait, amqp.Table{
		"alternate-exchange": undeliverable,
	})
}

func quorum() amqp.Table {
	return amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum, deliveryLimit: unlimited}
}

// arguments are those of the queues of jobs.
func (s *settings) arguments() amqp.Table {
	if !s.classic {
		return quorum()
	}
	arguments := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic}
	if s.maxPriority > 0 {
		arguments["x-max-priority"] = int64(s.maxPriority)
	}
	return arguments
}

// declareQueue declares a queue of jobs.
func (t *topology) declareQueue(conn *connection, queue string) error {
	if err := t.ensureCommon(); err != nil {
		return err
	}
	return t.onChannel(conn, fmt.Sprintf("queue %q", queue), func(ch *amqp.Channel) error {
		if _, err := ch.QueueDeclare(queue, true, false, false, false, t.backend.settings.arguments()); err != nil {
			return err
		}
		return ch.QueueBind(queue, delayedKey(queue), delayedExchange, false, nil)
	})
}

// declareDead declares the dead set of a queue. The queue of a new one is put on
// the list of names before: that may then have a name too many, which does no
// harm.
func (t *topology) declareDead(conn *connection, queue string) error {
	dead := deadQueue(queue)
	ready, err := readyIn(conn, dead)
	if err == nil && ready < 0 {
		err = t.backend.addName(t.backend.life, queue)
	}
	if err != nil {
		return err
	}
	return t.onChannel(conn, fmt.Sprintf("queue %q", dead), func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(dead, true, false, false, false, quorum())
		return err
	})
}

// readyIn counts the ready messages of a queue; -1 if there is none of the name.
func readyIn(conn *connection, queue string) (int, error) {
	ch, err := conn.Channel()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	found, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err == nil {
		ch.Close()
		return found.Messages, nil
	}
	if reason := refusal(err); reason != nil && reason.Code == amqp.NotFound {
		return -1, nil
	}
	return 0, fmt.Errorf("%w: looking for queue %q: %w", backend.ErrUnavailable, queue, err)
}
