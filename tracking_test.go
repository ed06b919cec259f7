package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/retry"
	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

// status returns the status of a job, once all is written.
func (w *workshop) status(id string) queue.Status {
	w.t.Helper()
	synctest.Wait()
	s, err := w.queue.Status(w.t.Context(), id)
	must(w.t, err)
	return s
}

// expectStatus fails the test unless the fields of a status that matter read
// like this.
func expectStatus(t *testing.T, s queue.Status, want string) {
	t.Helper()
	var failures []string
	for _, f := range s.Errors {
		failures = append(failures, fmt.Sprintf("%d:%s", f.Attempt, f.Error))
	}
	got := fmt.Sprintf("%s %d/%d %d/%d %s [%s] %s", s.State, s.Attempt, s.MaxAttempts, s.Progress.Done, s.Progress.Total,
		s.Result, strings.Join(failures, " "), s.Error)
	if strings.TrimSpace(got) != want {
		t.Errorf("the status is  %q\nwant it to be %q", strings.TrimSpace(got), want)
	}
}

func TestTheStatusFollowsAJobFromScheduledToDone(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		start := time.Now()
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			job.Progress(1, 2)
			time.Sleep(time.Minute)
			if job.Attempt == 1 {
				must(t, job.SetResult("of a failed attempt"))
				return errNoLuck
			}
			job.Progress(2, 2)
			return job.SetResult(map[string]int{"greeted": 2})
		}, queue.Retry(retry.Fixed(time.Hour)), queue.Track())
		id := w.enqueue("greet", 1, queue.In(time.Hour), queue.MaxAttempts(5))
		s := w.status(id)
		expectStatus(t, s, "scheduled 0/5 0/0  []")
		if s.ID != id || s.Kind != "greet" || s.Queue != "default" || !s.CreatedAt.Equal(start) || !s.DueAt.Equal(start.Add(time.Hour)) {
			t.Errorf("scheduled: %+v", s)
		}
		w.run()

		pass(time.Hour)
		s = w.status(id)
		expectStatus(t, s, "running 1/5 1/2  []")
		if !s.StartedAt.Equal(start.Add(time.Hour)) || !s.DueAt.IsZero() || !s.FinishedAt.IsZero() {
			t.Errorf("running: %+v", s)
		}

		pass(time.Minute)
		s = w.status(id)
		expectStatus(t, s, "retrying 1/5 1/2  [1:no luck] no luck")
		if !s.DueAt.Equal(start.Add(2*time.Hour+time.Minute)) || !s.FinishedAt.IsZero() {
			t.Errorf("retrying: %+v", s)
		}

		pass(time.Hour + time.Minute)
		s = w.status(id)
		expectStatus(t, s, `done 2/5 2/2 {"greeted":2} [1:no luck]`)
		if end := start.Add(2*time.Hour + 2*time.Minute); !s.FinishedAt.Equal(end) || !s.DueAt.IsZero() || !s.CreatedAt.Equal(start) {
			t.Errorf("done: %+v", s)
		}
	})
}

func TestTheStatusOfAJobThatEndsOtherwise(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{errNoLuck, "dead 2/2 0/0  [1:no luck 2:no luck] no luck"},
		{queue.Bury(errNoLuck), "dead 1/2 0/0  [1:no luck] no luck"},
		{queue.Cancel(errNoLuck), "cancelled 1/2 0/0  [1:no luck] no luck"},
		{queue.Snooze(24 * time.Hour), "scheduled 1/2 0/0  []"},
	} {
		inWorkshop(t, func(t *testing.T, w *workshop) {
			handle(w, "greet", func(context.Context, *queue.Job[int]) error { return test.err },
				queue.Retry(retry.Fixed(time.Minute)))
			id := w.enqueue("greet", 1, queue.Track(), queue.MaxAttempts(2))
			expectStatus(t, w.status(id), "ready 0/2 0/0  []")
			w.run()
			pass(time.Hour)
			s := w.status(id)
			expectStatus(t, s, test.want)
			if s.State.Finished() == s.FinishedAt.IsZero() {
				t.Errorf("%v: finished at %v", s.State, s.FinishedAt)
			}
		})
	}
}

func TestTheStatusOfWhatNeverReachesAHandler(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		id := w.enqueue("unknown", 1, queue.Track())
		w.run()
		s := w.status(id)
		if s.State != status.Scheduled || s.DueAt.IsZero() {
			t.Errorf("of an unknown kind: %+v", s)
		}
		pass(2 * time.Hour)
		if s = w.status(id); s.State != status.Dead || !strings.Contains(s.Error, "unknown kind") {
			t.Errorf("of an unknown kind, at last: %+v", s)
		}
	})
}

func TestTheStatusOfAJobThatAForeignProducerWantsTracked(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", nothing[int])
		must(t, w.eye.PutRaw(t.Context(), queue.DefaultQueue,
			[]byte(`{"job":"greet","data":1,"id":"42","track":true,"enqueued_at":"1999-12-31T23:00:00Z"}`)))
		w.run()
		s := w.status("42")
		expectStatus(t, s, "done 1/0 0/0  []")
		if s.Kind != "greet" || s.Queue != "default" || time.Since(s.CreatedAt) != time.Hour {
			t.Errorf("got %+v", s)
		}
	})
}

