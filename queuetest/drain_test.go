package queuetest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/queuetest"
	"github.com/goferhq/queue/retry"
)

// counts returns the counts of a report in the order of its fields.
func counts(r queuetest.Report) [5]int {
	return [5]int{r.Done, r.Retried, r.Released, r.Buried, r.Cancelled}
}

func expectCounts(t *testing.T, r queuetest.Report, done, retried, released, buried, cancelled int) {
	t.Helper()
	if want := [5]int{done, retried, released, buried, cancelled}; counts(r) != want {
		t.Errorf("drained %v, want %v:\n%v", counts(r), want, r)
	}
}

func TestDrainOfAnEmptyQueueDoesNothing(t *testing.T) {
	q := queuetest.New(t, queue.Hooks{WorkerStart: func(context.Context) error { return errors.New("worked") }})
	expectCounts(t, q.Drain(t.Context()), 0, 0, 0, 0, 0)
}

func TestDrainRunsInOrderWhatHandlersEnqueueToo(t *testing.T) {
	var q *queuetest.Queue
	var order []string
	mux := handle("send_email", func(ctx context.Context, job *queue.Job[email]) error {
		order = append(order, job.Args.To)
		if len(job.Args.To) < 3 {
			_, err := q.Enqueue(ctx, "send_email", email{To: job.Args.To + "+"}, queue.On("queue-"+job.Args.To))
			return err
		}
		return nil
	})
	q = queuetest.New(t, queue.Handlers(mux))
	enqueue(t, q, "send_email", email{To: "a"})
	enqueue(t, q, "send_email", email{To: "b"}, queue.On("elsewhere"))
	enqueue(t, q, "send_email", email{To: "c"}, queue.Priority(1))

	r := q.Drain(t.Context())
	expectCounts(t, r, 9, 0, 0, 0, 0)
	if want := []string{"c", "a", "b"}; !slices.Equal(order[:3], want) || len(order) != 9 {
		t.Errorf("the order is %v, want %v and what they enqueued", order, want)
	}
	queuetest.RefuteEnqueued(t, q, "send_email", nil)
}

func TestDrainReportsWhatCameOfEachAttempt(t *testing.T) {
	outcomes := map[string]error{
		"done":      nil,
		"retried":   errors.New("smtp is down"),
		"asked":     queue.RetryIn(time.Minute, errors.New("busy")),
		"released":  queue.Snooze(time.Hour),
		"buried":    fmt.Errorf("wrapped: %w", queue.Bury(errors.New("no such mailbox"))),
		"cancelled": queue.Cancel(errors.New("unsubscribed")),
	}
	mux := handle("send_email", func(_ context.Context, job *queue.Job[email]) error {
		return outcomes[job.Args.To]
	}, queue.Retry(retry.Fixed(10*time.Second)))
	q := queuetest.New(t, queue.Handlers(mux))
	var ids []string
	for _, to := range []string{"done", "retried", "asked", "released", "buried", "cancelled"} {
		ids = append(ids, enqueue(t, q, "send_email", email{To: to}))
	}
	r := q.Drain(t.Context())
	expectCounts(t, r, 1, 2, 1, 1, 1)
	for i, o := range r.Outcomes {
		if o.ID != ids[i] || o.Kind != "send_email" || o.Queue != "default" || o.Attempt != 1 {
			t.Errorf("outcome %d is of the wrong job: %+v", i, o)
		}
	}
	if o := r.Outcomes[1]; o.Verdict != queue.Retried || o.Delay != 10*time.Second || !errors.Is(o.Err, outcomes["retried"]) {
		t.Errorf("the retried one is reported as %+v", o)
	}
	want := strings.TrimSpace(`
1 done, 2 retried, 1 released, 1 buried, 1 cancelled
  KIND        QUEUE    ATTEMPT  ARGS                OUTCOME
  send_email  default  1        {"To":"done"}       done
  send_email  default  1        {"To":"retried"}    retried in 10s: smtp is down
  send_email  default  1        {"To":"asked"}      retried in 1m0s: busy
  send_email  default  1        {"To":"released"}   released in 1h0m0s
  send_email  default  1        {"To":"buried"}     buried: wrapped: buried: no such mailbox
  send_email  default  1        {"To":"cancelled"}  cancelled: unsubscribed
`)
	// The error of Snooze says nothing that the verdict does not say.
	got := strings.Replace(r.String(), ": queue: job released for 1h0m0s", "", 1)
	if got != want {
		t.Errorf("the report is\n%s\nwant\n%s", got, want)
	}
	if err := r.Err(); err == nil || !errors.Is(err, outcomes["retried"]) || strings.Contains(err.Error(), "unsubscribed") {
		t.Errorf("Err returned %v", err)
	}
}

