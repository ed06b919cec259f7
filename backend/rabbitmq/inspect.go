package rabbitmq

import (
	"context"
	"fmt"
	"maps"
	"slices"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// addName puts a queue on the list of names.
func (b *Backend) addName(ctx context.Context, queue string) error {
	one := &publication{key: namesQueue, message: amqp.Publishing{
		ContentType:  "text/plain",
		DeliveryMode: amqp.Persistent,
		Body:         []byte(queue),
	}}
	if err := b.publisher.publish(ctx, []*publication{one}); err != nil {
		return err
	}
	return one.err
}

// Queues returns the names of the queues that this driver was ever told to use,
// in this process or another, and that are there; see [backend.Inspector].
func (b *Backend) Queues(ctx context.Context) ([]string, error) {
	names := make(map[string]bool)
	err := b.view(ctx, namesQueue, func(v *viewing) error {
		gone := 0
		for v.next() {
			name := string(v.message.Body)
			twice := names[name]
			if !twice {
				there, err := b.exists(name)
				if err != nil {
					return err
				}
				names[name] = there
			}
			if twice || !names[name] {
				if err := v.ch.Ack(v.message.DeliveryTag, false); err != nil {
					return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
				}
				gone++
			}
		}
		v.kept -= gone
		return v.err
	}, all)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(names, func(_ string, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(names)), nil
}

func (b *Backend) exists(queue string) (bool, error) {
	conn, err := b.consuming.get(b.life)
	if err != nil {
		return false, err
	}
	ready, err := readyIn(conn, queue)
	return ready >= 0, err
}

// Stats counts what is ready and what is dead. What is reserved or scheduled
// RabbitMQ does not tell over AMQP: -1.
func (b *Backend) Stats(ctx context.Context, queue string) (backend.Stats, error) {
	stats := backend.Stats{Queue: queue, Scheduled: -1, Reserved: -1}
	if err := b.usable(ctx); err != nil {
		return stats, err
	}
	if err := checkQueue(queue); err != nil {
		return stats, err
	}
	var ready, dead int
	err := b.await(ctx, func() error {
		conn, err := b.consuming.get(ctx)
		if err != nil {
			return err
		}
		if ready, err = readyIn(conn, queue); err == nil {
			dead, err = readyIn(conn, deadQueue(queue))
		}
		return err
	})
	if err != nil {
		return stats, err
	}
	stats.Ready, stats.Dead = int64(max(ready, 0)), int64(max(dead, 0))
	return stats, nil
}

// Check warns of delayed jobs whose queue was deleted while they waited.
func (b *Backend) Check(ctx context.Context) ([]string, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	var lost int
	err := b.await(ctx, func() error {
		conn, err := b.consuming.get(ctx)
		if err == nil {
			lost, err = readyIn(conn, undeliverable)
		}
		return err
	})
	var warnings []string
	if lost > 0 {
		warnings = append(warnings, fmt.Sprintf("queue %q of RabbitMQ holds %d delayed jobs whose own queues were deleted while they waited; move those there that are still to run, and delete the others", undeliverable, lost))
	}
	return warnings, err
}
