package beanstalkd

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/goferhq/queue/backend"
)

// Requeue makes dead jobs ready again; see [backend.DeadSet]. The job is put
// anew before the dead one is deleted, so that a crash in between leaves both.
func (b *Backend) Requeue(ctx context.Context, queue string, keys ...string) (int, error) {
	return b.onDead(ctx, queue, keys, func(ctx context.Context, s *server, ids []uint64) (int, error) {
		return s.requeue(ctx, queue, ids)
	})
}

// Delete removes dead jobs for good; see [backend.DeadSet].
func (b *Backend) Delete(ctx context.Context, queue string, keys ...string) (int, error) {
	return b.onDead(ctx, queue, keys, func(ctx context.Context, s *server, ids []uint64) (int, error) {
		dead, err := s.dead(ctx, queue, ids)
		if err != nil {
			return 0, err
		}
		deleted, err := s.remove(ctx, idsOf(dead))
		return trues(deleted), err
	})
}

// onDead runs f for the servers on which the jobs with the keys are, some at a
// time, and returns the sum.
func (b *Backend) onDead(ctx context.Context, queue string, keys []string, f func(ctx context.Context, s *server, ids []uint64) (int, error)) (int, error) {
	if err := checkQueue(queue); err != nil {
		return 0, err
	}
	if err := b.usable(ctx); err != nil {
		return 0, err
	}
	all := b.keyed(keys)
	var found atomic.Int64
	err := b.change(ctx, func(i int, s *server) (acted bool, err error) {
		for ids := range slices.Chunk(all[i], walkPart) {
			n, err := f(ctx, s, ids)
			found.Add(int64(n))
			if acted = acted || n > 0; err != nil {
				return acted, err
			}
		}
		return acted, nil
	})
	return int(found.Load()), err
}

// dead returns those of ids that are buried in the tube.
func (s *server) dead(ctx context.Context, queue string, ids []uint64) ([]walked, error) {
	w := walk{server: s, tube: queue, state: backend.Dead}
	return w.among(ctx, ids)
}

func (s *server) requeue(ctx context.Context, queue string, ids []uint64) (int, error) {
	dead, err := s.dead(ctx, queue, ids)
	if err != nil {
		return 0, err
	}
	bodies, err := s.presentBodies(ctx, idsOf(dead))
	if err != nil {
		return 0, err
	}
	var p puts
	var old []uint64
	for i, job := range dead {
		if bodies[i] != nil {
			body, pri := s.reborn(queue, job, bodies[i])
			p.command(queue, pri, 0, s.backend.settings.ttr(), body)
			old = append(old, job.id)
		}
	}
	anew := make([]uint64, len(old)) // 0 where the put has failed
	conn, failed := s.put(ctx, p.items, anew)
	stored := func(i int) bool { return anew[i] != 0 }
	deleted, err := s.remove(ctx, only(old, stored))
	if err != nil {
		return trues(deleted), err
	}
	// Somebody else has requeued or deleted some of them meanwhile.
	twice := only(only(anew, stored), func(i int) bool { return !deleted[i] })
	if len(twice) == 0 {
		return trues(deleted), failed
	}
	if _, err := s.removeOver(ctx, conn, twice); err != nil {
		return trues(deleted), err
	}
	return trues(deleted), failed
}

// reborn returns the body of a dead job that gets all its attempts again, and
// its priority. What has no room for the driver's own member, or is no message,
// stays as it is.
func (s *server) reborn(queue string, job walked, body []byte) ([]byte, uint32) {
	held := s.decode(queue, job, body)
	if held.malformed == nil {
		m := held.message
		m.Attempt = 0
		body, err := appendBody(nil, &m, s.backend.settings.ttr())
		if err == nil && len(body) <= s.backend.maxBody {
			return body, priorityOf(&m)
		}
	}
	return held.raw, job.stats.pri
}

func idsOf(jobs []walked) []uint64 {
	ids := make([]uint64, len(jobs))
	for i, job := range jobs {
		ids[i] = job.id
	}
	return ids
}

// only returns those of ids whose place keep takes.
func only(ids []uint64, keep func(i int) bool) []uint64 {
	var kept []uint64
	for i, id := range ids {
		if keep(i) {
			kept = append(kept, id)
		}
	}
	return kept
}

func trues(all []bool) int {
	n := 0
	for _, one := range all {
		if one {
			n++
		}
	}
	return n
}
