package queue_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend/memory"
)

func TestOneCallExtendsEverythingInFlightEachThirdOfTheLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// Two jobs run, three are prefetched, one is being settled.
		r := newRig(t, queue.Workers(2), queue.Prefetch(3), queue.Lease(30*time.Second))
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		r.handle("long", func(context.Context, *queue.Job[int]) error { time.Sleep(100 * time.Second); return nil })
		start := time.Now()
		open := r.spy.gate("Ack")
		settling := r.enqueue("noop", 0)
		long := r.enqueueAll("long", 5)
		running := r.start()
		time.Sleep(95 * time.Second)
		extends := r.spy.of("Extend")
		if len(extends) != 9 {
			t.Fatalf("in 95s of 30s leases there were %d calls, want one each 10s", len(extends))
		}
		for i, c := range extends {
			if at := c.at.Sub(start); at != time.Duration(i+1)*10*time.Second {
				t.Errorf("call %d came after %v", i, at)
			}
			for _, id := range append([]string{settling}, long...) {
				if !slices.Contains(c.ids, id) {
					t.Errorf("call %d extends %d jobs and not all that are in flight", i, c.size)
				}
			}
		}
		open()
		time.Sleep(10 * time.Minute)
		r.expectStats(0, 0, 0, 0)
		if n := len(r.spy.of("Extend")); n > 40 {
			t.Errorf("there were %d calls, so some after the last job", n)
		}
		running.mustStop()
	})
}

func TestAJobThatOutlivesManyLeasesRunsOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Lease(time.Second))
		var runs atomic.Int64
		r.handle("long", func(ctx context.Context, _ *queue.Job[int]) error {
			runs.Add(1)
			time.Sleep(time.Hour)
			return context.Cause(ctx)
		})
		r.enqueue("long", 0)
		running := r.start()
		synctest.Wait()
		other := newRigOn(t, r.broker)
		other.handle("long", func(context.Context, *queue.Job[int]) error { t.Error("it was given to another"); return nil })
		elsewhere := other.start()
		time.Sleep(2 * time.Hour)
		if runs.Load() != 1 {
			t.Errorf("the job ran %d times", runs.Load())
		}
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
		elsewhere.mustStop()
	})
}

// A process that SIGSTOP has stopped for two minutes sends nothing for as long.
func TestAPausedProcessLosesItsLeaseAndItsLateAckIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Lease(30*time.Second))
		causes := make(chan error, 1)
		r.handle("job", func(ctx context.Context, _ *queue.Job[int]) error {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return nil
		})
		var attempt, runs atomic.Int64
		other := newRigOn(t, r.broker)
		other.handle("job", func(_ context.Context, job *queue.Job[int]) error {
			runs.Add(1)
			attempt.Store(int64(job.Attempt))
			time.Sleep(5 * time.Minute)
			return nil
		})
		r.enqueue("job", 0)
		r.spy.before(func(_ context.Context, c call) error {
			if c.verb == "Extend" {
				time.Sleep(2 * time.Minute) // and nothing reaches the broker
			}
			return nil
		})
		running := r.start()
		synctest.Wait()
		elsewhere := other.start()
		if cause := <-causes; cause != queue.ErrLeaseLost {
			t.Errorf("the context ended with cause %v", cause)
		}
		synctest.Wait()
		if n := len(r.logs.with("it will run again")); n != 1 {
			t.Errorf("%d late acks were refused, want 1", n)
		}
		r.expectStats(0, 0, 1, 0) // it still runs elsewhere
		time.Sleep(10 * time.Minute)
		if runs.Load() != 1 || attempt.Load() != 2 {
			t.Errorf("elsewhere there were %d runs, the last was attempt %d", runs.Load(), attempt.Load())
		}
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
		elsewhere.mustStop()
	})
}

func TestExtendFailingForLongerThanTheLeaseEndsTheContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Lease(30*time.Second))
		start := time.Now()
		ended := make(chan time.Duration, 10)
		r.handle("long", func(ctx context.Context, job *queue.Job[int]) error {
			if job.Attempt > 1 {
				return nil
			}
			<-ctx.Done()
			if cause := context.Cause(ctx); cause != queue.ErrLeaseLost {
				t.Errorf("the context ended with cause %v", cause)
			}
			ended <- time.Since(start)
			return ctx.Err()
		})
		r.enqueue("long", 0)
		r.spy.fail("Extend", queue.ErrUnavailable)
		running := r.start()
		if after := <-ended; after < 27*time.Second || after > 30*time.Second {
			t.Errorf("the context ended after %v of a lease of 30s", after)
		}
		if n := len(r.spy.of("Extend")); n < 3 || n > 9 {
			t.Errorf("Extend was tried %d times", n)
		}
		running.mustStop()
	})
}