func TestErrIsNilUnlessSomethingFailed(t *testing.T) {
	q := queuetest.New(t, queue.Handlers(handle("send_email", func(_ context.Context, job *queue.Job[email]) error {
		if job.Args.To == "nobody" {
			return queue.RetryIn(time.Hour, nil)
		}
		return queue.Cancel(errors.New("unsubscribed"))
	})))
	enqueue(t, q, "send_email", email{})
	if err := q.Drain(t.Context()).Err(); err != nil {
		t.Errorf("Err after a cancellation is %v", err)
	}
	enqueue(t, q, "send_email", email{To: "nobody"})
	if err := q.Drain(t.Context()).Err(); err == nil {
		t.Error("Err after a retry without an error is nil")
	}
}

func TestScheduledJobsStayUntilTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := queuetest.New(t, queue.Handlers(handle("send_email", func(context.Context, *queue.Job[email]) error { return nil })))
		enqueue(t, q, "send_email", email{}, queue.In(24*time.Hour))
		expectCounts(t, q.Drain(t.Context()), 0, 0, 0, 0, 0)
		time.Sleep(24 * time.Hour)
		expectCounts(t, q.Drain(t.Context()), 1, 0, 0, 0, 0)
	})
}

func TestAJobIsRetriedOverSeveralDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := queuetest.New(t, queue.Handlers(handle("send_email",
			func(context.Context, *queue.Job[email]) error { return errors.New("smtp is down") },
			queue.Retry(retry.List(0, time.Minute, time.Hour)))))
		enqueue(t, q, "send_email", email{})
		expectCounts(t, q.Drain(t.Context()), 0, 2, 0, 0, 0) // the first retry comes at once
		time.Sleep(time.Minute)
		expectCounts(t, q.Drain(t.Context()), 0, 1, 0, 0, 0)
		time.Sleep(time.Hour)
		r := q.Drain(t.Context())
		expectCounts(t, r, 0, 0, 0, 1, 0)
		if got := r.Outcomes[0].Attempt; got != 4 {
			t.Errorf("the last attempt was number %d, want 4", got)
		}
	})
}

func TestDrainSurvivesHandlersThatDoNotReturn(t *testing.T) {
	ways := map[string]func(){
		"panic":  func() { panic("boom") },
		"goexit": runtime.Goexit, // as t.FailNow does
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			q := queuetest.New(t, queue.Handlers(handle("send_email", func(_ context.Context, job *queue.Job[email]) error {
				if job.Args.To != "fine" {
					way()
				}
				return nil
			}, queue.MaxAttempts(1))))
			enqueue(t, q, "send_email", email{})
			enqueue(t, q, "send_email", email{To: "fine"})
			r := q.Drain(t.Context())
			expectCounts(t, r, 1, 0, 0, 1, 0)
			if _, ok := errors.AsType[*queue.PanicError](r.Outcomes[0].Err); !ok {
				t.Errorf("the outcome has the error %v, want a PanicError", r.Outcomes[0].Err)
			}
		})
	}
}

func TestDrainReportsWhatNoHandlerSaw(t *testing.T) {
	q := queuetest.New(t,
		queue.Handlers(handle("send_email", func(context.Context, *queue.Job[email]) error { return nil })),
		queue.Hooks{BeforePerform: func(_ context.Context, job *queue.Job[queue.Raw]) error {
			if job.Header["veto"] != "" {
				return errors.New("not today")
			}
			return nil
		}})
	enqueue(t, q, "unknown", email{})
	enqueue(t, q, "send_email", queue.Raw(`"no object"`))
	enqueue(t, q, "send_email", email{}, queue.Header("veto", "yes"))
	broker, _ := backend.As[*memory.Backend](q.Backend())
	if err := broker.PutRaw(t.Context(), queue.DefaultQueue, []byte("no JSON")); err != nil {
		t.Fatal(err)
	}

	r := q.Drain(t.Context())
	expectCounts(t, r, 0, 0, 1, 2, 1)
	for i, want := range []error{queue.ErrUnknownKind, queue.ErrInvalidArgs, queue.ErrVetoed, queue.ErrMalformed} {
		if got := r.Outcomes[i].Err; !errors.Is(got, want) {
			t.Errorf("outcome %d has the error %v, want %v", i, got, want)
		}
	}
}

