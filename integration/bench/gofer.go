package bench

import (
	"context"
	"testing"

	"github.com/goferhq/queue"
)

// OpenGofer opens a queue of this library that says nothing. handle is called
// by each job with its number.
func OpenGofer(tb testing.TB, url string, handle func(number int), options ...queue.OpenOption) *queue.Queue {
	tb.Helper()
	mux := new(queue.Mux)
	queue.RegisterFuncOn(mux, Kind, func(_ context.Context, job *queue.Job[Arguments]) error {
		handle(job.Args.Place())
		return nil
	})
	q, err := queue.Open(context.Background(), url, append(options, queue.Handlers(mux), queue.Logger(nil))...)
	if err != nil {
		tb.Fatal(err)
	}
	return q
}

// GoferWorker returns what runs a queue, and what ends that and closes it.
func GoferWorker(tb testing.TB, q *queue.Queue) (start, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	start = func() {
		go func() { ended <- q.Run(ctx) }()
	}
	stop = func() {
		tb.Helper()
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
		if err := q.Close(); err != nil {
			tb.Error(err)
		}
	}
	return start, stop
}

// EnqueueGofer enqueues the job with a number.
func EnqueueGofer(q *queue.Queue, number int) error {
	_, err := q.Enqueue(context.Background(), Kind, ArgumentsOf(number))
	return err
}

// FillGofer enqueues the jobs 0 to n-1, a batch at a time.
func FillGofer(tb testing.TB, q *queue.Queue, n, batch int) {
	tb.Helper()
	for first := 0; first < n; first += batch {
		var requests []queue.Request
		for number := first; number < min(first+batch, n); number++ {
			requests = append(requests, queue.Request{Kind: Kind, Args: ArgumentsOf(number)})
		}
		if _, err := q.EnqueueMany(context.Background(), requests...); err != nil {
			tb.Fatal(err)
		}
	}
}
