package queue_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

func TestPrefetchedJobsAreGivenBackAtOnceAndUnspent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(1), queue.Prefetch(4))
		r.handle("long", func(context.Context, *queue.Job[int]) error { time.Sleep(10 * time.Second); return nil })
		r.enqueueAll("long", 5)
		running := r.start()
		synctest.Wait()
		r.expectStats(0, 0, 5, 0)
		running.cancel()
		synctest.Wait()
		r.expectStats(4, 0, 1, 0)
		for i, e := range r.peek(backend.Ready) {
			if e.Attempt != 0 || string(e.Args) != string(rune('1'+i)) {
				t.Errorf("at place %d there is job %s with %d attempts spent", i, e.Args, e.Attempt)
			}
		}
		if took, err := running.stop(); err != nil || took != 10*time.Second {
			t.Errorf("Run ended with %v after %v", err, took)
		}
		r.expectStats(4, 0, 0, 0)
	})
}

func TestRunningHandlersFinishWithinTheGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(5), queue.Shutdown(10*time.Second))
		r.handle("long", func(ctx context.Context, _ *queue.Job[int]) error {
			time.Sleep(9 * time.Second)
			return context.Cause(ctx)
		})
		r.enqueueAll("long", 5)
		running := r.start()
		synctest.Wait()
		if took, err := running.stop(); err != nil || took != 9*time.Second {
			t.Errorf("Run ended with %v after %v, want nil after 9s", err, took)
		}
		r.expectStats(0, 0, 0, 0)
	})
}

func TestLeasesAreExtendedDuringTheGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Lease(3*time.Second), queue.Shutdown(time.Hour))
		var runs atomic.Int64
		r.handle("long", func(context.Context, *queue.Job[int]) error { runs.Add(1); time.Sleep(time.Minute); return nil })
		r.enqueue("long", 0)
		running := r.start()
		synctest.Wait()
		other := newRigOn(t, r.broker)
		other.handle("long", func(context.Context, *queue.Job[int]) error { runs.Add(1); return nil })
		elsewhere := other.start()
		running.mustStop()
		if runs.Load() != 1 {
			t.Errorf("the job ran %d times", runs.Load())
		}
		elsewhere.mustStop()
	})
}

func TestAfterTheGraceContextsEndAndJobsAreReleasedUnspent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Workers(3), queue.Shutdown(5*time.Second))
		r.handle("obedient", func(ctx context.Context, _ *queue.Job[int]) error {
			<-ctx.Done()
			if cause := context.Cause(ctx); cause != queue.ErrShutdown {
				t.Errorf("the context ended with cause %v", cause)
			}
			return ctx.Err()
		})
		r.enqueueAll("obedient", 3)
		running := r.start()
		synctest.Wait()
		took, err := running.stop()
		if !errors.Is(err, queue.ErrDrainTimeout) || took != 5*time.Second {
			t.Errorf("Run ended with %v after %v", err, took)
		}
		r.expectStats(3, 0, 0, 0)
		for _, e := range r.peek(backend.Ready) {
			if e.Attempt != 0 {
				t.Errorf("an interrupted job has %d attempts spent", e.Attempt)
			}
		}
	})
}

func TestAHandlerThatSucceedsAfterErrShutdownIsDone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, queue.Shutdown(5*time.Second))
		r.handle("last", func(ctx context.Context, _ *queue.Job[int]) error {
			<-ctx.Done()
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		r.enqueue("last", 0)
		running := r.start()
		synctest.Wait()
		running.stop()
		r.expectStats(0, 0, 0, 0)
	})
}

func TestAHandlerThatIgnoresTheEndHoldsUpRunForLessThanASecond(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Second, 25 * time.Second} {
		t.Run(grace.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, queue.Shutdown(grace))
				finish := make(chan bool)
				r.handle("stuck", func(context.Context, *queue.Job[int]) error { <-finish; return nil })
				r.enqueue("stuck", 0)
				running := r.start()
				synctest.Wait()
				took, err := running.stop()
				if !errors.Is(err, queue.ErrDrainTimeout) || took > grace+time.Second {
					t.Errorf("Run ended with %v after %v", err, took)
				}
				if e := r.only(backend.Ready); e.Attempt != 0 {
					t.Errorf("the job came back with %d attempts spent", e.Attempt)
				}

				other := newRigOn(t, r.broker)
				var attempt atomic.Int64
				other.handle("stuck", func(_ context.Context, job *queue.Job[int]) error {
					attempt.Store(int64(job.Attempt))
					time.Sleep(time.Minute)
					return nil
				})
				elsewhere := other.start()
				synctest.Wait()
				close(finish) // the late result is dropped
				synctest.Wait()
				r.expectStats(0, 0, 1, 0)
				if n := len(r.spy.of("Ack")); n != 0 {
					t.Error("the late result was acked")
				}
				time.Sleep(time.Hour)
				if attempt.Load() != 1 {
					t.Errorf("elsewhere it was attempt %d", attempt.Load())
				}
				elsewhere.mustStop()
				r.expectStats(0, 0, 0, 0)
			})
		})
	}
}

