package faults

import (
	"context"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// The kinds of job that a worker process runs.
const (
	Note  = "note"  // takes its time, and writes that down
	Crash = "crash" // takes its time, and then kills its worker
)

// duration are the arguments of both: how long the handler takes.
type duration struct{ Takes time.Duration }

// OpenQueue opens a queue for a producer. It is closed when the test ends.
func OpenQueue(t testing.TB, url string) *queue.Queue {
	t.Helper()
	q, err := queue.Open(t.Context(), url, queue.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// Enqueue enqueues a job for a worker process, whose handler takes some time.
func Enqueue(t testing.TB, q *queue.Queue, kind, id string, takes time.Duration) {
	t.Helper()
	if _, err := q.Enqueue(t.Context(), kind, duration{takes}, queue.ID(id)); err != nil {
		t.Fatal(err)
	}
}

// handlers are those of a worker process.
func handlers(story Chronicle) *queue.Mux {
	mux := new(queue.Mux)
	queue.RegisterOn(mux, Note, queue.HandlerFunc[duration](func(ctx context.Context, job *queue.Job[duration]) error {
		if err := story.write(Event{What: Began, ID: job.ID, Attempt: job.Attempt}); err != nil {
			return err
		}
		select {
		case <-time.After(job.Args.Takes):
			return story.write(Event{What: Ended, ID: job.ID, Attempt: job.Attempt})
		case <-ctx.Done():
			// It ends as if nothing had happened: the broker has to refuse it.
			return story.write(Event{What: Cancelled, ID: job.ID, Attempt: job.Attempt, Cause: context.Cause(ctx).Error()})
		}
	}))
	queue.RegisterOn(mux, Crash, queue.HandlerFunc[duration](func(_ context.Context, job *queue.Job[duration]) error {
		if err := story.write(Event{What: Began, ID: job.ID, Attempt: job.Attempt}); err != nil {
			return err
		}
		time.Sleep(job.Args.Takes)
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}))
	return mux
}
