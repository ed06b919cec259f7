package queue_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

func TestFetchAsksForFreeSlotsAndPrefetchAndThenBlocks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(3), queue.Prefetch(5))
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		running := r.start()
		time.Sleep(time.Hour)
		if sizes := r.spy.sizes("Reserve"); !slices.Equal(sizes, []int{8}) {
			t.Errorf("with nothing to do Reserve was called for %v jobs, want one call for 8", sizes)
		}
		running.mustStop()
	})
}

func TestFetchAsksForNoMoreThanThereIsRoomFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(2), queue.Prefetch(2))
		next := make(chan bool)
		r.handle("wait", func(context.Context, *queue.Job[int]) error { <-next; return nil })
		r.enqueueAll("wait", 10)
		running := r.start()
		synctest.Wait()
		if sizes := r.spy.sizes("Reserve"); !slices.Equal(sizes, []int{4}) {
			t.Errorf("Reserve was called for %v jobs, want one call for 4", sizes)
		}
		r.expectStats(6, 0, 4, 0)
		for range 10 {
			next <- true
			synctest.Wait()
			if s := r.stats(); s.Reserved > 4 {
				t.Errorf("%d jobs are reserved, there is room for 4", s.Reserved)
			}
		}
		running.mustStop()
		r.expectStats(0, 0, 0, 0)
	})
}

func TestPrefetchOfZeroReservesOnlyForFreeWorkers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(2), queue.Prefetch(0))
		next := make(chan bool)
		r.handle("wait", func(context.Context, *queue.Job[int]) error { <-next; return nil })
		r.enqueueAll("wait", 5)
		running := r.start()
		synctest.Wait()
		r.expectStats(3, 0, 2, 0)
		next <- true
		synctest.Wait()
		r.expectStats(2, 0, 2, 0)
		close(next)
		synctest.Wait()
		running.mustStop()
		r.expectStats(0, 0, 0, 0)
	})
}

func TestAsManyHandlersRunAtATimeAsThereAreWorkers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(3))
		var mu sync.Mutex
		now, most := 0, 0
		r.handle("sleep", func(context.Context, *queue.Job[int]) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		})
		r.enqueueAll("sleep", 30)
		start := time.Now()
		running := r.start()
		if err := r.spy.Idle(t.Context(), queue.DefaultQueue); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); most != 3 || took != 10*time.Second {
			t.Errorf("30 jobs of a second took %v with %d at a time, want 10s with 3", took, most)
		}
		running.mustStop()
	})
}

func TestLaterQueuesWaitUntilEarlierOnesAreEmpty(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(1), queue.Prefetch(0), queue.Queues("high", "low"))
		var order []int
		r.handle("note", func(_ context.Context, job *queue.Job[int]) error {
			order = append(order, job.Args)
			if job.Args == 1 {
				r.enqueue("note", 2, queue.On("high"))
			}
			return nil
		})
		r.enqueue("note", 3, queue.On("low"))
		r.enqueue("note", 4, queue.On("low"))
		r.enqueue("note", 1, queue.On("high"))
		running := r.start()
		synctest.Wait()
		running.mustStop()
		if !slices.Equal(order, []int{1, 2, 3, 4}) {
			t.Errorf("jobs ran in the order %v", order)
		}
	})
}

// backlog enqueues 200 jobs of a second each to one queue, and a second later
// one to another; it returns how long that one waits.
func backlog(t *testing.T, long, short string, options ...queue.OpenOption) (waited time.Duration) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, options...)
		note := func(_ context.Context, job *queue.Job[time.Time]) error {
			if !job.Args.IsZero() {
				waited = time.Since(job.Args)
			}
			time.Sleep(time.Second)
			return nil
		}
		for _, name := range []string{queue.DefaultQueue, "bulk", "zeal"} {
			queue.RegisterFuncOn(r.mux, "to_"+name, note, queue.On(name))
		}
		requests := make([]queue.Request, 200)
		for i := range requests {
			requests[i] = queue.Request{Kind: "to_" + long, Args: time.Time{}}
		}
		_, err := r.queue.EnqueueMany(t.Context(), requests...)
		must(t, err)
		running := r.start()
		time.Sleep(time.Second)
		_, err = r.queue.Enqueue(t.Context(), "to_"+short, time.Now())
		must(t, err)
		time.Sleep(time.Hour)
		running.mustStop()
		r.expectStats(0, 0, 0, 0)
	})
	return waited
}