func TestABrokerThatHangsOrFailsDoesNotHoldUpTheEnd(t *testing.T) {
	const grace = 5 * time.Second
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	faults := map[string]func(context.Context) error{
		"hangs": hang,
		"fails": func(context.Context) error { return queue.ErrUnavailable },
		"takes half a second more": func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(500 * time.Millisecond)
			return ctx.Err()
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, queue.Workers(4), queue.Shutdown(grace))
				r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
				r.handle("long", func(context.Context, *queue.Job[int]) error { time.Sleep(time.Minute); return nil })
				running := r.start()
				synctest.Wait()
				// The next Reserve, and all else, meets the fault.
				r.spy.before(func(ctx context.Context, c call) error {
					if c.verb == "Push" {
						return nil
					}
					return fault(ctx)
				})
				r.enqueueAll("noop", 3)
				r.enqueueAll("long", 20)
				synctest.Wait()
				if took, _ := running.stop(); took > grace+time.Second {
					t.Errorf("Run ended after %v with a grace of %v", took, grace)
				}
				r.spy.before(nil)
				time.Sleep(2 * time.Minute)
				if s := r.stats(); s.Ready != 23 {
					t.Errorf("of 23 jobs the broker has %+v", s)
				}
			})
		})
	}
}

func TestABrokerThatNeverAnswersDoesNotHoldUpTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const grace = 5 * time.Second
		r := newRig(t, queue.Shutdown(grace))
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		heal := make(chan bool)
		r.spy.before(func(_ context.Context, c call) error {
			if c.verb != "Push" {
				<-heal
			}
			return nil
		})
		r.enqueue("noop", 0)
		running := r.start()
		synctest.Wait()
		if took, _ := running.stop(); took > grace+time.Second {
			t.Errorf("Run ended after %v with a grace of %v", took, grace)
		}
		close(heal) // what Reserve then brings is not lost
		time.Sleep(2 * time.Minute)
		r.expectStats(1, 0, 0, 0)
	})
}

func TestRunTwiceAtOnceIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		running := r.start()
		synctest.Wait()
		if err := r.queue.Run(t.Context()); !errors.Is(err, queue.ErrRunning) {
			t.Errorf("the second Run returned %v", err)
		}
		running.mustStop()
	})
}

func TestRunAfterRunWorks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		var runs atomic.Int64
		r.handle("noop", func(context.Context, *queue.Job[int]) error { runs.Add(1); return nil })
		for range 3 {
			running := r.start()
			r.enqueueAll("noop", 10)
			synctest.Wait()
			running.mustStop()
		}
		if runs.Load() != 30 {
			t.Errorf("%d jobs ran, want 30", runs.Load())
		}
	})
}

func TestRunAfterCloseIsRefused(t *testing.T) {
	r := newRig(t)
	r.queue.Close()
	if err := r.queue.Run(t.Context()); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Run returned %v", err)
	}
}

func TestRunWithAContextThatHasEndedReservesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.enqueue("job", 0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.queue.Run(ctx); err != nil {
			t.Errorf("Run returned %v", err)
		}
		r.expectStats(1, 0, 0, 0)
	})
}

func TestCloseEndsRunAndWaitsForIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		var done atomic.Bool
		r.handle("long", func(context.Context, *queue.Job[int]) error {
			time.Sleep(5 * time.Second)
			done.Store(true)
			return nil
		})
		r.enqueue("long", 0)
		running := r.start()
		synctest.Wait()
		var closing sync.WaitGroup
		for range 5 {
			closing.Go(func() {
				if err := r.queue.Close(); err != nil {
					t.Errorf("Close returned %v", err)
				}
				if !done.Load() {
					t.Error("Close returned before the handler")
				}
			})
		}
		closing.Wait()
		if err := <-running.done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		r.expectStats(0, 0, 0, 0)
		if _, err := r.queue.Enqueue(t.Context(), "long", 0); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("Enqueue after Close returned %v", err)
		}
	})
}

func TestAnErrorOfWorkerStartEndsRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cold := errors.New("cold start")
		var starts atomic.Int64
		stopped := false
		r := newRig(t, queue.Hooks{
			WorkerStart: func(context.Context) error {
				if starts.Add(1) == 1 {
					return cold
				}
				return nil
			},
			WorkerStop: func(context.Context) { stopped = true },
		})
		if err := r.queue.Run(t.Context()); !errors.Is(err, cold) {
			t.Errorf("Run returned %v", err)
		}
		if n := len(r.spy.of("")); n != 0 || stopped {
			t.Errorf("there were %d calls of the broker; WorkerStop: %v", n, stopped)
		}
		running := r.start()
		synctest.Wait()
		running.mustStop()
		if !stopped {
			t.Error("WorkerStop was not called")
		}
	})
}

func TestAHandlerCanEnqueueWhileCloseWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q *queue.Queue
		mux := new(queue.Mux)
		enqueued := make(chan error, 1)
		queue.RegisterOn(mux, "parent", queue.HandlerFunc[int](func(ctx context.Context, job *queue.Job[int]) error {
			time.Sleep(time.Second) // Close is called meanwhile
			_, err := q.Enqueue(ctx, "child", 1)
			enqueued <- err
			return err
		}))
		q = queue.New(memory.New(), queue.Handlers(mux), queue.Logger(nil))
		if _, err := q.Enqueue(t.Context(), "parent", 1); err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- q.Run(t.Context()) }()
		synctest.Wait()
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if err := <-enqueued; err != nil {
			t.Errorf("Enqueue in a handler during Close: %v", err)
		}
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if _, err := q.Enqueue(t.Context(), "child", 1); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("Enqueue after Close: %v, want ErrClosed", err)
		}
	})
}
