package redis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// look runs f against the node that holds the keys, within ctx.
func look[T any](ctx context.Context, b *Backend, f func(ctx context.Context, node *goredis.Client) (T, error)) (T, error) {
	return await(ctx, b, func() (value T, err error) {
		err = b.onNode(func(node *goredis.Client) (err error) {
			value, err = f(context.WithoutCancel(ctx), node)
			return err
		})
		return value, err
	}, nil)
}

// Queues returns the queues of Resque's set, and those that have nothing but
// dead jobs not.
func (b *Backend) Queues(ctx context.Context) ([]string, error) {
	return look(ctx, b, func(ctx context.Context, node *goredis.Client) ([]string, error) {
		names, err := node.SMembers(ctx, b.prefix+"queues").Result()
		slices.Sort(names)
		return names, err
	})
}

// Stats counts. The dead are counted by going through all of Resque's list
// failed, a part of it at a time.
func (b *Backend) Stats(ctx context.Context, queue string) (backend.Stats, error) {
	s := backend.Stats{Queue: queue}
	if err := backend.CheckQueueName(queue); err != nil {
		return s, err
	}
	_, err := look(ctx, b, func(ctx context.Context, node *goredis.Client) (any, error) {
		pipe := node.Pipeline()
		ready := pipe.LLen(ctx, b.prefix+"queue:"+queue)
		scheduled := pipe.ZCard(ctx, b.prefix+"gofer:later:"+queue)
		reserved := pipe.ZCard(ctx, b.prefix+"gofer:leases:"+queue)
		paused := pipe.SIsMember(ctx, b.prefix+"gofer:paused", queue)
		all := pipe.Get(ctx, b.prefix+"pause-all-workers")
		if _, err := pipe.Exec(ctx); err != nil && err != goredis.Nil {
			return nil, err
		}
		s.Ready, s.Scheduled, s.Reserved = ready.Val(), scheduled.Val(), reserved.Val()
		s.Paused = paused.Val() || all.Val() == "true"
		return nil, nil
	})
	if err != nil {
		return s, err
	}
	s.Dead, err = b.countFailed(ctx, queue)
	return s, err
}

// Peek shows messages; see [backend.Lister]. Those on loan come in the order
// in which their leases end, which is the entry's DueAt.
func (b *Backend) Peek(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
	if err := backend.CheckQueueName(queue); err != nil {
		return nil, err
	}
	if offset < 0 || limit < 0 {
		return nil, fmt.Errorf("%w: Peek of %d from %d", backend.ErrInvalid, limit, offset)
	}
	if limit == 0 {
		return nil, b.usable(ctx)
	}
	switch state {
	case backend.Ready:
		return b.peekReady(ctx, queue, offset, limit)
	case backend.Scheduled:
		return b.peekTimed(ctx, queue, state, b.prefix+"gofer:later:"+queue, offset, limit)
	case backend.Reserved:
		return b.peekTimed(ctx, queue, state, b.prefix+"gofer:leases:"+queue, offset, limit)
	case backend.Dead:
		return b.peekDead(ctx, queue, offset, limit)
	}
	return nil, fmt.Errorf("%w: state %d", backend.ErrInvalid, state)
}

func (b *Backend) peekReady(ctx context.Context, queue string, offset, limit int) ([]*backend.Entry, error) {
	return look(ctx, b, func(ctx context.Context, node *goredis.Client) ([]*backend.Entry, error) {
		payloads, err := node.LRange(ctx, b.prefix+"queue:"+queue, int64(offset), int64(offset)+int64(limit)-1).Result()
		entries := make([]*backend.Entry, len(payloads))
		for i, payload := range payloads {
			entries[i] = entry(queue, backend.Ready, payload)
		}
		return entries, err
	})
}

// peekTimed shows what a sorted set holds: the payloads of scheduled jobs
// themselves, or the tokens of those on loan.
func (b *Backend) peekTimed(ctx context.Context, queue string, state backend.State, key string, offset, limit int) ([]*backend.Entry, error) {
	return look(ctx, b, func(ctx context.Context, node *goredis.Client) ([]*backend.Entry, error) {
		pipe := node.Pipeline()
		clock := pipe.Time(ctx)
		items := pipe.ZRangeWithScores(ctx, key, int64(offset), int64(offset)+int64(limit)-1)
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, err
		}
		ahead := time.Until(clock.Val())
		var entries []*backend.Entry
		for _, item := range items.Val() {
			member := item.Member.(string)
			payload := member
			if state == backend.Scheduled {
				_, payload, _ = strings.Cut(member, "\n")
			} else {
				var err error
				if payload, err = node.HGet(ctx, b.prefix+"gofer:running:"+queue, member).Result(); err == goredis.Nil {
					continue // settled meanwhile
				} else if err != nil {
					return nil, err
				}
			}
			e := entry(queue, state, payload)
			e.Key = member
			if state == backend.Reserved && e.ID == "" {
				e.ID = member
			}
			e.DueAt = time.UnixMilli(int64(item.Score)).Add(-ahead)
			entries = append(entries, e)
		}
		return entries, nil
	})
}

// entry is a stored payload as a person sees it.
func entry(queue string, state backend.State, payload string) *backend.Entry {
	e := &backend.Entry{State: state, Raw: []byte(payload)}
	m, _, err := resque.DecodePayload(e.Raw)
	if err != nil {
		e.Malformed = err
	} else {
		e.Message = m
	}
	e.Queue = queue
	return e
}

// Pause stops a queue for the workers of this library. Those of Ruby and PHP
// do not know of it.
func (b *Backend) Pause(ctx context.Context, queue string) error {
	return b.setPause(ctx, queue, "pause")
}

// Resume lets a queue go on. It does not end a pause of all workers by Resque.
func (b *Backend) Resume(ctx context.Context, queue string) error {
	return b.setPause(ctx, queue, "resume")
}

func (b *Backend) setPause(ctx context.Context, queue, verb string) error {
	if err := backend.CheckQueueName(queue); err != nil {
		return err
	}
	_, err := await(ctx, b, func() (any, error) { return b.run(pauseScript, queue, verb) }, nil)
	return err
}

// Purge deletes the ready and scheduled jobs of a queue.
func (b *Backend) Purge(ctx context.Context, queue string) (int, error) {
	if err := backend.CheckQueueName(queue); err != nil {
		return 0, err
	}
	reply, err := await(ctx, b, func() (any, error) { return b.run(purgeScript, queue) }, nil)
	n, _ := reply.(int64)
	return int(n), err
}
