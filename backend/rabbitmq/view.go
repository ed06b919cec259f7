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

// viewing is a look at the messages of a queue. RabbitMQ shows them by handing
// them out; what is not taken goes back to its place when the look ends.
type viewing struct {
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
	ready      int // messages to be shown

	message amqp.Delivery // the latest
	key     string        // of that
	seen    int
	taken   int
	same    map[string]int // see keyOf
	err     error
}

// everything is the limit of a look at all messages.
const everything = math.MaxInt

// silence is how long RabbitMQ may send nothing of what it has counted. Somebody
// may purge the queue.
const silence = 2 * time.Second

// take removes the latest message from the queue.
func (v *viewing) take() error { return v.takeAlso(&v.message) }

// takeAlso removes one that was shown before.
func (v *viewing) takeAlso(d *amqp.Delivery) error {
	if err := v.ch.Ack(d.DeliveryTag, false); err != nil {
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	v.taken++
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

// viewDead has look see the dead of a queue, up to limit. It waits until nobody
// else looks at them, in any process.
func (b *Backend) viewDead(ctx context.Context, queue string, limit int, look func(*viewing) error) error {
	if err := checkQueue(queue); err != nil {
		return err
	}
	return b.view(ctx, deadQueue(queue), limit, look)
}

// view does so for any queue. A queue that does not exist shows nothing. When ctx
// ends before the look, that goes on by itself.
func (b *Backend) view(ctx context.Context, queue string, limit int, look func(*viewing) error) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	over, err := b.turns.wait(ctx, queue)
	if err != nil {
		return err
	}
	_, err = await(ctx, b, func() (struct{}, error) {
		defer over()
		conn, err := b.consuming.get(ctx)
		if err != nil {
			return struct{}{}, err
		}
		unlock, err := b.lock(ctx, conn, queue)
		if err != nil {
			return struct{}{}, err
		}
		defer unlock()
		return struct{}{}, viewOn(conn, queue, limit, look)
	})
	return err
}

func viewOn(conn *connection, queue string, limit int, look func(*viewing) error) error {
	ready, err := readyIn(conn, queue)
	if err != nil || ready <= 0 || limit == 0 {
		return err
	}
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	v := &viewing{ch: ch, ready: min(ready, limit), same: make(map[string]int)}
	credit := v.ready
	if credit > math.MaxUint16 {
		credit = 0 // without limit
	}
	if err = ch.Qos(credit, 0, false); err == nil {
		v.deliveries, err = ch.Consume(queue, "", false, false, false, false, nil)
	}
	if err != nil {
		ch.Close()
		return fmt.Errorf("%w: looking into queue %q: %w", backend.ErrUnavailable, queue, err)
	}
	err = look(v)
	ch.Close() // waits until the acks have come
	return errors.Join(err, awaitReturn(conn, queue, ready-v.taken))
}

// awaitReturn waits until a queue has its messages back, so that the next one who
// looks sees all of them.
func awaitReturn(conn *connection, queue string, messages int) error {
	for range 200 {
		ready, err := readyIn(conn, queue)
		if err != nil || ready >= messages || ready < 0 {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
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
