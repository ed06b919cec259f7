package rabbitmq_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/bench"
)

// BenchmarkDelay is the rate at which jobs with a delay are enqueued one by
// one, and how late they begin on a worker that waits for them.
func BenchmarkDelay(b *testing.B) {
	const (
		jobs     = 10_000
		shortest = 3  // seconds; all are enqueued before the first is due
		longest  = 12 // seconds
	)
	s := startServer(b)
	due, began := make([]time.Time, jobs), make([]time.Time, jobs)
	handled := make(chan struct{}, jobs)
	producer := bench.OpenGofer(b, s.URL(), nil)
	b.Cleanup(func() { producer.Close() })
	start, stop := bench.GoferWorker(b, bench.OpenGofer(b, s.URL(), func(number int) {
		began[number] = time.Now()
		handled <- struct{}{}
	}))
	start()
	defer stop()
	var rates, late []float64
	for b.Loop() {
		called := time.Now()
		err := bench.Concurrently(goroutines, jobs, func(number int) error {
			delay := time.Duration(shortest+rand.IntN(longest-shortest+1)) * time.Second
			due[number] = time.Now().Add(delay)
			_, err := producer.Enqueue(context.Background(), bench.Kind, bench.ArgumentsOf(number), queue.In(delay))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		rates = append(rates, bench.PerSecond(jobs, time.Since(called)))
		patience := time.After(bench.Patience)
		for n := range jobs {
			select {
			case <-handled:
			case <-patience:
				b.Fatalf("%d of %d jobs were done after %v", n, jobs, bench.Patience)
			}
		}
		for number := range jobs {
			late = append(late, bench.Milliseconds(began[number].Sub(due[number])))
		}
	}
	if earliest := bench.Percentile(late, 0); earliest < 0 {
		b.Errorf("a job began %v ms before it was due", -earliest)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(bench.Percentile(rates, 50), "gofer-jobs/s")
	b.ReportMetric(bench.Percentile(late, 50), "gofer-late-p50-ms")
	b.ReportMetric(bench.Percentile(late, 99), "gofer-late-p99-ms")
	b.ReportMetric(bench.Percentile(late, 100), "gofer-late-max-ms")
}
