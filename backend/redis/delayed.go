package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// Resque's scheduler keeps jobs by the second in which they are due, each
// second a list of its own, and a sorted set of the seconds. Its movers do not
// expect each other: they hold a lock, and so does moveDelayed. Where a Ruby
// scheduler runs it has the lock nearly always, and nothing is moved from here.

// pushDelayed stores a job for Resque's scheduler.
func (b *Backend) pushDelayed(t *transaction, stores part, item pushItem) {
	second := number(item.due)
	t.command(stores, "RPUSH", b.prefix+"delayed:"+second, item.payload)
	t.command(stores, "SADD", b.prefix+"timestamps:"+item.payload, "delayed:"+second)
	t.command(stores, "ZADD", b.prefix+"delayed_queue_schedule", second, second)
}

// delayedPart is how many delayed jobs are moved at a time.
const delayedPart = 200

// moveDelayed makes the jobs ready that are due, unless a scheduler runs. It
// reports whether it got anywhere.
func (b *Backend) moveDelayed() (moved bool, err error) {
	for b.life.Err() == nil {
		var args []any
		err := b.onNode(func(node *goredis.Client) (err error) {
			args, err = b.dueDelayed(node)
			return err
		})
		if err != nil || len(args) == 0 {
			return moved, err
		}
		reply, err := b.run(promoteScript, append([]any{b.worker.name(), len(args) / 4}, args...)...)
		if err != nil || reply.(int64) <= 0 {
			return moved, err
		}
		moved = true
	}
	return moved, nil
}

// dueDelayed returns the arguments of the promote script for some of the jobs
// that are due.
func (b *Backend) dueDelayed(node *goredis.Client) ([]any, error) {
	ctx := context.Background()
	now, err := node.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	seconds, err := node.ZRangeArgs(ctx, goredis.ZRangeArgs{
		Key: b.prefix + "delayed_queue_schedule", ByScore: true, Start: "-inf", Stop: now.Unix(), Count: 10,
	}).Result()
	if err != nil {
		return nil, err
	}
	var args []any
	for _, second := range seconds {
		items, err := node.LRange(ctx, b.prefix+"delayed:"+second, 0, delayedPart-1).Result()
		if err != nil {
			return nil, err
		}
		if len(items) == 0 {
			args = append(args, second, "", "", "")
		}
		for _, item := range items {
			queue, payload := b.promoted(item)
			args = append(args, second, item, queue, payload)
		}
		if len(args) >= 4*delayedPart {
			break
		}
	}
	return args, nil
}

// promoted returns the queue of a delayed item and what to store there; of one
// that names no queue, "" and an entry of the list failed.
func (b *Backend) promoted(item string) (queue, payload string) {
	queue, ready, err := resque.DecodeDelayed(asBytes(item))
	if err == nil {
		err = backend.CheckQueueName(queue)
	}
	if err == nil {
		return queue, asString(ready)
	}
	failed := resque.Failed{
		Queue:   "unknown",
		Payload: asBytes(item),
		Failure: backend.Failure{At: time.Now(), Error: "a delayed job without a usable queue: " + err.Error(), Type: "Malformed"},
		Worker:  b.worker.display(b, "unknown"),
		Key:     b.unique(),
	}
	entry, err := resque.AppendFailed(nil, &failed)
	if err != nil {
		return "", item
	}
	return "", asString(entry)
}
