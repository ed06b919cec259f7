package queue_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

func TestAHandlerThatIgnoresItsTimeoutIsReportedOnceAndKeepsItsWorker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(1), queue.Prefetch(0))
		finish := make(chan bool)
		var cause atomic.Value
		r.handle("stuck", func(ctx context.Context, _ *queue.Job[int]) error {
			<-finish
			cause.Store(context.Cause(ctx))
			return nil
		}, queue.Timeout(time.Minute))
		r.handle("next", func(context.Context, *queue.Job[int]) error { return nil })
		r.enqueue("stuck", 0)
		r.enqueue("next", 0)
		running := r.start()
		time.Sleep(59 * time.Second)
		if n := len(r.logs.with("stuck")); n != 0 {
			t.Errorf("before its timeout it was reported %d times", n)
		}
		time.Sleep(24 * time.Hour)
		reports := r.logs.with("stuck")
		if len(reports) != 1 || reports[0].Level != slog.LevelError {
			t.Errorf("a day later there are the reports %+v", reports)
		} else if late := reports[0].Time.Sub(time.Now().Add(-24*time.Hour - 59*time.Second)); late > time.Minute+queue.DefaultLease {
			t.Errorf("it was reported after %v", late)
		}
		r.expectStats(1, 0, 1, 0) // the next one still waits: the worker is taken
		close(finish)
		synctest.Wait()
		r.expectStats(0, 0, 0, 0)
		if cause.Load() != queue.ErrTimeout {
			t.Errorf("the context ended with cause %v", cause.Load())
		}
		running.mustStop()
	})
}

func TestAHandlerThatHeedsItsTimeoutFailsWithErrTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("slow", func(ctx context.Context, _ *queue.Job[int]) error { <-ctx.Done(); return ctx.Err() },
			queue.Timeout(time.Minute), queue.MaxAttempts(1))
		r.enqueue("slow", 0)
		running := r.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		r.expectBuried(queue.ErrTimeout.Error())
		if n := len(r.logs.with("stuck")); n != 0 {
			t.Error("it was called stuck")
		}
		running.mustStop()
	})
}

func TestAHandlerMayRunOnForALittleAfterItsTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("slow", func(context.Context, *queue.Job[int]) error { time.Sleep(65 * time.Second); return nil }, queue.Timeout(time.Minute))
		r.enqueue("slow", 0)
		running := r.start()
		time.Sleep(time.Hour)
		if n := len(r.logs.with("stuck")); n != 0 {
			t.Error("it was called stuck")
		}
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestAHandlerThatIgnoresTheLossOfItsLeaseIsReportedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(1), queue.Prefetch(0), queue.Lease(30*time.Second))
		r.handle("stuck", func(context.Context, *queue.Job[int]) error { time.Sleep(time.Hour); return nil }, queue.Timeout(2*time.Hour))
		r.enqueue("stuck", 0)
		r.spy.fail("Extend", queue.ErrUnavailable)
		running := r.start()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := len(r.logs.with("stuck")); n != 0 {
			t.Errorf("with the end of its lease it was reported %d times", n)
		}
		time.Sleep(50 * time.Minute)
		if n := len(r.logs.with("stuck")); n != 1 {
			t.Errorf("50 minutes later it was reported %d times", n)
		}
		r.spy.before(nil)
		time.Sleep(3 * time.Hour)
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestAJobThatTheBrokerDeliversAgainWaitsForItsRunHere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(4), queue.Lease(30*time.Second))
		var now, most, runs, attempt atomic.Int64
		finish := make(chan bool)
		r.handle("stuck", func(_ context.Context, job *queue.Job[int]) error {
			runs.Add(1)
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			attempt.Store(int64(job.Attempt))
			<-finish
			return nil
		})
		r.enqueue("stuck", 0)
		// The broker forgets the lease, and the handler pays no heed.
		r.spy.fail("Extend", queue.ErrUnavailable)
		running := r.start()
		time.Sleep(10 * time.Minute)
		if most.Load() != 1 || runs.Load() != 1 {
			t.Errorf("the job ran %d times, %d at once", runs.Load(), most.Load())
		}
		for _, c := range r.spy.of("Release") {
			if c.delay != 10*time.Second {
				t.Errorf("the second copy was put back for %v", c.delay)
			}
		}
		if n := len(r.spy.of("Release")); n < 10 || n > 60 {
			t.Errorf("the second copy was put back %d times in ten minutes", n)
		}
		r.spy.before(nil)
		close(finish)
		time.Sleep(time.Minute)
		r.expectStats(0, 0, 0, 0)
		if runs.Load() != 2 || attempt.Load() != 2 {
			t.Errorf("there were %d runs, the last was attempt %d, want 2 and 2", runs.Load(), attempt.Load())
		}
		running.mustStop()
	})
}

func TestTheNextRunOfAQueueWaitsForAHandlerThatOutlivedTheFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Shutdown(time.Second))
		var now, most, runs atomic.Int64
		finish := make(chan bool)
		r.handle("stuck", func(context.Context, *queue.Job[int]) error {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			if runs.Add(1) == 1 {
				<-finish
			}
			return nil
		})
		r.enqueue("stuck", 0)
		first := r.start()
		synctest.Wait()
		if _, err := first.stop(); !errors.Is(err, queue.ErrDrainTimeout) {
			t.Errorf("Run ended with %v", err)
		}
		second := r.start()
		time.Sleep(time.Hour)
		if runs.Load() != 1 {
			t.Errorf("the job began %d times", runs.Load())
		}
		close(finish)
		time.Sleep(time.Minute)
		if runs.Load() != 2 || most.Load() != 1 {
			t.Errorf("the job ran %d times, %d at once", runs.Load(), most.Load())
		}
		r.expectStats(0, 0, 0, 0)
		second.mustStop()
	})
}