func TestExtendThatHangsEndsTheContextWithTheLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Lease(30*time.Second))
		start := time.Now()
		ended := make(chan time.Duration, 10)
		r.handle("long", func(ctx context.Context, _ *queue.Job[int]) error {
			<-ctx.Done()
			ended <- time.Since(start)
			return ctx.Err()
		})
		r.enqueue("long", 0)
		r.spy.gate("Extend")
		running := r.start()
		if after := <-ended; after > 30*time.Second {
			t.Errorf("the context ended after %v of a lease of 30s", after)
		}
		running.stop()
		synctest.Wait()
	})
}

func TestExtendFailingForAMomentDoesNoHarm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Lease(30*time.Second))
		var runs atomic.Int64
		r.handle("long", func(ctx context.Context, _ *queue.Job[int]) error {
			runs.Add(1)
			time.Sleep(10 * time.Minute)
			return context.Cause(ctx)
		})
		r.enqueue("long", 0)
		start := time.Now()
		r.spy.before(func(_ context.Context, c call) error {
			if c.verb == "Extend" && int(time.Since(start).Seconds())%40 < 16 {
				return queue.ErrUnavailable
			}
			return nil
		})
		running := r.start()
		time.Sleep(time.Hour)
		r.expectStats(0, 0, 0, 0)
		if runs.Load() != 1 {
			t.Errorf("the job ran %d times", runs.Load())
		}
		running.mustStop()
	})
}

func TestOneLostLeaseLeavesTheOthersAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Lease(30*time.Second))
		causes := make(chan error, 10)
		r.handle("long", func(ctx context.Context, job *queue.Job[int]) error {
			if job.Args != 0 || job.Attempt > 1 {
				time.Sleep(time.Hour)
				return context.Cause(ctx)
			}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return errors.New("never counted")
		})
		ids := r.enqueueAll("long", 5)
		var lost atomic.Bool
		r.spy.replies(func(_ context.Context, c call, err error) error {
			if c.verb != "Extend" || lost.Swap(true) {
				return err
			}
			errs := make([]error, c.size)
			errs[slices.Index(c.ids, ids[0])] = queue.ErrLeaseLost
			return &queue.BatchError{Errs: errs}
		})
		running := r.start()
		if cause := <-causes; cause != queue.ErrLeaseLost {
			t.Errorf("the context ended with cause %v", cause)
		}
		time.Sleep(3 * time.Hour)
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestAPrefetchedJobWhoseLeaseIsLostIsNotBegun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(1), queue.Prefetch(1), queue.Lease(30*time.Second))
		r.handle("long", func(_ context.Context, job *queue.Job[int]) error {
			if job.Args == 1 {
				t.Errorf("attempt %d began here", job.Attempt)
			}
			time.Sleep(time.Minute + time.Second)
			return nil
		})
		r.enqueueAll("long", 2)
		r.spy.fail("Extend", queue.ErrUnavailable)
		running := r.start()
		synctest.Wait()
		other := newRigOn(t, r.broker)
		var runs atomic.Int64
		other.handle("long", func(context.Context, *queue.Job[int]) error { runs.Add(1); time.Sleep(time.Hour); return nil })
		elsewhere := other.start()
		time.Sleep(3 * time.Hour)
		if runs.Load() != 2 {
			t.Errorf("%d jobs ran elsewhere, want 2", runs.Load())
		}
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
		elsewhere.mustStop()
	})
}

func TestABackendWithoutLeasesIsNotExtended(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		// The broker of this test has leases after all, of a year.
		r.open(leaseless{r.spy}, queue.Lease(365*24*time.Hour))
		r.handle("long", func(ctx context.Context, _ *queue.Job[int]) error {
			time.Sleep(30 * 24 * time.Hour)
			return context.Cause(ctx)
		})
		r.handle("fail", func(_ context.Context, job *queue.Job[int]) error {
			if job.Attempt < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		r.enqueue("long", 0)
		r.enqueue("fail", 0)
		running := r.start()
		time.Sleep(40 * 24 * time.Hour)
		r.expectStats(0, 0, 0, 0)
		if n := len(r.spy.of("Extend")); n != 0 {
			t.Errorf("Extend was called %d times", n)
		}
		running.mustStop()
	})
}

func TestTheLeaseIsWhatLeaseSays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		broker := memory.NewBroker()
		dying := newRigOn(t, broker, queue.Lease(7*time.Second), queue.Workers(1), queue.Prefetch(0))
		dying.handle("job", func(ctx context.Context, _ *queue.Job[int]) error { <-ctx.Done(); return nil })
		dying.enqueue("job", 0)
		start, running := time.Now(), dying.start()
		synctest.Wait()
		dying.spy.die()
		other := newRigOn(t, broker)
		ran := make(chan time.Duration, 1)
		other.handle("job", func(context.Context, *queue.Job[int]) error { ran <- time.Since(start); return nil })
		elsewhere := other.start()
		if after := <-ran; after != 7*time.Second {
			t.Errorf("the job of a dead process ran elsewhere after %v, want 7s", after)
		}
		running.mustStop()
		elsewhere.mustStop()
	})
}