func TestAResultThatHasNoJSONIsAnError(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			return queue.Bury(job.SetResult(make(chan int)))
		})
		id := w.enqueue("greet", 1, queue.Track())
		w.run()
		expectText(t, w.buried().Failure.Error, "result of job "+id, "chan int")
	})
}

func TestARequeuedJobIsTrackedFromItsFirstAttemptAgain(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		runs := 0
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			if runs++; runs <= 2 {
				return errNoLuck
			}
			time.Sleep(time.Minute)
			return job.SetResult("at last")
		}, queue.Retry(retry.Fixed(time.Minute)))
		id := w.enqueue("greet", 1, queue.Track(), queue.MaxAttempts(2))
		w.run()
		pass(time.Hour)
		expectStatus(t, w.status(id), "dead 2/2 0/0  [1:no luck 2:no luck] no luck")
		n, err := w.eye.Requeue(t.Context(), queue.DefaultQueue, w.buried().Key)
		if n != 1 || err != nil {
			t.Fatalf("requeued %d, %v", n, err)
		}
		s := w.status(id)
		expectStatus(t, s, "running 1/2 0/0  [1:no luck 2:no luck] no luck")
		if !s.FinishedAt.IsZero() {
			t.Errorf("it runs again, and yet finished at %v", s.FinishedAt)
		}
		done, err := w.queue.Wait(t.Context(), id)
		must(t, err)
		expectStatus(t, done, `done 1/2 0/0 "at last" [1:no luck 2:no luck]`)
	})
}

func TestWaitWorksAcrossProcesses(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		producer := w.open(w.broker.Connect(), queue.Handlers(new(queue.Mux)))
		handle(w, "double", func(_ context.Context, job *queue.Job[int]) error {
			time.Sleep(time.Hour)
			return job.SetResult(2 * job.Args)
		})
		id, err := queue.Define[int]("double", queue.Track()).Enqueue(t.Context(), producer, 21)
		must(t, err)
		w.run()
		start := time.Now()
		s, err := producer.Wait(t.Context(), id)
		must(t, err)
		if time.Since(start) != time.Hour {
			t.Errorf("waited %v, want an hour", time.Since(start))
		}
		expectStatus(t, s, "done 1/0 0/0 42 []")
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		id := w.enqueue("greet", 1, queue.Track())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := w.queue.Wait(ctx, id)
		if !errors.Is(err, context.DeadlineExceeded) || s.State != status.Ready {
			t.Errorf("got %+v, %v", s, err)
		}
	})
}

func TestWaitEndsWithClose(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		id := w.enqueue("greet", 1, queue.Track())
		ended := make(chan error, 1)
		go func() {
			_, err := w.queue.Wait(context.Background(), id)
			ended <- err
		}()
		pass(time.Hour)
		start := time.Now()
		must(t, w.queue.Close())
		if err := <-ended; !errors.Is(err, queue.ErrClosed) || time.Since(start) > 0 {
			t.Errorf("Wait ended with %v %v after Close, want ErrClosed at once", err, time.Since(start))
		}
		_, errStatus := w.queue.Status(t.Context(), id)
		_, errWait := w.queue.Wait(t.Context(), id)
		for _, err := range []error{errStatus, errWait} {
			if !errors.Is(err, queue.ErrClosed) {
				t.Errorf("after Close: got %v, want ErrClosed", err)
			}
		}
	})
}

func TestWhatIsNotTrackedHasNoStatus(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		id := w.enqueue("greet", 1)
		for _, id := range []string{id, "unheard of"} {
			if _, err := w.queue.Status(t.Context(), id); !errors.Is(err, queue.ErrNotTracked) {
				t.Errorf("Status: got %v, want ErrNotTracked", err)
			}
			if _, err := w.queue.Wait(t.Context(), id); !errors.Is(err, queue.ErrNotTracked) {
				t.Errorf("Wait: got %v, want ErrNotTracked", err)
			}
		}
	})
}

func TestTrackingWithoutAStoreIsErrNoStore(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		q := w.open(storeless{w.broker.Connect()})
		_, errTrack := q.Enqueue(t.Context(), "greet", 1, queue.Track())
		_, errStatus := q.Status(t.Context(), "42")
		_, errWait := q.Wait(t.Context(), "42")
		for _, err := range []error{errTrack, errStatus, errWait} {
			if !errors.Is(err, queue.ErrNoStore) {
				t.Errorf("got %v, want ErrNoStore", err)
			}
		}
		expectText(t, fmt.Sprint(errTrack), "greet", "Track", "queue.Store(")
		w.expectEmpty()
	})
}

func TestATrackedJobOfAnotherProcessRunsWithoutAStoreHere(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			job.Progress(1, 1)
			return job.SetResult(1)
		})
		w.enqueue("greet", 1, queue.Track(), queue.Unique(time.Hour))
		w.runOther(w.open(storeless{w.broker.Connect()}))
		w.expectEmpty()
	})
}