func TestDrainSeesThroughAChainOfTheUsersOwn(t *testing.T) {
	q := queuetest.New(t, queue.UseOnly(), queue.Handlers(handle("send_email", func(_ context.Context, job *queue.Job[email]) error {
		if job.Args.To == "" {
			panic("nobody")
		}
		return nil
	})))
	enqueue(t, q, "send_email", email{})
	enqueue(t, q, "send_email", email{To: "a@b.c"})
	expectCounts(t, q.Drain(t.Context()), 1, 1, 0, 0, 0)
}

func TestDrainKeepsStatusesAndReleasesLocks(t *testing.T) {
	q := queuetest.New(t, queue.Handlers(handle("send_email", func(_ context.Context, job *queue.Job[email]) error {
		return job.SetResult("sent")
	}, queue.Track(), queue.Unique(time.Hour))))
	id := enqueue(t, q, "send_email", email{})
	q.Drain(t.Context())
	if s, err := q.Status(t.Context(), id); err != nil || s.State != "done" || string(s.Result) != `"sent"` {
		t.Errorf("the status is %+v, %v", s, err)
	}
	enqueue(t, q, "send_email", email{}) // is no duplicate any more
}

func TestDrainLeavesPausedQueuesAlone(t *testing.T) {
	q := queuetest.New(t, queue.Handlers(handle("send_email", func(context.Context, *queue.Job[email]) error { return nil })))
	enqueue(t, q, "send_email", email{})
	broker, _ := backend.As[*memory.Backend](q.Backend())
	if err := broker.Pause(t.Context(), queue.DefaultQueue); err != nil {
		t.Fatal(err)
	}
	expectCounts(t, q.Drain(t.Context()), 0, 0, 0, 0, 0)
	if err := broker.Resume(t.Context(), queue.DefaultQueue); err != nil {
		t.Fatal(err)
	}
	expectCounts(t, q.Drain(t.Context()), 1, 0, 0, 0, 0)
}

func TestDrainFailsTheTestWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		q := queuetest.New(r, queue.Handlers(handle("hang", func(ctx context.Context, job *queue.Job[email]) error {
			if job.Args.To == "" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})))
		defer r.end()
		enqueue(t, q, "hang", email{})
		enqueue(t, q, "hang", email{To: "a@b.c"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		expectCounts(t, q.Drain(ctx), 1, 0, 1, 0, 0)
		if took := time.Since(start); took > time.Minute+2*time.Second {
			t.Errorf("Drain returned %v after its context", took-time.Minute)
		}
		r.expectMention(t, "context deadline exceeded", "1 done", "hang  default")
	})
}

func TestDrainFailsTheTestInsteadOfGoingOnForEver(t *testing.T) {
	queuetest.LowerMostAttempts(t, 1000)
	r := &recorder{TB: t}
	q := queuetest.New(r, queue.Handlers(handle("send_email", func(context.Context, *queue.Job[email]) error {
		return queue.Snooze(0)
	})))
	defer r.end()
	enqueue(t, q, "send_email", email{})
	q.Drain(t.Context())
	r.expectMention(t, "attempts without an end", "1000 released")
}

func TestDrainFailsTheTestWhereItCannotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		release := make(chan struct{})
		q := queuetest.New(r, queue.Handlers(handle("send_email", func(context.Context, *queue.Job[email]) error {
			<-release
			return nil
		})))
		enqueue(t, q, "send_email", email{})
		enqueue(t, q, "send_email", email{})
		first := make(chan queuetest.Report)
		go func() { first <- q.Drain(t.Context()) }()
		synctest.Wait()
		q.Drain(t.Context())
		r.expect(t, "queuetest: Drain during a Drain")
		close(release)
		expectCounts(t, <-first, 2, 0, 0, 0, 0)

		ctx, cancel := context.WithCancel(t.Context())
		go q.Run(ctx)
		synctest.Wait()
		enqueue(t, q, "elsewhere", email{}, queue.On("elsewhere"))
		q.Drain(t.Context())
		r.expectMention(t, "already running")
		cancel()
		r.end()

		q.Drain(t.Context())
		r.expectMention(t, "closed")
	})
}
