package queue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend/memory"
)

// pool is a queue in memory that runs jobs which do nothing.
type pool struct {
	queue *queue.Queue
	kind  *queue.Kind[int]
	left  atomic.Int64  // jobs until done is signalled
	done  chan struct{} // of capacity 1
	end   func()
}

func newPool(b *testing.B, workers int) *pool {
	mux := new(queue.Mux)
	p := &pool{done: make(chan struct{}, 1)}
	p.kind = queue.RegisterOn(mux, "noop", queue.HandlerFunc[int](func(context.Context, *queue.Job[int]) error {
		if p.left.Add(-1) == 0 {
			p.done <- struct{}{}
		}
		return nil
	}))
	p.queue = queue.New(memory.New(), queue.Handlers(mux), queue.Workers(workers), queue.Logger(nil))
	return p
}

func (p *pool) run(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.queue.Run(ctx) }()
	p.end = func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		p.queue.Close()
	}
}

func (p *pool) enqueue(b *testing.B, n int) {
	if _, err := p.kind.Enqueue(context.Background(), p.queue, n); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkJob is the cost of a job from Enqueue to its ack, on top of
// encoding and decoding its arguments, which BenchmarkArgs has. Jobs come in
// waves of 1,000.
func BenchmarkJob(b *testing.B) {
	const wave = 1000
	for _, workers := range []int{1, 100} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			p := newPool(b, workers)
			p.run(b)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%wave == 0 {
					if n > 0 {
						<-p.done
					}
					p.left.Store(wave)
				}
				p.enqueue(b, n)
			}
			b.StopTimer()
			p.end()
		})
	}
}

// BenchmarkArgs is what encoding/json needs for the arguments of BenchmarkJob.
func BenchmarkArgs(b *testing.B) {
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		data, err := json.Marshal(n)
		if err != nil {
			b.Fatal(err)
		}
		args := new(int)
		if err := json.Unmarshal(data, args); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// BenchmarkDrain is the cost of running a job of a backlog. It must not grow
// with it.
func BenchmarkDrain(b *testing.B) {
	for _, backlog := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("backlog=%d", backlog), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				p := newPool(b, 10)
				for i := range backlog {
					p.enqueue(b, i)
				}
				p.left.Store(int64(backlog))
				runtime.GC()
				b.StartTimer()
				p.run(b)
				<-p.done
				b.StopTimer()
				p.end()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(backlog), "ns/job")
		})
	}
}
