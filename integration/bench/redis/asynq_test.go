package redis_test

import (
	"context"
	"encoding/json"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/integration/bench"
)

// Where asynq keeps the ids of what is in its default queue.
const (
	asynqPending = "asynq:{default}:pending"
	asynqActive  = "asynq:{default}:active"
)

func asynqOptions(s *server, database int) asynq.RedisClientOpt {
	return asynq.RedisClientOpt{Addr: s.address, DB: database}
}

// asynqClient returns a client for enqueuing that ends with the test.
func asynqClient(s *server, database int) *asynq.Client {
	client := asynq.NewClient(asynqOptions(s, database))
	s.tb.Cleanup(func() { client.Close() })
	return client
}

// enqueueAsynq enqueues a job by its number.
func enqueueAsynq(client *asynq.Client, number int) error {
	payload, err := json.Marshal(bench.ArgumentsOf(number))
	if err == nil {
		_, err = client.Enqueue(asynq.NewTask(bench.Kind, payload))
	}
	return err
}

// asynqWorker returns what starts a server that says nothing, and what ends it.
// The queues are those that have a priority, or the default one.
func asynqWorker(s *server, database, workers int, queues map[string]int, handle func(number int)) (start, stop func()) {
	mux := asynq.NewServeMux()
	mux.HandleFunc(bench.Kind, func(_ context.Context, task *asynq.Task) error {
		var a bench.Arguments
		if err := json.Unmarshal(task.Payload(), &a); err != nil {
			return err
		}
		handle(a.Place())
		return nil
	})
	worker := asynq.NewServer(asynqOptions(s, database), asynq.Config{
		Concurrency: workers,
		Queues:      queues,
		LogLevel:    asynq.FatalLevel,
	})
	start = func() {
		s.tb.Helper()
		if err := worker.Start(mux); err != nil {
			s.tb.Fatal(err)
		}
	}
	return start, worker.Shutdown
}

// peer is asynq as a drainer.
func peer(s *server, database, workers int) bench.Drainer {
	client := s.client(database)
	producer := asynqClient(s, database)
	return bench.Drainer{
		Name: "asynq",
		Fill: func(n int) {
			// It has no batches, and many goroutines are the fastest way.
			err := bench.Concurrently(50, n, func(number int) error { return enqueueAsynq(producer, number) })
			if err != nil {
				s.tb.Fatal(err)
			}
		},
		Worker: func(handle func(number int)) (start, stop func()) {
			return asynqWorker(s, database, workers, nil, handle)
		},
		Left: func() int64 {
			return s.sum(client, func(ctx context.Context, pipe redis.Pipeliner) {
				pipe.LLen(ctx, asynqPending)
				pipe.LLen(ctx, asynqActive)
			})
		},
	}
}
