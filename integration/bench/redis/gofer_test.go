package redis_test

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
	"github.com/goferhq/queue/integration/bench"
)

// Where this library keeps what is in its default queue.
const (
	goferReady   = "resque:queue:" + queue.DefaultQueue
	goferRunning = "resque:gofer:running:" + queue.DefaultQueue
)

// gofer is this library as a drainer.
func gofer(s *server, database, workers int) bench.Drainer {
	client := s.client(database)
	return bench.Drainer{
		Name: "gofer",
		Fill: func(n int) { fillGofer(s, database, n) },
		Worker: func(handle func(number int)) (start, stop func()) {
			return bench.GoferWorker(s.tb, bench.OpenGofer(s.tb, s.url(database), handle, queue.Workers(workers)))
		},
		Left: func() int64 {
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
	q := bench.OpenGofer(s.tb, s.url(database), nil)
	defer q.Close()
	bench.FillGofer(s.tb, q, n, 500)
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
	a := bench.ArgumentsOf(number)
	return fmt.Sprintf(`{"class":%q,"args":[{"number":%d,"to":%q,"subject":%q,"body":%q}]}`,
		bench.Kind, a.Number, a.To, a.Subject, a.Body)
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
