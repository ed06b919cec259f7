package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/goferhq/queue/backend"
)

// fetch reserves jobs whenever enough of the capacity is free, until ctx ends
// or the broker refuses for good.
func (w *worker) fetch(ctx context.Context) error {
	pause := backoff{least: 100 * time.Millisecond, most: 5 * time.Second}
	for {
		free := w.awaitRoom(ctx)
		if free == 0 {
			return nil
		}
		deliveries, err := w.queue.backend.Reserve(ctx, w.turn(), free, w.queue.config.lease)
		w.accept(deliveries)
		switch {
		case len(deliveries) > 0:
			pause.reset()
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrInvalid), errors.Is(err, ErrUnsupported), errors.Is(err, ErrClosed):
			return fmt.Errorf("queue: reserve: %w", err)
		default: // a driver that returned neither jobs nor an error must not spin
			wait := pause.next()
			w.queue.logger.WarnContext(ctx, "queue: cannot reserve jobs", "error", err, "next_try_in", wait)
			sleep(ctx, wait)
		}
	}
}

// turn returns the queues in the order of their priority, or, where nobody has
// set one, so that each comes first in turn.
func (w *worker) turn() []string {
	if len(w.queue.config.queues) == 0 && len(w.queues) > 1 {
		w.queues = append(w.queues[1:len(w.queues):len(w.queues)], w.queues[0])
	}
	return w.queues
}

// awaitRoom waits until enough capacity is free and returns how much there
// is, or 0 when ctx has ended.
func (w *worker) awaitRoom(ctx context.Context) int {
	for ctx.Err() == nil {
		w.mu.Lock()
		free, enough := w.free()
		w.hungry = !enough
		w.mu.Unlock()
		if enough {
			return free
		}
		select {
		case <-w.room:
		case <-ctx.Done():
		}
	}
	return 0
}

// free returns how many jobs may be reserved, and whether that is worth a
// call. The caller holds mu.
func (w *worker) free() (jobs int, enough bool) {
	jobs = w.slots + w.prefetch - w.held
	return jobs, jobs >= max(w.prefetch/2, 1)
}

const (
	// longestPrefetch is how far the default prefetch grows: no batch much
	// larger makes a job cheaper.
	longestPrefetch = 64

	// shortRound and longRound are how long as many jobs as may be held may
	// last for the default to grow, and above which it shrinks: what waits
	// here waits for some milliseconds that it might have run elsewhere.
	shortRound = 10 * time.Millisecond
	longRound  = 40 * time.Millisecond
)

// adapt lets the default prefetch grow while jobs are short, so that the calls
// to the broker are fewer, and shrink to the number of slots when they are not.
// It is told of every Reserve that got any. The caller holds mu.
func (w *worker) adapt(reserved int) {
	if w.queue.config.prefetchSet || w.slots >= longestPrefetch {
		return
	}
	if w.round += reserved; w.round < w.slots+w.prefetch {
		return
	}
	now := time.Now()
	lasted := now.Sub(w.roundBegan)
	w.round, w.roundBegan = 0, now
	switch {
	case lasted < shortRound:
		w.prefetch = min(2*w.prefetch, longestPrefetch)
	case lasted > longRound:
		w.prefetch = max(w.prefetch/2, w.slots)
	}
}

func (w *worker) accept(deliveries []*backend.Delivery) {
	if len(deliveries) == 0 {
		return
	}
	w.mu.Lock()
	w.held += len(deliveries)
	w.adapt(len(deliveries))
	w.mu.Unlock()
	attempts := make([]attempt, len(deliveries)) // one allocation for all
	for i, d := range deliveries {
		attempts[i].delivery = d
	}
	w.leases.add(attempts)
	for i := range attempts {
		w.ready <- &attempts[i]
	}
}

// releaseRoom gives back the capacity that a job has taken.
func (w *worker) releaseRoom() {
	w.mu.Lock()
	w.held--
	_, enough := w.free()
	wake := w.hungry && enough
	if wake {
		w.hungry = false
	}
	w.mu.Unlock()
	if wake {
		w.room <- struct{}{}
	}
}

// backoff is a pause that doubles, with jitter.
type backoff struct{ least, most, current time.Duration }

func (b *backoff) reset() { b.current = 0 }

func (b *backoff) next() time.Duration {
	b.current = min(max(2*b.current, b.least), b.most)
	return b.current/2 + rand.N(b.current/2+1)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
