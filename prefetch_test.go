package queue_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
)

func TestTheDefaultPrefetchGrowsWhileJobsAreShort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(1))
		r.handle("short", func(context.Context, *queue.Job[int]) error { time.Sleep(10 * time.Microsecond); return nil })
		r.enqueueAll("short", 1000)
		running := r.start()
		time.Sleep(time.Second)
		if most := slices.Max(r.spy.sizes("Reserve")); most < 32 || most > 65 {
			t.Errorf("at most %d jobs were asked for at once, want some dozens, and no more than 65", most)
		}
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestTheDefaultPrefetchIsTheNumberOfWorkersWhileJobsAreLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(2))
		duration := 10 * time.Microsecond
		r.handle("job", func(context.Context, *queue.Job[int]) error { time.Sleep(duration); return nil })
		r.enqueueAll("job", 1000)
		running := r.start()
		time.Sleep(time.Second)

		synctest.Wait()
		duration = time.Second
		r.enqueueAll("job", 1000)
		time.Sleep(5*time.Minute + 500*time.Millisecond) // what was prefetched for short jobs is done
		if held := r.stats().Reserved; held > 4 {
			t.Errorf("%d jobs are reserved, want the 2 that run and at most 2 more", held)
		}
		running.mustStop()
	})
}
