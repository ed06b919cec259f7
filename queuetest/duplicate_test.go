package queuetest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/queuetest"
	"github.com/goferhq/queue/retry"
)

func TestDuplicateDeliversEveryJobTwiceAndNoMore(t *testing.T) {
	times := make(map[string]int)
	q := queuetest.New(t, queuetest.Duplicate(), queue.Handlers(handle("send_email", func(_ context.Context, job *queue.Job[email]) error {
		times[job.ID]++
		if job.Attempt != 1 {
			t.Errorf("delivery %d is attempt %d, want 1", times[job.ID], job.Attempt)
		}
		return nil
	}, queue.MaxAttempts(1))))
	for range 50 {
		enqueue(t, q, "send_email", email{})
	}
	expectCounts(t, q.Drain(t.Context()), 100, 0, 0, 0, 0)
	for id, n := range times {
		if n != 2 {
			t.Errorf("job %s ran %d times, want 2", id, n)
		}
	}
	expectCounts(t, q.Drain(t.Context()), 0, 0, 0, 0, 0)
}

func TestDuplicateWorksWithRunAndManyWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		times := make(map[string]int)
		q := queuetest.New(t, queuetest.Duplicate(), queue.Workers(8), queue.Prefetch(8),
			queue.Handlers(handle("send_email", func(_ context.Context, job *queue.Job[email]) error {
				time.Sleep(time.Second)
				mu.Lock()
				defer mu.Unlock()
				times[job.ID]++
				return nil
			})))
		for range 100 {
			enqueue(t, q, "send_email", email{})
		}
		go q.Run(context.Background())
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if len(times) != 100 {
			t.Errorf("%d jobs ran, want 100", len(times))
		}
		for id, n := range times {
			if n != 2 {
				t.Errorf("job %s ran %d times, want 2", id, n)
			}
		}
	})
}

func TestDuplicateLeavesRetriesAndBurialsAsTheyAre(t *testing.T) {
	outcomes := map[string]error{
		"buried":    queue.Bury(errors.New("no such mailbox")),
		"cancelled": queue.Cancel(errors.New("unsubscribed")),
	}
	q := queuetest.New(t, queuetest.Duplicate(), queue.Handlers(handle("send_email", func(_ context.Context, job *queue.Job[email]) error {
		if job.Args.To == "shaky" && job.Attempt == 1 {
			return errors.New("smtp is down")
		}
		return outcomes[job.Args.To]
	}, queue.Retry(retry.Fixed(0)))))
	for _, to := range []string{"shaky", "buried", "cancelled"} {
		enqueue(t, q, "send_email", email{To: to})
	}
	expectCounts(t, q.Drain(t.Context()), 2, 1, 0, 1, 2)
}

func TestDuplicateTakesAnIDThatIsUsedAgain(t *testing.T) {
	q := queuetest.New(t, queuetest.Duplicate(), queue.Handlers(handle("send_email", func(context.Context, *queue.Job[email]) error { return nil })))
	for range 3 {
		enqueue(t, q, "send_email", email{}, queue.ID("daily"))
		expectCounts(t, q.Drain(t.Context()), 2, 0, 0, 0, 0)
	}
}

func TestDuplicateFindsAHandlerThatIsNotIdempotent(t *testing.T) {
	sent := 0
	q := queuetest.New(t, queuetest.Duplicate(), queue.Handlers(handle("send_email", func(context.Context, *queue.Job[email]) error {
		sent++
		if sent > 1 {
			return fmt.Errorf("sent %d times", sent)
		}
		return nil
	})))
	enqueue(t, q, "send_email", email{})
	if q.Drain(t.Context()).Err() == nil {
		t.Error("nobody noticed")
	}
}
