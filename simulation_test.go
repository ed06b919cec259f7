package queue_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/retry"
)

// TestSimulation runs worlds of random seeds: producers and several processes
// on one broker, over a network that delays, drops and cuts, processes that
// crash or stop at any moment, handlers of all manners. The arbiter tells of
// every rule that was broken; see there for the rules.
//
// SEEDS is how many seeds to try, SEED is one to try many times: the seed
// decides everything but the order in which goroutines of one instant run.
func TestSimulation(t *testing.T) {
	seeds, first, step := number(t, "SEEDS", 3000), uint64(1), uint64(1)
	if seed := number(t, "SEED", 0); seed > 0 {
		seeds, first, step = 200, seed, 0
	}
	atOnce := uint64(runtime.GOMAXPROCS(0))
	for worker := range atOnce {
		t.Run(fmt.Sprintf("worker=%d", worker), func(t *testing.T) {
			t.Parallel()
			for i := worker; i < seeds && !t.Failed(); i += atOnce {
				seed := first + i*step
				for _, v := range simulate(t, seed, flaw{}) {
					t.Errorf("seed %d: %s", seed, v)
				}
				if t.Failed() {
					t.Logf("replay with SEED=%d go test -race -run '^TestSimulation$' .", seed)
				}
			}
		})
	}
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestSimulationFindsBrokenBrokers shows that the simulation has teeth.
func TestSimulationFindsBrokenBrokers(t *testing.T) {
	for name, f := range flaws {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 200; seed++ {
				if violations := simulate(t, seed, f); len(violations) > 0 {
					t.Logf("seed %d: %s", seed, violations[0])
					return
				}
			}
			t.Error("200 seeds found nothing wrong")
		})
	}
}

// flaw is what is wrong with a broker. The zero value is a sound one.
type flaw struct{ staleAck, noExtend, earlyAck, lostRetry, spentRelease, forgottenAttempt bool }

var flaws = map[string]flaw{
	"accepts stale acks":          {staleAck: true},
	"does not extend":             {noExtend: true},
	"acks what it hands out":      {earlyAck: true},
	"loses retries":               {lostRetry: true},
	"spends attempts of releases": {spentRelease: true},
	"forgets attempts of a retry": {forgottenAttempt: true},
}

func (f flaw) reserve(b *memory.Backend, ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	ds, err := b.Reserve(ctx, queues, max, lease)
	if f.earlyAck && err == nil {
		b.Ack(context.Background(), ds)
	}
	return ds, err
}

func (f flaw) ack(b *memory.Backend, ctx context.Context, ds []*backend.Delivery) error {
	err := b.Ack(ctx, ds)
	if f.staleAck && errors.Is(err, queue.ErrLeaseLost) || f.earlyAck {
		return nil
	}
	return err
}

func (f flaw) extend(b *memory.Backend, ctx context.Context, ds []*backend.Delivery, lease time.Duration) error {
	if f.noExtend {
		return nil
	}
	return b.Extend(ctx, ds, lease)
}

func (f flaw) retry(b *memory.Backend, ctx context.Context, rs []backend.Replacement) error {
	if f.lostRetry {
		ds := make([]*backend.Delivery, len(rs))
		for i, r := range rs {
			ds[i] = r.Delivery
		}
		return b.Ack(ctx, ds)
	}
	if f.forgottenAttempt {
		forgetful := make([]backend.Replacement, len(rs))
		for i, r := range rs {
			m := *r.Message
			m.Attempt = 0
			forgetful[i] = backend.Replacement{Delivery: r.Delivery, Message: &m}
		}
		rs = forgetful
	}
	return b.Retry(ctx, rs)
}

func (f flaw) release(b *memory.Backend, ctx context.Context, ds []*backend.Delivery, delay time.Duration) error {
	if !f.spentRelease {
		return b.Release(ctx, ds, delay)
	}
	rs := make([]backend.Replacement, len(ds))
	for i, d := range ds {
		m := d.Message
		m.Delay = delay
		rs[i] = backend.Replacement{Delivery: d, Message: &m}
	}
	return b.Retry(ctx, rs)
}

// universe is one simulation.
type universe struct {
	seed    uint64
	broker  *memory.Broker
	arbiter *arbiter
	flaw    flaw
	numbers atomic.Int64 // of processes
	runs    tally        // of handlers, by job and attempt
}

const (
	unknownToAll = "unknown to all"
	unknownToOld = "unknown to old"
)

// simulate returns the rules that were broken in the universe of a seed.
func simulate(t *testing.T, seed uint64, f flaw) (violations []string) {
	synctest.Test(t, func(t *testing.T) {
		w := &universe{seed: seed, broker: memory.NewBroker(), arbiter: newArbiter(), flaw: f}
		r := rand.New(rand.NewPCG(seed, 0))
		lasts := time.Duration(20+r.IntN(100)) * time.Second
		var all sync.WaitGroup
		for i := range 1 + r.IntN(2) {
			seed := r.Uint64()
			all.Go(func() { w.produce(rand.New(rand.NewPCG(seed, 0)), i, lasts) })
		}
		for range 1 + r.IntN(3) {
			seed := r.Uint64()
			all.Go(func() { w.keepRunning(rand.New(rand.NewPCG(seed, 0)), lasts) })
		}
		all.Wait()
		w.settleDown(r)
		violations = w.arbiter.violations
	})
	return violations
}

