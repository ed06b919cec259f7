package redis

import (
	"context"
	"strings"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

const (
	// scanPart is how many jobs of a queue are looked at in one call.
	scanPart = 1000

	// scanSlack is how far a list may move in between, to either side.
	scanSlack = 1000

	// scanPasses is how often a list is gone through in which something may
	// have been passed over.
	scanPasses = 5
)

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
		for range scanPasses {
			n, sure, err := b.removeFrom(ctx, what, queue, match)
			total += n
			if err != nil {
				return total, err
			}
			if sure || n == 0 {
				break
			}
		}
	}
	return total, nil
}

// removeFrom goes through a queue once. It is not sure to have seen every job
// where several without an ID are equal and the list moves: it may have gone on
// behind the wrong one. Nor is it where a job was no longer near its place.
func (b *Backend) removeFrom(ctx context.Context, what, queue string, match func(*backend.Message) bool) (total int, sure bool, err error) {
	sure = true
	anchor, index := "", int64(-1) // the last item that was looked at and stays, and where it is
	anchorNamed := true            // by an ID, which no other item has
	for {
		sure = sure && anchorNamed
		reply, err := await(ctx, b, func() (any, error) {
			return b.run(scanScript, what, queue, scanPart, index, anchor)
		}, nil)
		if err != nil {
			return total, false, err
		}
		parts := reply.([]any)
		first, items := parts[0].(int64), texts(parts[1])
		if len(items) == 0 {
			return total, sure, nil
		}
		from, to := max(first-scanSlack, 0), first+int64(len(items))+scanSlack
		args := []any{what, queue, from, to, b.unique()}
		fixed := len(args)
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
				anchor, index = item, first+int64(i-(len(args)-fixed))
				anchorNamed = what == "later" || m.ID != ""
			}
		}
		if len(args) == fixed {
			continue
		}
		reply, err = await(ctx, b, func() (any, error) { return b.run(removeScript, args...) }, nil)
		if err != nil {
			return total, false, err
		}
		found := int(reply.(int64))
		sure = sure && found >= len(args)-fixed
		total += found
	}
}
