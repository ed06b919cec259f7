package redis

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// The status of a job in php-resque's form is written beside the queue's own,
// for PHP to read. It never fails a job.

// statusSeconds is how long the status of a job that has ended is kept, as
// php-resque does; openStatusSeconds bounds that of one which never ends.
const (
	statusSeconds     = 24 * 60 * 60
	openStatusSeconds = 30 * statusSeconds
)

// isTracked reports whether the queue keeps a status of m.
func isTracked(m *backend.Message) bool { return string(m.Extra["track"]) == "true" && m.ID != "" }

// mayHaveStatus reports whether php-resque's status of a delivery may exist.
// PHP marks its tracked jobs by that status only. Its jobs differ from ours in
// their queue_time, which has no more than microseconds.
func mayHaveStatus(d *backend.Delivery) bool {
	if d.Malformed != nil || d.ID == "" {
		return false
	}
	return isTracked(&d.Message) || !d.EnqueuedAt.IsZero() && d.EnqueuedAt.Nanosecond()%1000 == 0
}

func statusKey(m *backend.Message) string {
	var prefix string
	if text := m.Extra["resque.prefix"]; text != nil {
		json.Unmarshal(text, &prefix)
	}
	return resque.StatusKey(prefix, m.ID)
}

func statusValue(m *backend.Message, state int) (string, bool) {
	value, err := resque.AppendStatus(nil, &resque.Status{State: state, Updated: time.Now(), Started: m.EnqueuedAt})
	return asString(value), err == nil
}

// JobStatus returns the status that php-resque, or this library for a tracked
// job, keeps of a job; see [backend.StatusReader]. A PHP job with a prefix goes
// by the ID prefix_id.
func (b *Backend) JobStatus(ctx context.Context, id string) (backend.JobStatus, error) {
	return look(ctx, b, func(ctx context.Context, node *goredis.Client) (backend.JobStatus, error) {
		value, err := node.Get(ctx, b.prefix+resque.StatusKey("", id)).Result()
		if errors.Is(err, goredis.Nil) {
			return backend.JobStatus{}, backend.ErrNotFound
		}
		if err != nil {
			return backend.JobStatus{}, err
		}
		s, err := resque.DecodeStatus(asBytes(value))
		if err != nil {
			return backend.JobStatus{}, err
		}
		states := map[int]string{resque.StatusWaiting: "ready", resque.StatusRunning: "running", resque.StatusFailed: "dead", resque.StatusComplete: "done"}
		status := backend.JobStatus{State: states[s.State], CreatedAt: s.Started, UpdatedAt: s.Updated, Result: s.Result}
		if s.State == resque.StatusRunning {
			status.StartedAt = s.Updated
		}
		return status, nil
	})
}

// recordStart notes that deliveries have begun.
func (b *Backend) recordStart(ctx context.Context, deliveries []*backend.Delivery) {
	var begun []*backend.Delivery
	for _, d := range deliveries {
		if mayHaveStatus(d) {
			begun = append(begun, d)
		}
	}
	b.record(ctx, begun, resque.StatusRunning, 0)
}

// recordDone notes what became of deliveries, err being what the settling of
// them returned.
func (b *Backend) recordDone(ctx context.Context, deliveries []*backend.Delivery, err error, state int) {
	var settled []*backend.Delivery
	for i, d := range deliveries {
		if d != nil && mayHaveStatus(d) && backend.ErrorAt(err, i) == nil {
			settled = append(settled, d)
		}
	}
	seconds := 0
	if state == resque.StatusComplete || state == resque.StatusFailed {
		seconds = statusSeconds
	}
	b.record(ctx, settled, state, seconds)
}

// record updates the statuses of deliveries where there are any.
func (b *Backend) record(ctx context.Context, deliveries []*backend.Delivery, state, seconds int) {
	if len(deliveries) == 0 {
		return
	}
	args := []any{seconds}
	for _, d := range deliveries {
		if value, ok := statusValue(&d.Message, state); ok {
			args = append(args, statusKey(&d.Message), value)
		}
	}
	await(ctx, b, func() (any, error) { return b.run(statusScript, args...) }, nil)
}
