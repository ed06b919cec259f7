package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goferhq/queue/store"
)

// await runs call and returns what it returns, or the context's error as soon
// as the context has ended. A call that has not returned by then goes on: it
// must not use what belongs to the caller. go-redis ends it, at once while it
// waits for a connection, and otherwise by the client's timeouts.
func await[T any](ctx context.Context, s *Store, call func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if s.closed.Load() {
		return none, store.ErrClosed
	}
	if ctx.Done() == nil {
		return call(ctx)
	}
	type outcome struct {
		value T
		err   error
	}
	returned := make(chan outcome, 1)
	go func() {
		value, err := call(ctx)
		returned <- outcome{value, err}
	}()
	var o outcome
	select {
	case o = <-returned:
	case <-ctx.Done():
		select {
		case o = <-returned: // Both at once: what was done counts.
		default:
			return none, ctx.Err()
		}
	}
	return o.value, because(ctx, o.err)
}

// because returns err, with the context's error in it if the context has
// ended: go-redis may say that it was a connection that timed out.
func because(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if deadline, exists := ctx.Deadline(); exists && !time.Now().Before(deadline) {
		<-ctx.Done() // The connection may have noticed before the context.
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}
