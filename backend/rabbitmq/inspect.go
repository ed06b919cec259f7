package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// addName puts a queue on the list of names.
func (b *Backend) addName(ctx context.Context, queue string) error {
	for try := 0; ; try++ {
		one := &publication{key: namesQueue, message: amqp.Publishing{
			ContentType:  "text/plain",
			DeliveryMode: amqp.Persistent,
			Body:         []byte(queue),
		}}
		if err := b.publisher.publish(ctx, []*publication{one}); err != nil {
			return err
		}
		if !errors.Is(one.err, errUnroutable) || try == mostDeleted {
			return one.err
		}
		b.topology.forget(commonParts)
		if err := b.topology.ensureCommon(); err != nil {
			return err
		}
	}
}

// Queues returns the names of the queues that this driver was ever told to use,
// in this process or another, and that are there; see [backend.Inspector].
func (b *Backend) Queues(ctx context.Context) ([]string, error) {
	names := make(map[string]bool)
	err := b.view(ctx, namesQueue, func(v *viewing) error {
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
				if err := v.take(&v.message); err != nil {
					return err
				}
			}
		}
		return v.err
	})
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(names, func(_ string, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(names)), nil
}

// exists reports whether there is a queue, or a dead set of it.
func (b *Backend) exists(queue string) (bool, error) {
	conn, err := b.consuming.get(b.life)
	if err != nil {
		return false, err
	}
	ready, err := readyIn(conn, queue)
	if err == nil && ready < 0 {
		ready, err = readyIn(conn, deadQueue(queue))
	}
	return ready >= 0, err
}

// count returns how many messages are ready in each of some queues, 0 for one
// that there is not.
func (b *Backend) count(ctx context.Context, queues ...string) ([]int64, error) {
	return await(ctx, b, func() ([]int64, error) {
		counts := make([]int64, len(queues))
		err := b.onConnection(ctx, func(conn *connection) error {
			for i, queue := range queues {
				ready, err := readyIn(conn, queue)
				if err != nil {
					return err
				}
				counts[i] = int64(max(ready, 0))
			}
			return nil
		})
		return counts, err
	})
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
	counts, err := b.count(ctx, queue, deadQueue(queue))
	if err != nil {
		return stats, err
	}
	stats.Ready, stats.Dead = counts[0], counts[1]
	return stats, nil
}

// Check warns of delayed jobs whose queue was deleted while they waited.
func (b *Backend) Check(ctx context.Context) ([]string, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	counts, err := b.count(ctx, undeliverable)
	if err != nil || counts[0] == 0 {
		return nil, err
	}
	return []string{fmt.Sprintf("queue %q of RabbitMQ holds %d delayed jobs whose own queues were deleted while they waited; move those there that are still to run, and delete the others", undeliverable, counts[0])}, nil
}
