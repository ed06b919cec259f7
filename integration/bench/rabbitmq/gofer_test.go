package rabbitmq_test

import (
	"github.com/goferhq/queue"
	_ "github.com/goferhq/queue/backend/rabbitmq"
	"github.com/goferhq/queue/integration/bench"
)

// goferQueue is where this library keeps what is in its default queue.
const goferQueue = queue.DefaultQueue

// batch is how many jobs this library enqueues in one call.
const batch = 1000

// goferProducer is this library as a producer.
func goferProducer(s *server) bench.Producer {
	q := bench.OpenGofer(s.tb, s.URL(), nil)
	s.tb.Cleanup(func() { q.Close() })
	return bench.Producer{Name: "gofer", Enqueue: func(number int) error { return bench.EnqueueGofer(q, number) }}
}

// gofer is this library as a drainer that enqueues batches.
func gofer(s *server, workers int) bench.Drainer {
	producer := bench.OpenGofer(s.tb, s.URL(), nil)
	s.tb.Cleanup(func() { producer.Close() })
	return bench.Drainer{
		Name: "gofer",
		Fill: func(n int) { bench.FillGofer(s.tb, producer, n, batch) },
		Worker: func(handle func(number int)) (start, stop func()) {
			return bench.GoferWorker(s.tb, bench.OpenGofer(s.tb, s.URL(), handle, queue.Workers(workers)))
		},
		Left: func() int64 { return s.left(goferQueue) },
	}
}

// goferSingles is this library as a drainer that enqueues jobs one by one.
func goferSingles(s *server, workers int) bench.Drainer {
	producer := goferProducer(s)
	d := gofer(s, workers)
	d.Fill = func(n int) {
		if err := bench.Concurrently(goroutines, n, producer.Enqueue); err != nil {
			s.tb.Fatal(err)
		}
	}
	return d
}