func TestWithoutQueuesNoQueueStarvesAnother(t *testing.T) {
	for _, test := range []struct{ long, short string }{
		{"bulk", "default"}, {"default", "bulk"}, {"zeal", "default"}, {"default", "zeal"}, {"bulk", "zeal"},
	} {
		waited := backlog(t, test.long, test.short, queue.Workers(2))
		if waited == 0 || waited > 10*time.Second {
			t.Errorf("behind the backlog in %s, the job in %s waited %v of 100s", test.long, test.short, waited)
		}
	}
}

func TestWithQueuesTheirOrderIsStrict(t *testing.T) {
	options := []queue.OpenOption{queue.Workers(2), queue.Prefetch(0), queue.Queues("bulk", "default", "zeal")}
	for _, test := range []struct {
		long, short string
		want        time.Duration
	}{
		{"bulk", "default", 99 * time.Second}, {"default", "bulk", 0}, {"default", "zeal", 99 * time.Second},
	} {
		if waited := backlog(t, test.long, test.short, options...); (waited - test.want).Abs() > time.Second {
			t.Errorf("behind the backlog in %s, the job in %s waited %v, want %v", test.long, test.short, waited, test.want)
		}
	}
}

func TestAJobsContextHasTheValuesOfRunAndNotItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		r.handle("look", func(ctx context.Context, _ *queue.Job[int]) error {
			if ctx.Value(key{}) != "value" {
				t.Error("the value of Run's context is missing")
			}
			cancel()
			time.Sleep(time.Second)
			return ctx.Err()
		})
		r.enqueue("look", 0)
		if err := r.queue.Run(ctx); err != nil {
			t.Errorf("Run ended with %v", err)
		}
		r.expectStats(0, 0, 0, 0)
	})
}

func TestAFailedJobRunsAgainAfterItsDelayAndCountsUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		start := time.Now()
		type begun struct {
			attempt int
			after   time.Duration
		}
		var runs []begun
		r.handle("fail", func(_ context.Context, job *queue.Job[int]) error {
			runs = append(runs, begun{job.Attempt, time.Since(start)})
			if job.Attempt < 4 {
				return errors.New("not yet")
			}
			return nil
		}, queue.Retry(retry.List(time.Second, time.Minute, time.Hour)))
		r.enqueue("fail", 0)
		running := r.start()
		time.Sleep(2 * time.Hour)
		running.mustStop()
		want := []begun{{1, 0}, {2, time.Second}, {3, 61 * time.Second}, {4, 3661 * time.Second}}
		if !slices.Equal(runs, want) {
			t.Errorf("the attempts began at %v, want %v", runs, want)
		}
		r.expectStats(0, 0, 0, 0)
	})
}

func TestAJobWithoutAttemptsLeftIsBuriedWithItsError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		var runs atomic.Int64
		r.handle("fail", func(context.Context, *queue.Job[int]) error { runs.Add(1); return errors.New("disk on fire") })
		r.enqueue("fail", 7, queue.MaxAttempts(3))
		running := r.start()
		time.Sleep(time.Hour)
		running.mustStop()
		dead := r.expectBuried("disk on fire")
		if runs.Load() != 3 || dead.Attempt != 3 || string(dead.Args) != "7" {
			t.Errorf("after %d runs attempt %d with args %s was buried", runs.Load(), dead.Attempt, dead.Args)
		}
	})
}

func TestSnoozeSpendsNoAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		start := time.Now()
		var runs atomic.Int64
		r.handle("snooze", func(_ context.Context, job *queue.Job[int]) error {
			n := runs.Add(1)
			if job.Attempt != 1 {
				t.Errorf("run %d is attempt %d", n, job.Attempt)
			}
			if n <= 10 { // more than a crash loop would survive
				return queue.Snooze(time.Minute)
			}
			return nil
		}, queue.MaxAttempts(1))
		r.enqueue("snooze", 0)
		running := r.start()
		if err := r.spy.Idle(t.Context(), queue.DefaultQueue); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		running.mustStop()
		if runs.Load() != 11 || time.Since(start) < 10*time.Minute {
			t.Errorf("%d runs in %v", runs.Load(), time.Since(start))
		}
		r.expectStats(0, 0, 0, 0)
	})
}

func TestWrappedControlErrorsDecide(t *testing.T) {
	why := errors.New("why")
	wrap := func(err error) error { return errors.Join(errors.New("outer"), err) }
	for name, c := range map[string]struct {
		err                    error
		scheduled, dead, after int64
	}{
		"RetryIn": {wrap(queue.RetryIn(time.Hour, why)), 1, 0, 3600},
		"Snooze":  {wrap(queue.Snooze(time.Minute)), 1, 0, 60},
		"Bury":    {wrap(queue.Bury(why)), 0, 1, 0},
		"Cancel":  {wrap(queue.Cancel(why)), 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				r.handle("decide", func(context.Context, *queue.Job[int]) error { return c.err })
				r.enqueue("decide", 0)
				running := r.start()
				synctest.Wait()
				r.expectStats(0, c.scheduled, 0, c.dead)
				if c.scheduled > 0 {
					due := time.Until(r.only(backend.Scheduled).DueAt)
					if due != time.Duration(c.after)*time.Second {
						t.Errorf("the job is due in %v, want %ds", due, c.after)
					}
				}
				if c.dead > 0 {
					r.expectBuried("why")
				}
				running.mustStop()
			})
		})
	}
}

func TestReserveFailingForAWhileIsRetriedWithGrowingPauses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		ran := make(chan bool, 1)
		r.handle("noop", func(context.Context, *queue.Job[int]) error { ran <- true; return nil })
		r.enqueue("noop", 0)
		r.spy.before(func(_ context.Context, c call) error {
			if c.verb == "Reserve" {
				return queue.ErrUnavailable
			}
			return nil
		})
		running := r.start()
		time.Sleep(time.Minute)
		calls := r.spy.of("Reserve")
		if len(calls) < 12 || len(calls) > 40 {
			t.Errorf("in a minute of failures Reserve was called %d times", len(calls))
		}
		for i := 1; i < len(calls); i++ {
			pause := calls[i].at.Sub(calls[i-1].at)
			most := min(100*time.Millisecond<<min(i-1, 10), 5*time.Second)
			if pause < most/2 || pause > most {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, most/2, most)
			}
		}
		if n := len(r.logs.with("cannot reserve")); n != len(calls) {
			t.Errorf("%d failures were logged, of %d", n, len(calls))
		}
		r.spy.before(nil)
		healed := time.Now()
		<-ran
		if took := time.Since(healed); took > 5*time.Second {
			t.Errorf("the first job ran %v after the broker was back", took)
		}
		running.mustStop()
	})
}

func TestPausesOfReserveDifferBetweenProcesses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		seen := make(map[time.Duration]bool)
		for range 8 {
			r := newRig(t)
			r.spy.before(func(context.Context, call) error { return queue.ErrUnavailable })
			start, running := time.Now(), r.start()
			time.Sleep(10 * time.Second)
			seen[r.spy.of("Reserve")[5].at.Sub(start)] = true
			running.mustStop()
		}
		if len(seen) < 2 {
			t.Error("eight processes pause for exactly the same time: no jitter")
		}
	})
}

func TestABrokerThatRefusesForGoodEndsRun(t *testing.T) {
	for _, refusal := range []error{queue.ErrUnsupported, queue.ErrInvalid, queue.ErrClosed} {
		t.Run(refusal.Error(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				r.spy.before(func(context.Context, call) error { return refusal })
				if err := r.queue.Run(t.Context()); !errors.Is(err, refusal) {
					t.Errorf("Run returned %v", err)
				}
				if n := len(r.spy.of("Reserve")); n != 1 {
					t.Errorf("Reserve was called %d times", n)
				}
			})
		})
	}
}
