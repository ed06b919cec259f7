package beanstalkd

import (
	"context"
	"sync/atomic"

	"github.com/goferhq/queue/backend"
)

// Remove deletes ready and scheduled jobs; see [backend.Remover]. It goes over
// the IDs of all jobs of each server, as Peek does, until it has seen every job
// of the queue. One that is reserved meanwhile runs.
func (b *Backend) Remove(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
	match, err := backend.MatchAny(filters)
	if err != nil {
		return 0, err
	}
	return b.removeThose(ctx, queue, func(held *stored) bool { return held.malformed == nil && match(&held.message) })
}

// Purge deletes the ready and scheduled jobs of a queue; see [backend.Purger].
func (b *Backend) Purge(ctx context.Context, queue string) (int, error) {
	return b.removeThose(ctx, queue, func(*stored) bool { return true })
}

// removeThose deletes the ready and scheduled jobs that f takes, and returns how
// many there were. A job whose burial has not been completed belongs to the
// dead, which stay.
func (b *Backend) removeThose(ctx context.Context, queue string, f func(*stored) bool) (int, error) {
	if err := checkQueue(queue); err != nil {
		return 0, err
	}
	if err := b.usable(ctx); err != nil {
		return 0, err
	}
	var total atomic.Int64
	err := b.onAll(ctx, func(_ int, s *server) error {
		w := walk{server: s, tube: queue, states: []backend.State{backend.Ready, backend.Scheduled}, sure: true}
		return w.run(ctx, func(jobs []walked, _ bool) (bool, error) {
			n, err := s.removeSome(ctx, queue, jobs, f)
			total.Add(int64(n))
			return true, err
		})
	})
	return int(total.Load()), err
}

// removeSome deletes those of jobs that f takes, and marks those that it has
// deleted.
func (s *server) removeSome(ctx context.Context, queue string, jobs []walked, f func(*stored) bool) (int, error) {
	bodies, err := s.bodies(ctx, idsOf(jobs))
	if err != nil {
		return 0, err
	}
	var taken []uint64
	var places []int
	for i, body := range bodies {
		if body == nil {
			continue
		}
		held := s.decode(queue, jobs[i], body)
		if beingBuried(&held, jobs[i].stats) || !f(&held) {
			continue
		}
		taken, places = append(taken, jobs[i].id), append(places, i)
	}
	deleted, err := s.remove(ctx, taken)
	for i, ok := range deleted {
		jobs[places[i]].gone = ok
	}
	return trues(deleted), err
}

// beingBuried reports whether a job that is not buried is on its way there, and
// not one that was buried and has been made ready by a kick.
func beingBuried(held *stored, stats jobStats) bool {
	return held.failure != nil && stats.buries == 0
}
