package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue"
	_ "github.com/goferhq/queue/backend/redis"
)

// Where this library keeps what is in its default queue.
const (
	goferReady   = "resque:queue:" + queue.DefaultQueue
	goferRunning = "resque:gofer:running:" + queue.DefaultQueue
)

// openGofer opens a queue that says nothing. handle is called by each job with
// its number.
func openGofer(tb testing.TB, url string, handle func(number int), options ...queue.OpenOption) *queue.Queue {
	tb.Helper()
	mux := new(queue.Mux)
	queue.RegisterFuncOn(mux, kind, func(_ context.Context, job *queue.Job[arguments]) error {
		handle(job.Args.place())
		return nil
	})
	q, err := queue.Open(context.Background(), url, append(options, queue.Handlers(mux), queue.Logger(nil))...)
	if err != nil {
		tb.Fatal(err)
	}
	return q
}

// goferWorker returns what runs a queue, and what ends that and closes it.
func goferWorker(tb testing.TB, q *queue.Queue) (start, stop func()) {
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

// gofer is this library as a drainer.
func gofer(s *server, database, workers int) drainer {
	client := s.client(database)
	return drainer{
		name: "gofer",
		fill: func(n int) { fillGofer(s, database, n) },
		worker: func(handle func(number int)) (start, stop func()) {
			return goferWorker(s.tb, openGofer(s.tb, s.url(database), handle, queue.Workers(workers)))
		},
		left: func() int64 {
			return s.sum(client, func(ctx context.Context, pipe redis.Pipeliner) {
				pipe.LLen(ctx, goferReady)
				pipe.HLen(ctx, goferRunning)
			})
		},
	}
}

// fillGofer enqueues jobs.
func fillGofer(s *server, database, n int) {
	s.tb.Helper()
	q := openGofer(s.tb, s.url(database), nil)
	defer q.Close()
	const batch = 500
	for first := 0; first < n; first += batch {
		var requests []queue.Request
		for number := first; number < min(first+batch, n); number++ {
			requests = append(requests, queue.Request{Kind: kind, Args: argumentsOf(number)})
		}
		if _, err := q.EnqueueMany(context.Background(), requests...); err != nil {
			s.tb.Fatal(err)
		}
	}
}

// goferPayload returns what this library stores for a job: it enqueues one and
// takes it away.
func goferPayload(s *server, database int) []byte {
	s.tb.Helper()
	fillGofer(s, database, 1)
	payload, err := s.client(database).RPop(context.Background(), goferReady).Bytes()
	if err != nil {
		s.tb.Fatal(err)
	}
	return payload
}

// foreignPayload returns what a Resque of another language stores for a job
// with a number.
func foreignPayload(number int) string {
	a := argumentsOf(number)
	return fmt.Sprintf(`{"class":%q,"args":[{"number":%d,"to":%q,"subject":%q,"body":%q}]}`,
		kind, a.Number, a.To, a.Subject, a.Body)
}

// backlogID is the latest ID of a job that addBacklog has made.
var backlogID atomic.Int64

// addBacklog puts copies of a payload at the end of the queue, far faster than
// they could be enqueued. Each has an ID of its own: a worker does not run two
// jobs with one ID at a time.
func addBacklog(tb testing.TB, client *redis.Client, payload []byte, n int) {
	tb.Helper()
	var job envelope
	if err := json.Unmarshal(payload, &job); err != nil {
		tb.Fatal(err)
	}
	head, tail, _ := strings.Cut(string(payload), job.ID)
	ctx := context.Background()
	const batch, batches = 500, 20 // in one pipeline
	for n > 0 {
		_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for range batches {
				values := make([]any, min(batch, n))
				if len(values) == 0 {
					break
				}
				for i := range values {
					values[i] = fmt.Sprintf("%s%0*d%s", head, len(job.ID), backlogID.Add(1), tail)
				}
				pipe.RPush(ctx, goferReady, values...)
				n -= len(values)
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}
