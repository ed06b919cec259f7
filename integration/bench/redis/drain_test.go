package redis_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/bench"
)

// BenchmarkDrain is the rate at which a backlog of jobs that do nothing is
// done. The loop has no number of workers: it is the same each time.
func BenchmarkDrain(b *testing.B) {
	const jobs = 50_000
	for _, workers := range []int{10, 50} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			s := startServer(b)
			var runners []bench.Runner
			for _, d := range []bench.Drainer{gofer(s, 0, workers), peer(s, 1, workers), loop(s, 2, 1), loop(s, 2, 2)} {
				runners = append(runners, bench.Runner{Name: d.Name, Turn: func() float64 {
					return bench.PerSecond(jobs, bench.Drain(b, s, d, jobs, func(int) {}))
				}})
			}
			bench.Race(b, 1, runners...)
		})
	}
}

// BenchmarkBacklog is the rate at which jobs are done from the head of a long
// queue and of a short one. Both are on the same server, and as many are taken
// from each.
func BenchmarkBacklog(b *testing.B) {
	const (
		long, short = 1_000_000, 10_000
		turns       = 10
	)
	s := startServer(b)
	payload := goferPayload(s, 0)
	var runners []bench.Runner
	for database, c := range []struct {
		name    string
		backlog int
	}{{"1M", long}, {"10k", short}} {
		client, left := s.client(database), gofer(s, database, queue.DefaultWorkers).Left
		runners = append(runners, bench.Runner{Name: c.name, Turn: func() float64 {
			addBacklog(b, client, payload, c.backlog-int(left()))
			s.Settle()
			return bench.PerSecond(short, timeHead(s, database, short))
		}})
	}
	bench.Race(b, turns, runners...)
}

// timeHead returns how long a worker takes for the first n jobs.
func timeHead(s *server, database, n int) time.Duration {
	s.tb.Helper()
	var handled atomic.Int64
	last := make(chan time.Time, 1)
	q := bench.OpenGofer(s.tb, s.url(database), func(int) {
		if handled.Add(1) == int64(n) {
			last <- time.Now()
		}
	})
	start, stop := bench.GoferWorker(s.tb, q)
	runtime.GC()
	began := time.Now()
	start()
	defer stop()
	select {
	case ended := <-last:
		return ended.Sub(began)
	case <-time.After(bench.Patience):
		s.tb.Fatalf("%d of %d jobs were done after %v", handled.Load(), n, bench.Patience)
		return 0
	}
}
