package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// process is one process of a simulation: a queue and its link to the broker.
type process struct {
	universe *universe
	number   int64
	healthy  bool // has no faults
	old      bool // does not know all kinds
	faulty   float64
	stopping atomic.Bool

	alive context.Context // until the crash
	kill  context.CancelFunc

	mu   sync.Mutex
	rand *rand.Rand // guarded by mu
}

func (w *universe) newProcess(r *rand.Rand, faulty float64) *process {
	p := &process{universe: w, number: w.numbers.Add(1), faulty: faulty, rand: rand.New(rand.NewPCG(r.Uint64(), 0))}
	p.alive, p.kill = context.WithCancel(context.Background())
	return p
}

// crash makes the process dead for the broker.
func (p *process) crash() { p.kill() }

func (p *process) knows(kind string) bool {
	return kind == "job" || kind == unknownToOld && !p.old
}

// run names what the handler of a delivery does in this process.
func (p *process) run(d *backend.Delivery) string { return runKey(p, d.ID, d.Attempt) }

func runKey(p *process, id string, attempt int) string {
	return fmt.Sprint(p.number, " ", id, " ", attempt)
}

// start runs the process. The function that it returns ends it.
func (p *process) start() (stop func()) {
	p.mu.Lock()
	workers, prefetch := 1+p.rand.IntN(4), p.rand.IntN(4)
	lease := time.Duration(1000+p.rand.IntN(9000)) * time.Millisecond
	grace := time.Duration(p.rand.IntN(5000)) * time.Millisecond
	p.mu.Unlock()
	mux := new(queue.Mux)
	for _, kind := range []string{"job", unknownToOld} {
		if p.knows(kind) {
			queue.RegisterOn(mux, kind, queue.HandlerFunc[int](p.handle))
		}
	}
	q := queue.New(&link{p.universe.broker.Connect(), p.universe.arbiter, p, p.universe.flaw},
		queue.Handlers(mux), queue.Logger(nil), queue.Workers(workers), queue.Prefetch(prefetch),
		queue.Lease(lease), queue.Shutdown(grace))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := q.Run(ctx)
		if err != nil && !errors.Is(err, queue.ErrDrainTimeout) {
			p.universe.arbiter.mu.Lock()
			defer p.universe.arbiter.mu.Unlock()
			p.universe.arbiter.violate("Run of process %d: %v", p.number, err)
		}
	}()
	return func() {
		p.stopping.Store(true)
		start := time.Now()
		cancel()
		<-ended
		if took := time.Since(start); took > grace+time.Second {
			p.universe.arbiter.mu.Lock()
			p.universe.arbiter.violate("Run of process %d took %v to end with a grace of %v", p.number, took, grace)
			p.universe.arbiter.mu.Unlock()
		}
		q.Close()
	}
}

// handle runs the script of a job and tells the arbiter what it says.
func (p *process) handle(ctx context.Context, job *queue.Job[int]) (err error) {
	p.universe.arbiter.begin(p, job.ID, job.Attempt)
	verdict := queue.Retried // by panic, or by Goexit
	defer func() { p.universe.arbiter.end(p, job.ID, job.Attempt, verdict) }()
	err = p.universe.script(ctx, job)
	if verdict, _ = queue.VerdictOf(err); verdict == queue.Undecided {
		verdict = queue.Retried
		if context.Cause(ctx) == queue.ErrShutdown {
			verdict = queue.Released
		}
	}
	return err
}

// net is the network between a process and the broker.
func (p *process) net(ctx context.Context, verb string, call func() error) error {
	if p.alive.Err() != nil {
		<-ctx.Done()
		return ctx.Err()
	}
	p.mu.Lock()
	chance, latency := p.rand.Float64(), time.Duration(p.rand.IntN(500))*time.Millisecond
	p.mu.Unlock()
	fault := p.faulty
	if verb == "extend" {
		fault = min(3*fault, 1)
	}
	switch {
	case chance >= fault:
		return call()
	case chance < fault*0.3: // the request is lost
		return fmt.Errorf("%w: simulated", queue.ErrUnavailable)
	case chance < fault*0.5: // the reply is lost
		call()
		return errors.New("simulated: connection reset")
	case chance < fault*0.6 && verb != "reserve": // the network hangs
		<-ctx.Done()
		return ctx.Err()
	case chance < fault*0.8: // the request is late
		if !p.wait(ctx, latency) {
			return ctx.Err()
		}
		return call()
	default: // the reply is late
		err := call()
		if !p.wait(ctx, latency) {
			return ctx.Err()
		}
		return err
	}
}

func (p *process) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