func TestAnUntrackedJobNeverCallsTheStore(t *testing.T) {
	s := &fakeStore{Store: store.NewMemory()}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			job.Progress(1, 2)
			must(t, job.SetResult("ignored"))
			if job.Attempt == 1 {
				return queue.RetryIn(time.Minute, nil)
			}
			return queue.Bury(nil)
		})
		w.enqueue("greet", 1)
		w.enqueue("greet", 1, queue.In(time.Minute))
		w.run()
		pass(time.Hour)
		must(t, w.queue.Close())
		if n := s.called(); n > 0 {
			t.Errorf("the store was called %d times", n)
		}
	}, queue.WithStore(s))
}

func TestAnUntrackedJobAllocatesNothingForTracking(t *testing.T) {
	allocations := func(chain ...queue.Middleware) (n float64) {
		measure := func(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
			return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
				// The least of several: a goroutine beside this one counts too.
				n = testing.AllocsPerRun(1000, func() { next.Handle(ctx, job) })
				for range 4 {
					n = min(n, testing.AllocsPerRun(1000, func() { next.Handle(ctx, job) }))
				}
				return nil
			})
		}
		inWorkshop(t, func(t *testing.T, w *workshop) {
			handle(w, "greet", func(_ context.Context, job *queue.Job[queue.Raw]) error {
				job.Progress(1, 2)
				return nil
			})
			w.enqueue("greet", queue.Raw("1"))
			w.run()
		}, queue.UseOnly(append([]queue.Middleware{measure}, chain...)...))
		return n
	}
	without, with := allocations(), allocations(queue.Tracking())
	if with > without {
		t.Errorf("%v allocations an attempt with Tracking, %v without", with, without)
	}
}

func TestAStoreThatIsDownOrHangsNeitherStopsNorSlowsJobs(t *testing.T) {
	for name, down := range map[string]func(context.Context) error{
		"down":  func(context.Context) error { return errors.New("connection refused") },
		"hangs": hang,
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeStore{Store: store.NewMemory()}
			inWorkshop(t, func(t *testing.T, w *workshop) {
				const jobs = 4000 // and three times the updates, more than are held
				done := 0
				handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
					done++
					job.Progress(1, 1)
					return job.SetResult(1)
				}, queue.Track())
				for i := range jobs {
					w.enqueue("greet", i)
				}
				s.set(down)
				start := time.Now()
				stop := runInBackground(t, w.queue)
				synctest.Wait()
				if took := time.Since(start); done != jobs || took > 0 {
					t.Errorf("%d of %d jobs were done after %v, want all at once", done, jobs, took)
				}
				w.expectEmpty()
				w.enqueue("greet", 1) // the first learns that the store is down
				if took := time.Since(start); took > time.Second {
					t.Errorf("Enqueue was held up for %v", took)
				}
				expectText(t, w.logs.String(), "status of new jobs not stored")
				start = time.Now()
				w.enqueue("greet", 1) // and the next ones know
				if took := time.Since(start); took > 0 {
					t.Errorf("the second Enqueue was held up for %v", took)
				}
				start = time.Now()
				stop()
				if took := time.Since(start); took > time.Second {
					t.Errorf("Run ended after %v", took)
				}
			}, queue.WithStore(s), queue.Workers(1))
		})
	}
}

func TestEnqueueManyCreatesItsStatusesInOneCall(t *testing.T) {
	s := &fakeStore{Store: store.NewMemory()}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		ids, err := queue.Define[int]("greet", queue.Track()).EnqueueMany(t.Context(), w.queue, make([]int, 100))
		must(t, err)
		if n := s.called(); n != 1 {
			t.Errorf("the store was called %d times, want once", n)
		}
		expectStatus(t, w.status(ids[99]), "ready 0/0 0/0  []")
	}, queue.WithStore(s))
}

func TestAWorkerThatHasLostItsJobDoesNotUnburyItsStatus(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		asleep, again := make(chan bool), make(chan bool)
		handle(w, "greet", func(context.Context, *queue.Job[int]) error {
			asleep <- true
			<-again
			return nil
		})
		id := w.enqueue("greet", 1, queue.Track(), queue.MaxAttempts(2))
		stalled := w.open(&frozen{w.broker.Connect()})
		w.runOther(stalled)
		<-asleep
		mux := new(queue.Mux)
		queue.RegisterOn(mux, "greet", queue.HandlerFunc[int](func(context.Context, *queue.Job[int]) error { return errNoLuck }))
		w.runOther(w.open(w.broker.Connect(), queue.Handlers(mux)))
		pass(time.Minute) // the lease ends, and the other fails the job
		expectStatus(t, w.status(id), "dead 2/2 0/0  [2:no luck] no luck")
		close(again)
		expectStatus(t, w.status(id), "dead 2/2 0/0  [2:no luck] no luck")
		w.buried()
	})
}

// frozen is the broker of a process that is stopped: it extends no lease.
type frozen struct{ *memory.Backend }

func (*frozen) Extend(ctx context.Context, _ []*backend.Delivery, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}
