package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

// gate makes every call of a verb wait until the returned function is called.
func (s *spy) gate(verb string) (open func()) {
	gate := make(chan struct{})
	s.before(func(ctx context.Context, c call) error {
		if c.verb != verb {
			return nil
		}
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return func() { close(gate) }
}

// fail makes every call of a verb fail, without effect, until before is
// called again.
func (s *spy) fail(verb string, err error) {
	s.before(func(_ context.Context, c call) error {
		if c.verb == verb {
			return err
		}
		return nil
	})
}

func TestALoneSettleGoesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		start, running := time.Now(), r.start()
		r.enqueue("noop", 0)
		synctest.Wait()
		if acks := r.spy.of("Ack"); len(acks) != 1 || !acks[0].at.Equal(start) {
			t.Errorf("the job was acked by %+v, want one call at once", acks)
		}
		running.mustStop()
	})
}

func TestSettlesGatherWhileACallIsInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(4), queue.Prefetch(4))
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		start := time.Now()
		open := r.spy.gate("Ack")
		running := r.start()
		r.enqueue("noop", 0)
		synctest.Wait() // its ack is in flight
		r.enqueueAll("noop", 500)
		synctest.Wait()
		open()
		synctest.Wait()
		if sizes := r.spy.sizes("Ack"); !slices.Equal(sizes, []int{1, 500}) {
			t.Errorf("acks went in batches of %v, want 1 and 500", sizes)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("gathering took %v: there is a timer", took)
		}
		running.mustStop()
		r.expectStats(0, 0, 0, 0)
	})
}

func TestOneBatchMakesOneCallForEachVerbAndDelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(50))
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		verdicts := []error{
			nil, queue.Cancel(nil), queue.RetryIn(time.Hour, nil), queue.RetryIn(2*time.Hour, nil),
			queue.Bury(nil), queue.Snooze(time.Hour), queue.Snooze(2 * time.Hour),
		}
		r.handle("all", func(_ context.Context, job *queue.Job[int]) error { return verdicts[job.Args] })
		open := r.spy.gate("Ack")
		running := r.start()
		r.enqueue("noop", 0)
		synctest.Wait()
		for range 5 {
			r.enqueueAll("all", len(verdicts))
		}
		synctest.Wait()
		open()
		synctest.Wait()
		for verb, want := range map[string][]int{"Ack": {1, 10}, "Retry": {10}, "Bury": {5}, "Release": {5, 5}} {
			if sizes := r.spy.sizes(verb); !slices.Equal(sizes, want) {
				t.Errorf("%s was called for %v, want %v", verb, sizes, want)
			}
		}
		r.expectStats(0, 20, 0, 5)
		running.mustStop()
	})
}

func TestSettlingIsRetriedWhileTheBrokerIsUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		var runs atomic.Int64
		r.handle("noop", func(context.Context, *queue.Job[int]) error { runs.Add(1); return nil })
		r.enqueue("noop", 0)
		r.spy.fail("Ack", queue.ErrUnavailable)
		running := r.start()
		time.Sleep(5 * time.Minute) // ten leases: they go on while it is settled
		calls := r.spy.of("Ack")
		for i := 1; i < len(calls); i++ {
			pause := calls[i].at.Sub(calls[i-1].at)
			most := min(50*time.Millisecond<<min(i-1, 10), 2*time.Second)
			if pause < most/2 || pause > most {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, most/2, most)
			}
		}
		r.spy.before(nil)
		time.Sleep(2 * time.Second)
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
		if runs.Load() != 1 {
			t.Errorf("the job ran %d times", runs.Load())
		}
	})
}

func TestOnlyWhatFailedOfABatchIsSettledAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		r.enqueueAll("noop", 10)
		var failing atomic.Bool
		failing.Store(true)
		r.spy.replies(func(_ context.Context, c call, err error) error {
			if c.verb == "Ack" && failing.Load() {
				errs := make([]error, c.size)
				errs[c.size-1] = queue.ErrUnavailable
				return backend.NewBatchError(errs)
			}
			return err
		})
		running := r.start()
		synctest.Wait()
		failing.Store(false)
		last := len(r.spy.of("Ack")) - 1
		time.Sleep(time.Second)
		again := r.spy.of("Ack")[last+1:]
		if len(again) == 0 || again[0].size != 1 && last == 0 {
			t.Errorf("settled again: %+v", again)
		}
		running.mustStop()
	})
}

func TestSettlingIsGivenUpWhenTheLeaseHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Lease(30*time.Second))
		var runs atomic.Int64
		r.handle("noop", func(context.Context, *queue.Job[int]) error { runs.Add(1); return nil })
		r.enqueue("noop", 0)
		down := func(_ context.Context, c call) error {
			if isSettle(c.verb) || c.verb == "Extend" {
				return queue.ErrUnavailable
			}
			return nil
		}
		r.spy.before(down)
		running := r.start()
		time.Sleep(29 * time.Second)
		if n := len(r.logs.with("it will run again")); n != 0 || runs.Load() != 1 {
			t.Errorf("before the end of the lease it was given up %d times after %d runs", n, runs.Load())
		}
		time.Sleep(3500 * time.Millisecond)
		if n := len(r.logs.with("it will run again")); n != 1 {
			t.Errorf("at the end of the lease it was given up %d times", n)
		}
		r.spy.before(nil)
		time.Sleep(time.Minute)
		r.expectStats(0, 0, 0, 0)
		if runs.Load() != 2 {
			t.Errorf("the job ran %d times, want 2", runs.Load())
		}
		running.mustStop()
	})
}

func TestASettleThatHangsIsCutOffAndTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		var runs atomic.Int64
		r.handle("noop", func(context.Context, *queue.Job[int]) error { runs.Add(1); return nil })
		r.enqueue("noop", 0)
		first := true
		r.spy.before(func(ctx context.Context, c call) error {
			if c.verb == "Ack" && first {
				first = false
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		running := r.start()
		time.Sleep(time.Minute)
		r.expectStats(0, 0, 0, 0)
		if runs.Load() != 1 {
			t.Errorf("the job ran %d times", runs.Load())
		}
		running.mustStop()
	})
}

func TestALostReplyToAnAckDoesNoHarm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		var runs atomic.Int64
		r.handle("noop", func(context.Context, *queue.Job[int]) error { runs.Add(1); return nil })
		r.enqueue("noop", 0)
		r.spy.replies(func(_ context.Context, c call, err error) error {
			if c.verb == "Ack" && err == nil {
				return errors.New("connection reset")
			}
			return err
		})
		running := r.start()
		time.Sleep(time.Hour)
		r.expectStats(0, 0, 0, 0)
		if n := len(r.spy.of("Ack")); runs.Load() != 1 || n != 2 {
			t.Errorf("%d runs, %d acks; want 1 and 2", runs.Load(), n)
		}
		running.mustStop()
	})
}

func TestARetryThatTheBrokerRefusesForGoodBuriesTheJob(t *testing.T) {
	for _, refusal := range []error{queue.ErrTooLarge, queue.ErrInvalid, queue.ErrUnsupported} {
		t.Run(refusal.Error(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				r.handle("fail", func(context.Context, *queue.Job[int]) error { return errors.New("no") })
				r.enqueue("fail", 0)
				r.spy.fail("Retry", refusal)
				running := r.start()
				synctest.Wait()
				r.expectBuried(refusal.Error())
				if n := len(r.spy.of("Retry")); n != 1 {
					t.Errorf("the refused Retry was called %d times", n)
				}
				running.mustStop()
			})
		})
	}
}

func TestARefusedBurialLeavesTheJobToItsLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("bury", func(context.Context, *queue.Job[int]) error { return queue.Bury(nil) })
		r.enqueue("bury", 0)
		r.spy.fail("Bury", queue.ErrTooLarge)
		running := r.start()
		time.Sleep(time.Second)
		if n := len(r.spy.of("Bury")); n != 1 || len(r.logs.with("it will run again")) != 1 {
			t.Errorf("the refused Bury was called %d times", n)
		}
		r.expectStats(0, 0, 1, 0)
		r.spy.before(nil)
		time.Sleep(time.Minute)
		r.expectStats(0, 0, 0, 1)
		running.mustStop()
	})
}

func TestAJobWhoseContextHasEndedIsSettledLikeAnyOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("slow", func(ctx context.Context, _ *queue.Job[int]) error { <-ctx.Done(); return nil }, queue.Timeout(time.Second))
		r.enqueue("slow", 0)
		r.spy.before(func(ctx context.Context, c call) error {
			if c.verb == "Ack" && ctx.Err() != nil {
				t.Error("the ack has the job's context")
			}
			return nil
		})
		running := r.start()
		time.Sleep(2 * time.Second)
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestWorkersWaitWhenAThousandSettlesArePending(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(10))
		runs := new(tally)
		r.handle("noop", func(context.Context, *queue.Job[int]) error { runs.add("run"); return nil })
		r.enqueueAll("noop", 3000)
		open := r.spy.gate("Ack")
		running := r.start()
		synctest.Wait()
		inFlight := r.spy.sizes("Ack")[0]
		if n := runs.all()["run"] - inFlight; n < 1000 || n > 1010 {
			t.Errorf("%d jobs ran while %d were being acked, want 1,000 and those of 10 workers", n, inFlight)
		}
		open()
		synctest.Wait()
		r.expectStats(0, 0, 0, 0)
		runs.expect(t, map[string]int{"run": 3000})
		running.mustStop()
	})
}

func TestPendingSettlesDoNotHoldUpTheEnd(t *testing.T) {
	for _, verb := range []string{"Ack", "Retry", "Bury"} {
		t.Run(verb, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, queue.Workers(10), queue.Shutdown(5*time.Second))
				result := map[string]error{"Retry": errors.New("no"), "Bury": queue.Bury(nil)}[verb]
				r.handle("end", func(context.Context, *queue.Job[int]) error { return result })
				r.enqueueAll("end", 3000)
				r.spy.gate(verb)
				running := r.start()
				synctest.Wait()
				if took, err := running.stop(); err != nil || took > 6*time.Second {
					t.Errorf("Run ended with %v after %v", err, took)
				}
				time.Sleep(time.Minute) // the leases end
				if s := r.stats(); s.Ready != 3000 {
					t.Errorf("of 3000 jobs that could not be settled the broker has %+v", s)
				}
			})
		})
	}
}

func TestAJobThatCannotBeSettledHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// A Redis without memory refuses to store a retry, and takes acks.
		r := newRig(t)
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		r.handle("fail", func(context.Context, *queue.Job[int]) error { return errors.New("no") },
			queue.Retry(retry.Fixed(time.Hour)))
		r.spy.fail("Retry", fmt.Errorf("%w: OOM command not allowed", queue.ErrUnavailable))
		running := r.start()
		r.enqueue("fail", 0)
		synctest.Wait()
		r.enqueueAll("noop", 2000)
		time.Sleep(100 * time.Millisecond)
		r.expectStats(0, 0, 1, 0)
		r.spy.before(nil)
		time.Sleep(3 * time.Second)
		r.expectStats(0, 1, 0, 0)
		running.mustStop()
	})
}
