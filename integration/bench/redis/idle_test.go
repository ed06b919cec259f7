package redis_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/bench"
)

// BenchmarkIdle is how many requests a worker makes in a second that has
// nothing to do: how often Redis reads from a connection.
func BenchmarkIdle(b *testing.B) {
	const (
		watched  = 10 * time.Second
		settling = 3 * time.Second // until all that comes with a start is over
	)
	s := startServer(b)
	measure := func(name string, worker func(queues []string) (start, stop func())) {
		for _, queues := range [][]string{{"first"}, {"first", "second", "third"}} {
			s.Flush()
			start, stop := worker(queues)
			start()
			time.Sleep(settling)
			before := s.info("stats", "total_reads_processed")
			time.Sleep(watched)
			requests := s.info("stats", "total_reads_processed") - before - 1 // that of INFO itself
			stop()
			b.ReportMetric(float64(requests)/watched.Seconds(), fmt.Sprintf("%s-%dq-reads/s", name, len(queues)))
		}
	}
	ignore := func(int) {}
	bench.Once(b, func() {
		measure("gofer", func(queues []string) (start, stop func()) {
			return bench.GoferWorker(b, bench.OpenGofer(b, s.url(0), ignore, queue.Queues(queues...)))
		})
		measure("asynq", func(queues []string) (start, stop func()) {
			priorities := make(map[string]int)
			for _, name := range queues {
				priorities[name] = 1
			}
			return asynqWorker(s, 1, queue.DefaultWorkers, priorities, ignore)
		})
	})
}
