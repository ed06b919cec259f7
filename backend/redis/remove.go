package redis

import (
	"context"
	"strings"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// scanPart is how many jobs of a queue are looked at in one call.
const scanPart = 1000

// Remove deletes ready and scheduled jobs; see [backend.Remover]. It goes
// through the queue a part at a time and deletes a job only if it is still
// there: one that is reserved meanwhile runs, and none is taken out that would
// have to be put back.
func (b *Backend) Remove(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
	if err := backend.CheckQueueName(queue); err != nil {
		return 0, err
	}
	match, err := backend.MatchAny(filters)
	if err != nil {
		return 0, err
	}
	total := 0
	// Scheduled ones first: they become ready meanwhile, and not the other
	// way round.
	for _, what := range []string{"later", "ready"} {
		n, err := b.removeFrom(ctx, what, queue, match)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (b *Backend) removeFrom(ctx context.Context, what, queue string, match func(*backend.Message) bool) (int, error) {
	total := 0
	anchor, index := "", int64(-1) // the last item that was looked at and stays, and where it is
	for {
		reply, err := await(ctx, b, func() (any, error) {
			return b.run(scanScript, what, queue, scanPart, index, anchor)
		}, nil)
		if err != nil {
			return total, err
		}
		parts := reply.([]any)
		first, items := parts[0].(int64), texts(parts[1])
		if len(items) == 0 {
			return total, nil
		}
		args := []any{what, queue}
		for i, item := range items {
			payload := item
			if what == "later" {
				_, payload, _ = strings.Cut(item, "\n")
			}
			m, _, err := resque.DecodePayload(asBytes(payload))
			m.Queue = queue
			if err == nil && match(&m) {
				args = append(args, item)
			} else {
				anchor, index = item, first+int64(i+2-len(args))
			}
		}
		if len(args) == 2 {
			continue
		}
		reply, err = await(ctx, b, func() (any, error) { return b.run(removeScript, args...) }, nil)
		if err != nil {
			return total, err
		}
		total += int(reply.(int64))
	}
}
