package queue_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend/memory"
)

// BenchmarkJob takes a job from Enqueue to its ack on the memory backend, with
// a handler that does nothing. The arguments are a number, whose encoding and
// decoding are the least that a job can have.
func BenchmarkJob(b *testing.B) {
	for _, workers := range []int{1, 100} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			mux := new(queue.Mux)
			var done sync.WaitGroup
			kind := queue.RegisterOn(mux, "noop", queue.HandlerFunc[int](func(context.Context, *queue.Job[int]) error {
				done.Done()
				return nil
			}))
			q := queue.New(memory.New(), queue.Handlers(mux), queue.Workers(workers), queue.Logger(nil))
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error)
			go func() { ended <- q.Run(ctx) }()
			b.ReportAllocs()
			done.Add(b.N)
			b.ResetTimer()
			for i := range b.N {
				if _, err := kind.Enqueue(ctx, q, i); err != nil {
					b.Fatal(err)
				}
			}
			done.Wait()
			b.StopTimer()
			cancel()
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
			q.Close()
		})
	}
}