func TestACrashLoopIsBuriedAtTheFourthDelivery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		var runs atomic.Int64
		var victims []*run
		for range 4 {
			victim := newRigOn(t, r.broker, queue.Workers(1), queue.Prefetch(0))
			victim.handle("killer", func(ctx context.Context, job *queue.Job[int]) error {
				if n := runs.Add(1); job.Attempt != int(n) {
					t.Errorf("run %d is attempt %d", n, job.Attempt)
				}
				victim.spy.die()
				<-ctx.Done()
				return nil
			})
			if len(victims) == 0 {
				victim.enqueue("killer", 7)
			}
			victims = append(victims, victim.start())
			time.Sleep(time.Minute)
		}
		dead := r.expectBuried(queue.ErrCrashLoop.Error())
		if runs.Load() != 3 || dead.Attempt != 4 || string(dead.Args) != "7" {
			t.Errorf("after %d runs attempt %d with args %s was buried", runs.Load(), dead.Attempt, dead.Args)
		}
		for _, v := range victims {
			v.stop()
		}
	})
}

func TestACrashedLastAttemptIsBuried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.handle("killer", func(context.Context, *queue.Job[int]) error { t.Error("it ran again"); return nil })
		victim := newRigOn(t, r.broker, queue.Workers(1), queue.Prefetch(0))
		victim.handle("killer", func(ctx context.Context, _ *queue.Job[int]) error {
			victim.spy.die()
			<-ctx.Done()
			return nil
		})
		victim.enqueue("killer", 0, queue.MaxAttempts(1))
		dying := victim.start()
		synctest.Wait()
		running := r.start()
		time.Sleep(time.Minute)
		r.expectBuried(queue.ErrAttemptsExhausted.Error())
		running.mustStop()
		dying.stop()
	})
}

func TestAJobOfAnUnknownKindIsPutBackWithGrowingDelaysAndThenBuried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		start := time.Now()
		r.enqueue("mystery", 7, queue.MaxAttempts(2))
		running := r.start()
		time.Sleep(3 * time.Hour)
		dead := r.expectBuried(queue.ErrUnknownKind.Error())
		if string(dead.Args) != "7" || len(dead.Extra) != 0 {
			t.Errorf("buried was %s with the fields %v", dead.Args, dead.Extra)
		}
		calls := r.spy.of("Retry")
		if len(calls) < 5 || len(calls) > 20 {
			t.Errorf("it was put back %d times", len(calls))
		}
		for i := 1; i < len(calls); i++ {
			if calls[i].delay <= calls[i-1].delay {
				t.Errorf("delay %d is %v after %v", i, calls[i].delay, calls[i-1].delay)
			}
		}
		if buried := r.spy.of("Bury")[0].at.Sub(start); buried < time.Hour || buried > 2*time.Hour {
			t.Errorf("it was buried after %v", buried)
		}
		if n := len(r.logs.with("job buried")); n != 1 {
			t.Errorf("the burial was logged %d times", n)
		}
		running.mustStop()
	})
}

func TestAnotherProcessThatKnowsTheKindGetsTheJobUnspent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		old := newRig(t)
		old.enqueue("new", 0, queue.MaxAttempts(1), queue.Header("a", "b"))
		running := old.start()
		time.Sleep(10 * time.Minute)
		if e := old.only(backend.Scheduled); e.Attempt != 0 {
			t.Errorf("the job waits with %d attempts spent", e.Attempt)
		}
		deployed := newRigOn(t, old.broker)
		var attempt atomic.Int64
		deployed.handle("new", func(_ context.Context, job *queue.Job[int]) error {
			attempt.Store(int64(job.Attempt))
			if job.Header["a"] != "b" {
				t.Error("the header is gone")
			}
			return nil
		})
		running.mustStop()
		elsewhere := deployed.start()
		time.Sleep(2 * time.Hour)
		old.expectStats(0, 0, 0, 0)
		if attempt.Load() != 1 {
			t.Errorf("it ran as attempt %d", attempt.Load())
		}
		elsewhere.mustStop()
	})
}

func TestBytesThatAreNoJobAreBuriedRawAndLeaveTheirNeighboursAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		seen := new(tally)
		r.handle("good", func(context.Context, *queue.Job[int]) error { seen.add("good"); return nil })
		garbage := []string{"", "\x00", "{", "null", "[]", `{"job":"good"}`, `{"job":"","data":1}`, `{"job":1,"data":1}`,
			"{\"job\":\"\xff\",\"data\":1}", `{"job":"good","data":1,"retry":"nonsense"}`, `{"job":"good","data":1,"timeout":7}`,
			`{"job":"good","data":1,"timeout":"-1s"}`, `{"job":"good","data":"not a number"}`}
		for i, raw := range garbage {
			r.enqueue("good", i)
			if err := r.spy.PutRaw(t.Context(), queue.DefaultQueue, []byte(raw)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.spy.PutRaw(t.Context(), queue.DefaultQueue, []byte(`{"job":"good","data":99}`)); err != nil {
			t.Fatal(err)
		}
		running := r.start()
		synctest.Wait()
		seen.expect(t, map[string]int{"good": len(garbage) + 1})
		r.expectStats(0, 0, 0, int64(len(garbage)))
		left := make(map[string]bool)
		for _, e := range r.peek(backend.Dead) {
			left[string(e.Raw)+string(e.Args)] = true
			if e.Malformed != nil && !errors.Is(e.Malformed, queue.ErrMalformed) {
				t.Errorf("%q is malformed by %v", e.Raw, e.Malformed)
			}
		}
		for _, raw := range garbage[:9] {
			if !left[raw] {
				t.Errorf("%q is not in the dead set as it was", raw)
			}
		}
		running.mustStop()
	})
}
