package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// failedPart is how many entries of the list failed are looked at in one call:
// some milliseconds of Redis' time.
const failedPart = 1000

// eachFailed calls f for each dead job of a queue, the oldest first, until f
// returns false. It reports whether it may have passed some over, because others
// were taken out of the list meanwhile.
func (b *Backend) eachFailed(ctx context.Context, queue string, f func(entry string) bool) (passed bool, err error) {
	_, passed, err = b.goThroughFailed(ctx, queue, f)
	return passed, err
}

// countFailed returns how many dead jobs a queue has. Redis sends only those
// of which it cannot tell.
func (b *Backend) countFailed(ctx context.Context, queue string) (int64, error) {
	count, _, err := b.goThroughFailed(ctx, queue, nil)
	return count, err
}

func (b *Backend) goThroughFailed(ctx context.Context, queue string, f func(entry string) bool) (count int64, passed bool, err error) {
	suffix := `"queue":"` + queue + `"}` // a name of a queue needs no escape, though PHP writes one for a slash
	before := ""
	for first := 0; ; {
		reply, err := await(ctx, b, func() (any, error) {
			return b.run(failedScript, first, failedPart, suffix, flag(f != nil), before)
		}, nil)
		if err != nil {
			return count, passed, err
		}
		parts := reply.([]any)
		looked := int(parts[1].(int64))
		count += parts[2].(int64)
		for _, entry := range texts(parts[3]) {
			if name, ok := resque.FailedQueue(asBytes(entry)); !ok || name != queue {
				continue
			}
			count++
			if f != nil && !f(entry) {
				return count, passed, nil
			}
		}
		passed = passed || parts[5].(int64) == 1
		if looked < failedPart {
			return count, passed, nil
		}
		first, before = int(parts[0].(int64))+looked, parts[4].(string)
	}
}

// keyOf names an entry of the list failed. Ours each have something that no
// other has; of those of Ruby and PHP two may be the same in every byte, and
// then one is as good as the other.
func keyOf(entry string) string {
	sum := sha256.Sum256(asBytes(entry))
	return hex.EncodeToString(sum[:16])
}

func (b *Backend) peekDead(ctx context.Context, queue string, offset, limit int) ([]*backend.Entry, error) {
	var entries []*backend.Entry
	_, err := b.eachFailed(ctx, queue, func(text string) bool {
		if offset > 0 {
			offset--
			return true
		}
		failed, err := resque.DecodeFailed(asBytes(text))
		e := entry(queue, backend.Dead, asString(failed.Payload))
		if err != nil {
			e.Raw, e.Malformed = []byte(text), err
		}
		failure := failed.Failure
		e.Key, e.Failure = keyOf(text), &failure
		entries = append(entries, e)
		return len(entries) < limit
	})
	return entries, err
}

// Requeue makes dead jobs ready again; see [backend.DeadSet].
func (b *Backend) Requeue(ctx context.Context, queue string, keys ...string) (int, error) {
	return b.takeFailed(ctx, queue, keys, func(text string) (string, bool) {
		failed, err := resque.DecodeFailed(asBytes(text))
		if err != nil || len(failed.Payload) == 0 {
			return "", false // nothing in it could run
		}
		m, _, err := resque.DecodePayload(failed.Payload)
		if err == nil {
			m.Attempt = 0
			if payload, err := resque.AppendPayload(nil, &m, 0); err == nil {
				return asString(payload), true
			}
		}
		if failed.Key == "" && failed.Payload[0] != '{' {
			return "", false // another library's entry, without a job in it
		}
		return asString(failed.Payload), true
	})
}

// Delete removes dead jobs for good; see [backend.DeadSet].
func (b *Backend) Delete(ctx context.Context, queue string, keys ...string) (int, error) {
	return b.takeFailed(ctx, queue, keys, func(string) (string, bool) { return "", true })
}

// takeFailed takes the entries with the keys out of the list failed, and makes
// what payload returns for each ready, unless that is empty.
func (b *Backend) takeFailed(ctx context.Context, queue string, keys []string, payload func(entry string) (string, bool)) (int, error) {
	if err := backend.CheckQueueName(queue); err != nil {
		return 0, err
	}
	if len(keys) == 0 {
		return 0, b.usable(ctx)
	}
	wanted := make(map[string]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	var args []any
	for range 5 { // others can hide an entry by taking out those around it, but not for long
		passed, err := b.eachFailed(ctx, queue, func(entry string) bool {
			key := keyOf(entry)
			if wanted[key] {
				delete(wanted, key)
				if ready, ok := payload(entry); ok {
					args = append(args, entry, ready)
				}
			}
			return len(wanted) > 0
		})
		if err != nil {
			return 0, err
		}
		if !passed {
			break
		}
	}
	found := 0
	for len(args) > 0 {
		some := args[:min(len(args), 200)]
		args = args[len(some):]
		// It is not sent again when its reply is lost: what it has found is
		// gone from the list, and a second call would not count it.
		reply, err := await(ctx, b, func() (any, error) {
			return b.run(requeueScript, append([]any{queue, len(some) / 2}, some...)...)
		}, nil)
		if err != nil {
			return found, err
		}
		found += int(reply.(int64))
	}
	return found, nil
}
