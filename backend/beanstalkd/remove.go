package beanstalkd

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/goferhq/queue/backend"
)

// Remove deletes ready and scheduled jobs; see [backend.Remover]. It goes over
// the IDs of the jobs of each server, as Peek does, until it has seen every job
// of the queue. One that is reserved meanwhile runs.
//
// While others push and take jobs of the queue, it may have to go over all IDs
// that the server has given away before that is certain, unless what it looks
// for are jobs by their ID and it has found each of them. Its context ends it.
func (b *Backend) Remove(ctx context.Context, queue string, filters ...backend.Filter) (int, error) {
	match, err := backend.MatchAny(filters)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	missing := make(map[string]bool) // guarded by mu
	for _, f := range filters {
		missing[f.ID] = true // "" stays there
	}
	sure := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(missing) > 0
	}
	return b.removeThose(ctx, queue, sure, func(held *stored) bool {
		if held.malformed != nil || !match(&held.message) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		delete(missing, held.message.ID)
		return true
	})
}

// Purge deletes the ready and scheduled jobs of a queue; see [backend.Purger].
// What is pushed meanwhile may stay.
func (b *Backend) Purge(ctx context.Context, queue string) (int, error) {
	always := func() bool { return true }
	return b.removeThose(ctx, queue, always, func(*stored) bool { return true })
}

// removeThose deletes the ready and scheduled jobs that f takes, and returns how
// many there were. A job whose burial has not been completed belongs to the
// dead, which stay.
func (b *Backend) removeThose(ctx context.Context, queue string, sure func() bool, f func(*stored) bool) (int, error) {
	if err := checkQueue(queue); err != nil {
		return 0, err
	}
	if err := b.usable(ctx); err != nil {
		return 0, err
	}
	var total atomic.Int64
	err := b.change(ctx, func(_ int, s *server) (acted bool, err error) {
		// Scheduled ones first: they become ready meanwhile, and not the other
		// way round.
		for _, state := range []backend.State{backend.Scheduled, backend.Ready} {
			w := walk{server: s, tube: queue, state: state, sure: sure}
			err := w.run(ctx, func(jobs []walked, _ bool) (bool, error) {
				n, err := s.removeSome(ctx, queue, jobs, f)
				total.Add(int64(n))
				acted = acted || n > 0
				return true, err
			})
			if err != nil {
				return acted, err
			}
		}
		return acted, nil
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
		if held.isUnfinished(jobs[i].stats.pri) || !f(&held) {
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
