package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/store"
)

// Apply implements [store.Store]. The ops go in one pipeline, to each node that
// has keys of theirs. An op whose key holds no string fails alone; any other
// error of the server, such as that it is out of memory, is that of the batch.
func (s *Store) Apply(ctx context.Context, ops []store.Op) ([]store.Result, error) {
	results, err := s.apply(ctx, ops)
	if err != nil && err != store.ErrClosed {
		return nil, fmt.Errorf("store: redis: apply: %w", err)
	}
	return results, err
}

func (s *Store) apply(ctx context.Context, ops []store.Op) ([]store.Result, error) {
	b := s.newBatch(ctx, ops)
	return await(ctx, s, func(ctx context.Context) ([]store.Result, error) { return b.run(ctx, s.client) })
}

// batch is a pipeline for ops. It keeps nothing of theirs but strings, so that
// it can be abandoned.
type batch struct {
	commands []redis.Cmder
	replies  []redis.Cmder // of each op, the command that has its result; nil if the op is invalid
}

func (s *Store) newBatch(ctx context.Context, ops []store.Op) *batch {
	b := &batch{commands: make([]redis.Cmder, 0, 2*len(ops)), replies: make([]redis.Cmder, len(ops))}
	for i, op := range ops {
		commands := s.commands(ctx, op)
		if len(commands) > 0 {
			b.replies[i] = commands[0]
			b.commands = append(b.commands, commands...)
		}
	}
	return b
}

// commands returns what does an op, and nothing for one that is invalid.
func (s *Store) commands(ctx context.Context, op store.Op) []redis.Cmder {
	if op.Key == "" || op.TTL < 0 {
		return nil
	}
	key := s.prefix + op.Key
	switch op.Verb {
	case store.OpGet:
		return []redis.Cmder{redis.NewStringCmd(ctx, "get", key)}
	case store.OpSet:
		arguments := append([]any{"set", key, string(op.Value)}, expiry(op.TTL)...)
		return []redis.Cmder{newOnce(ctx, arguments...), s.publish(ctx, op.Key)}
	case store.OpDelete:
		return []redis.Cmder{newOnce(ctx, "del", key), s.publish(ctx, op.Key)}
	case store.OpIncr:
		// By its source: an EVALSHA that is refused would have to be sent
		// again, behind ops that come after it and have been executed.
		return []redis.Cmder{s.scriptCommand(ctx, "eval", incr.source, op.Key, s.incrArguments(op.Key, op.Delta, op.TTL))}
	default:
		return nil
	}
}

// publish returns the command that tells of a change. It must follow the
// change on the same connection. On a cluster the argument that chooses the
// node is therefore the message, which is the key, and not the channel.
func (s *Store) publish(ctx context.Context, key string) redis.Cmder {
	command := newOnce(ctx, "publish", s.channel(key), s.prefix+key)
	command.SetFirstKeyPos(2)
	return command
}

// run sends the batch and returns the result of each op.
func (b *batch) run(ctx context.Context, client redis.UniversalClient) ([]store.Result, error) {
	pipeline := client.Pipeline()
	pipeline.BatchProcess(ctx, b.commands...) // It only queues them.
	// Exec returns the first error of a command, of which some are results.
	if _, err := pipeline.Exec(ctx); err != nil && !isReply(err) {
		return nil, err
	}
	for _, command := range b.commands {
		if err := command.Err(); err != nil && !concernsOp(err) {
			return nil, err
		}
	}
	results := make([]store.Result, len(b.replies))
	for i, reply := range b.replies {
		results[i] = resultOf(reply)
	}
	return results, nil
}

func resultOf(reply redis.Cmder) (result store.Result) {
	switch reply := reply.(type) {
	case nil:
		result.Err = store.ErrInvalid
	case *redis.StringCmd: // OpGet
		value, err := valueOf(reply)
		result.Value, result.Err = value, describe(err, "get", reply.Args()[1].(string))
	case once:
		if reply.Name() == "eval" { // OpIncr
			result.Sum, result.Err = sumOf(reply.Cmd)
		}
	}
	return result
}

// isReply tells whether an error is what a server has answered.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// concernsOp tells whether an error is the result of one op, and says nothing
// about its neighbours.
func concernsOp(err error) bool {
	return isReply(err) && (errors.Is(err, redis.Nil) || notANumber(err))
}
