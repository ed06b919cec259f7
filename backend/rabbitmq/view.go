package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// turns has one goroutine at a time look at a queue from which messages are shown,
// such as a dead set: meanwhile they are handed out.
type turns struct {
	mu    sync.Mutex
	turns map[string]chan struct{} // guarded by mu: of capacity 1, by queue
}

// wait waits for the turn of this goroutine at a queue, in this process.
func (s *turns) wait(ctx context.Context, queue string) (over func(), err error) {
	s.mu.Lock()
	if s.turns == nil {
		s.turns = make(map[string]chan struct{})
	}
	turn := s.turns[queue]
	if turn == nil {
		turn = make(chan struct{}, 1)
		s.turns[queue] = turn
	}
	s.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// viewing is a look at all messages of a queue. RabbitMQ shows them by handing
// them out; what is not taken goes back when the look ends. A quorum queue puts
// what comes back behind what came back before: a look at some of them would
// change their order.
type viewing struct {
	conn       *connection
	queue      string
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
	ready      int    // messages when it began
	unlock     func() // lets others look

	message amqp.Delivery // the latest
	key     string        // of that
	seen    int
	taken   int
	same    map[string]int // see keyOf
	err     error
}

// silence is how long RabbitMQ may send nothing of what it has counted. Somebody
// may purge the queue.
const silence = 2 * time.Second

// take removes a message that was shown from the queue.
func (v *viewing) take(d *amqp.Delivery) error {
	if err := v.ch.Ack(d.DeliveryTag, false); err != nil {
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	if v.taken++; v.taken%maxAcks == 0 {
		time.Sleep(hearing / 4)
	}
	return nil
}

// next shows the next message. It returns false at the end, and when err is set.
func (v *viewing) next() bool {
	if v.seen >= v.ready || v.err != nil {
		return false
	}
	timer := time.NewTimer(silence)
	defer timer.Stop()
	select {
	case d, ok := <-v.deliveries:
		if !ok {
			v.err = fmt.Errorf("%w: RabbitMQ was lost while it showed its messages", backend.ErrUnavailable)
			return false
		}
		v.message, v.key = d, keyOf(&d, v.same)
		v.seen++
		return true
	case <-timer.C:
		return false
	}
}

// viewDead has look see the dead of a queue. It waits until nobody else looks at
// them, in any process.
func (b *Backend) viewDead(ctx context.Context, queue string, look func(*viewing) error) error {
	if err := checkQueue(queue); err != nil {
		return err
	}
	return b.view(ctx, deadQueue(queue), look)
}

// view does so for any queue. A queue that does not exist shows nothing. When ctx
// ends before the look, that goes on by itself.
func (b *Backend) view(ctx context.Context, queue string, look func(*viewing) error) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	over, err := b.turns.wait(ctx, queue)
	if err != nil {
		return err
	}
	_, err = await(ctx, b, func() (none struct{}, err error) {
		defer over()
		var v *viewing
		if err = b.onConnection(ctx, func(conn *connection) (err error) {
			v, err = b.openView(ctx, conn, queue)
			return err
		}); err != nil || v == nil {
			return none, err
		}
		defer v.unlock()
		err = look(v)
		for v.next() { // the others too, for the sake of their order
		}
		return none, errors.Join(err, v.close())
	})
	return err
}

// openView begins to look at a queue. It returns nil when there is nothing.
func (b *Backend) openView(ctx context.Context, conn *connection, queue string) (*viewing, error) {
	unlock, err := b.lock(ctx, conn, queue)
	if err != nil {
		return nil, err
	}
	v := &viewing{conn: conn, queue: queue, unlock: unlock, same: make(map[string]int)}
	if err = v.open(); err != nil || v.ready <= 0 {
		unlock()
		return nil, err
	}
	return v, nil
}

func (v *viewing) open() (err error) {
	if v.ready, err = readyIn(v.conn, v.queue); err != nil || v.ready <= 0 {
		return err
	}
	if v.ch, err = v.conn.Channel(); err == nil {
		credit := v.ready
		if credit > math.MaxUint16 {
			credit = 0 // without limit
		}
		err = v.ch.Qos(credit, 0, false)
	}
	if err == nil {
		v.deliveries, err = v.ch.Consume(v.queue, "", false, false, false, false, nil)
	}
	if err != nil {
		return fmt.Errorf("%w: looking into queue %q: %w", backend.ErrUnavailable, v.queue, err)
	}
	return nil
}

// close gives back what was not taken. A channel that is closed gives it back in
// order.
func (v *viewing) close() error {
	if v.taken > 0 {
		time.Sleep(hearing)
	}
	v.ch.Close()
	return awaitReturn(v.conn, v.queue, v.ready-v.taken)
}

// RabbitMQ deals with so many acks at a time, and forgets the others when their
// channel is closed before it has; hearing is how long it is given for them. Under
// load that may not be enough: see takeDead.
const (
	maxAcks = 30
	hearing = 20 * time.Millisecond
)

// awaitReturn waits until a queue has its messages back, so that the next one who
// looks sees all of them. Somebody else may take some of them away.
func awaitReturn(conn *connection, queue string, messages int) error {
	until := time.Now().Add(silence)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		ready, err := readyIn(conn, queue)
		if err != nil || ready >= messages || ready < 0 || time.Now().After(until) {
			return err
		}
		time.Sleep(pause)
	}
}

// lock waits until no other process looks at a queue: whoever does has a queue
// that is exclusive to its connection, and ends with it.
func (b *Backend) lock(ctx context.Context, conn *connection, queue string) (unlock func(), err error) {
	name := lockQueues + queue
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		ch, err := conn.Channel()
		if err == nil {
			if _, err = ch.QueueDeclare(name, false, false, true, false, nil); err == nil {
				return func() {
					ch.QueueDelete(name, false, false, false)
					ch.Close()
				}, nil
			}
		}
		if reason := refusal(err); reason == nil || reason.Code != amqp.ResourceLocked {
			return nil, fmt.Errorf("%w: waiting for a turn to look into queue %q: %w", backend.ErrUnavailable, queue, err)
		}
		b.pause(ctx, pause/2+rand.N(pause/2))
		if err := b.usable(ctx); err != nil {
			return nil, err
		}
	}
}