// produce enqueues jobs, a few at a time.
func (w *universe) produce(r *rand.Rand, number int, lasts time.Duration) {
	p := w.newProcess(r, 0.1)
	q := queue.New(&link{w.broker.Connect(), w.arbiter, p, w.flaw}, queue.Handlers(new(queue.Mux)), queue.Logger(nil))
	defer q.Close()
	end := time.Now().Add(lasts)
	for n := 0; n < 5+int(w.seed%20) && time.Now().Before(end); {
		var requests []queue.Request
		for range 1 + r.IntN(4) {
			kind := "job"
			if k := r.IntN(20); k == 0 {
				kind = unknownToAll
			} else if k < 3 {
				kind = unknownToOld
			}
			options := []queue.Option{
				queue.ID(fmt.Sprintf("%d-%d", number, n)), queue.Header("n", strconv.Itoa(n)), queue.MaxAttempts(1 + r.IntN(5)),
				queue.Retry(retry.Fixed(time.Duration(r.IntN(5000)) * time.Millisecond)),
			}
			if r.IntN(3) == 0 {
				options = append(options, queue.In(time.Duration(r.IntN(20000))*time.Millisecond))
			}
			requests = append(requests, queue.Request{Kind: kind, Args: n, Options: options})
			n++
		}
		// What fails may be stored or not; the arbiter knows.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		ids, err := q.EnqueueMany(ctx, requests...)
		cancel()
		if err == nil {
			w.arbiter.mu.Lock()
			for _, id := range ids {
				if w.arbiter.fates[id] == nil {
					w.arbiter.violate("job %s was acknowledged and not stored", id)
				}
			}
			w.arbiter.mu.Unlock()
		}
		time.Sleep(time.Duration(r.IntN(10000)) * time.Millisecond)
	}
}

// keepRunning starts one process after the other. Each ends by a crash or
// by a shutdown.
func (w *universe) keepRunning(r *rand.Rand, lasts time.Duration) {
	end := time.Now().Add(lasts)
	for time.Now().Before(end) {
		p := w.newProcess(r, 0.3*r.Float64())
		p.old = r.IntN(3) == 0
		stop := p.start()
		time.Sleep(time.Duration(r.IntN(30000)) * time.Millisecond)
		if r.IntN(2) == 0 {
			p.crash()
			time.Sleep(time.Duration(r.IntN(20)) * time.Second) // its handlers run on: nobody told them
		}
		stop()
		time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
	}
}

// settleDown has one healthy process finish what is left, and checks that
// nothing was lost.
func (w *universe) settleDown(r *rand.Rand) {
	p := w.newProcess(r, 0)
	p.healthy = true
	stop := p.start()
	for range 6 * 60 {
		if len(w.arbiter.unfinished()) == 0 {
			break
		}
		time.Sleep(time.Minute)
	}
	stop()
	left := w.arbiter.unfinished()
	stats, err := w.broker.Connect().Stats(context.Background(), queue.DefaultQueue)
	w.arbiter.mu.Lock()
	defer w.arbiter.mu.Unlock()
	for _, id := range left {
		w.arbiter.violate("job %s was lost", id)
	}
	if err != nil || stats.Ready+stats.Scheduled+stats.Reserved != 0 {
		w.arbiter.violate("the broker is left with %+v, %v", stats, err)
	}
}

// script decides what the handler of a run does, by seed, job and run.
func (w *universe) script(ctx context.Context, job *queue.Job[int]) error {
	h := fnv.New64a()
	run := fmt.Sprint(job.ID, " ", job.Attempt)
	fmt.Fprint(h, run, " ", w.runs.add(run))
	r := rand.New(rand.NewPCG(w.seed, h.Sum64()))
	switch d := time.Duration(r.IntN(8000)) * time.Millisecond; r.IntN(4) {
	case 0: // takes no time
	case 1: // pays no heed
		time.Sleep(d)
	default:
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	delay := time.Duration(r.IntN(10000)) * time.Millisecond
	switch r.IntN(16) {
	case 0, 1:
		return errors.New("failed")
	case 2:
		panic("boom")
	case 3:
		runtime.Goexit()
	case 4:
		return queue.RetryIn(delay, errors.New("later"))
	case 5, 6:
		return queue.Snooze(delay)
	case 7:
		return queue.Bury(errors.New("hopeless"))
	case 8:
		return queue.Cancel(nil)
	case 9:
		return fmt.Errorf("wrapped: %w", queue.RetryIn(0, nil))
	}
	return nil
}
