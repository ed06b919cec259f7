package queue_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
)

// late returns Hooks that tell of all that comes after an attempt.
func late(tr *trace) queue.Hooks {
	return queue.Hooks{
		AfterPerform: func(context.Context, *rawJob) { tr.add("AfterPerform") },
		OnFailure:    func(context.Context, *rawJob, error) { tr.add("OnFailure") },
		OnRetry:      func(context.Context, *rawJob, error, time.Duration) { tr.add("OnRetry") },
		OnBury:       func(context.Context, *rawJob, error) { tr.add("OnBury") },
		AfterAttempt: func(_ context.Context, _ *rawJob, verdict queue.Verdict, _ time.Duration, _ error) {
			tr.add("AfterAttempt " + verdict.String())
		},
	}
}

// slowly handles a kind of which each attempt waits for proceed, keeps result
// and ends with err.
func slowly(mux *queue.Mux, proceed chan bool, err error, result string) {
	queue.RegisterOn(mux, "greet", queue.HandlerFunc[int](func(_ context.Context, job *queue.Job[int]) error {
		<-proceed
		return errors.Join(err, job.SetResult(result))
	}))
}

const doesNotCount = "its outcome does not count"

func TestAHandlerThatOutlivesTheGraceCountsNoMore(t *testing.T) {
	for name, err := range map[string]error{"done": nil, "failed": errNoLuck, "buried": queue.Bury(errNoLuck)} {
		t.Run(name, func(t *testing.T) {
			events := new(trace)
			inWorkshop(t, func(t *testing.T, w *workshop) {
				stale, fresh := make(chan bool), make(chan bool)
				slowly(w.mux, stale, err, "stale")
				id := w.enqueue("greet", 1, queue.Track(), queue.Unique(time.Hour))
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- w.queue.Run(ctx) }()
				synctest.Wait()
				cancel()
				if err := <-ended; !errors.Is(err, queue.ErrDrainTimeout) {
					t.Errorf("Run ended with %v, want ErrDrainTimeout", err)
				}
				expectStatus(t, w.status(id), "ready 1/0 0/0  []")

				elsewhere := new(queue.Mux)
				slowly(elsewhere, fresh, nil, "fresh")
				w.runOther(w.open(w.broker.Connect(), queue.Handlers(elsewhere), queue.Logger(nil)))
				expectStatus(t, w.status(id), "running 1/0 0/0  []")
				close(stale) // it returns at last
				expectStatus(t, w.status(id), "running 1/0 0/0  []")
				expectTrace(t, events, "")
				expectText(t, w.logs.String(), "level=WARN", doesNotCount, "id="+id)
				w.expectDuplicate(id, "greet", 1, queue.Unique(time.Hour))

				close(fresh)
				expectStatus(t, w.status(id), `done 1/0 0/0 "fresh" []`)
				w.expectEmpty()
				expectTrace(t, events, "")
			}, late(events), queue.Shutdown(5*time.Second))
		})
	}
}

func TestAHandlerThatOutlivesTheGraceReportsNoProgressAnyMore(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		stale, fresh := make(chan bool), make(chan bool)
		defer close(fresh)
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			<-stale
			job.Progress(99, 100)
			return nil
		})
		id := w.enqueue("greet", 1, queue.Track())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.queue.Run(ctx) }()
		synctest.Wait()
		cancel()
		<-ended
		elsewhere := new(queue.Mux)
		queue.RegisterFuncOn(elsewhere, "greet", func(_ context.Context, job *queue.Job[int]) error {
			job.Progress(1, 100)
			<-fresh
			return nil
		})
		w.runOther(w.open(w.broker.Connect(), queue.Handlers(elsewhere)))
		close(stale)
		expectStatus(t, w.status(id), "running 1/0 1/100  []")
	}, queue.Shutdown(0))
}

func TestAHandlerThatSucceedsAfterTheLossOfItsLeaseCountsNoMore(t *testing.T) {
	for name, err := range map[string]error{"done": nil, "failed": errNoLuck} {
		t.Run(name, func(t *testing.T) {
			events := new(trace)
			inWorkshop(t, func(t *testing.T, w *workshop) {
				handle(w, "greet", func(ctx context.Context, _ *queue.Job[int]) error {
					<-ctx.Done()
					if cause := context.Cause(ctx); cause != queue.ErrLeaseLost {
						t.Errorf("the context ended with %v", cause)
					}
					time.Sleep(time.Second) // meanwhile the other begins
					return err
				})
				id := w.enqueue("greet", 1, queue.Track())
				w.runOther(w.open(&frozen{w.broker.Connect()}, late(events), queue.Lease(30*time.Second)))

				fresh := make(chan bool)
				elsewhere := new(queue.Mux)
				slowly(elsewhere, fresh, nil, "fresh")
				w.runOther(w.open(w.broker.Connect(), queue.Handlers(elsewhere), queue.Logger(nil)))
				pass(time.Minute) // the lease ends, and the other gets the job
				expectText(t, w.logs.String(), "leases lost", doesNotCount)
				if strings.Contains(w.logs.String(), "job done") {
					t.Errorf("logged %s", w.logs)
				}
				expectTrace(t, events, "")
				expectStatus(t, w.status(id), "running 2/0 0/0  []")
				close(fresh)
				expectStatus(t, w.status(id), `done 2/0 0/0 "fresh" []`)
				w.expectEmpty()
			})
		})
	}
}
