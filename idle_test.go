package queue_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
)

// century is so long that a timer which fired every minute of it would keep
// the test busy for minutes.
const century = 100 * 365 * 24 * time.Hour

// expectQuiet checks that the broker is not called for a century. That no
// timer fires either is what quickBubble finds out.
func (r *rig) expectQuiet() {
	r.t.Helper()
	synctest.Wait()
	before := len(r.spy.of(""))
	time.Sleep(century)
	synctest.Wait()
	if calls := r.spy.of("")[before:]; len(calls) > 0 {
		r.t.Errorf("an idle century had %d calls of the broker, the first %+v", len(calls), calls[0])
	}
}

// quickBubble is a bubble that may take but a moment of real time, whatever
// it takes of its own: nothing in it is busy while it waits.
func quickBubble(t *testing.T, f func(t *testing.T)) {
	start := time.Now()
	bubble(t, f)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v of real time: something wakes up again and again", took)
	}
}

func TestNothingWakesUpWhileThereIsNothingToDo(t *testing.T) {
	quickBubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(100))
		running := r.start()
		r.expectQuiet()
		if n := len(r.spy.of("")); n != 1 {
			t.Errorf("a worker that never had a job made %d calls, want 1", n)
		}
		running.mustStop()
	})
}

func TestNothingWakesUpAfterTheWorkIsDone(t *testing.T) {
	quickBubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		r.handle("long", func(context.Context, *queue.Job[int]) error { time.Sleep(time.Hour); return nil })
		running := r.start()
		r.enqueueAll("noop", 500)
		r.enqueue("long", 0, queue.Timeout(2*time.Hour))
		r.enqueue("noop", 0, queue.Track(), queue.Unique(time.Minute))
		time.Sleep(2 * time.Hour)
		r.expectStats(0, 0, 0, 0)
		r.expectQuiet()
		r.enqueue("noop", 0) // it still listens
		synctest.Wait()
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestALeaseTimerFiresAtMostOnceAfterTheLastJob(t *testing.T) {
	quickBubble(t, func(t *testing.T) {
		r := newRig(t, queue.Lease(3*time.Second))
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		running := r.start()
		r.enqueueAll("noop", 100)
		r.expectQuiet()
		if n := len(r.spy.of("Extend")); n > 0 {
			t.Errorf("jobs that took no time were extended %d times", n)
		}
		running.mustStop()
	})
}

func TestAJobThatIsDueInDaysWakesNobodyBefore(t *testing.T) {
	quickBubble(t, func(t *testing.T) {
		r := newRig(t)
		const days = 1000 * 24 * time.Hour
		start := time.Now()
		ran := make(chan time.Duration, 1)
		r.handle("late", func(context.Context, *queue.Job[int]) error { ran <- time.Since(start); return nil })
		running := r.start()
		r.enqueue("late", 0, queue.In(days))
		synctest.Wait()
		before := len(r.spy.of(""))
		if after := <-ran; after != days {
			t.Errorf("the job ran after %v, want %v", after, days)
		}
		synctest.Wait()
		if calls := r.spy.of("")[before:]; len(calls) != 2 { // the next Reserve, and the Ack
			t.Errorf("a job that was waited for made the calls %+v", calls)
		}
		running.mustStop()
	})
}
