package memory_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

// Many goroutines, on several connections, do all that can be done. In the end
// every job that was pushed is accounted for.
func TestCountsAreRightAfterEverythingAtOnce(t *testing.T) {
	const workers, rounds = 8, 400
	queues := []string{"a", "b", "c"}
	broker := memory.NewBroker()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pushed, acked, deleted atomic.Int64
	count := func(n int, err error) {
		if err != nil {
			t.Error(err)
		}
		deleted.Add(int64(n))
	}
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			m := broker.Connect()
			random := rand.New(rand.NewPCG(uint64(worker), 0))
			queue := func() string { return queues[random.IntN(len(queues))] }
			delay := func() time.Duration { return time.Duration(random.IntN(3)) * time.Millisecond }
			for round := range rounds {
				var jobs []*backend.Message
				for i := range random.IntN(6) {
					id := fmt.Sprint(worker, "/", round, "/", i)
					jobs = append(jobs, &backend.Message{ID: id, Kind: "k", Queue: queue(), Delay: delay(), Priority: random.IntN(3)})
				}
				pushed.Add(int64(len(jobs)))
				if err := m.Push(ctx, jobs); err != nil {
					t.Error(err)
				}
				acked.Add(work(t, m, random, queues, delay))
				switch random.IntN(20) {
				case 0:
					count(m.Purge(ctx, queue()))
				case 1:
					count(m.Remove(ctx, queue(), backend.Filter{ID: fmt.Sprint(random.IntN(workers), "/", round, "/0")}))
				case 2, 3, 4:
					q := queue()
					dead, err := m.Peek(ctx, q, backend.Dead, 0, 5)
					if err != nil {
						t.Error(err)
					}
					for i, e := range dead {
						if i == 0 {
							count(m.Delete(ctx, q, e.Key))
						} else if _, err := m.Requeue(ctx, q, e.Key); err != nil {
							t.Error(err)
						}
					}
				case 5:
					m = broker.Connect() // the loans of the old one go on
				}
			}
		})
	}
	wg.Wait()
	m := broker.Connect()
	var live, dead int64
	for _, q := range queues {
		s, err := m.Stats(ctx, q)
		must(t, err)
		live += s.Ready + s.Scheduled + s.Reserved
		dead += s.Dead
		entries, err := m.Peek(ctx, q, backend.Dead, 0, workers*rounds*6)
		must(t, err)
		if int64(len(entries)) != s.Dead {
			t.Errorf("%d dead jobs are listed, want %d", len(entries), s.Dead)
		}
	}
	t.Logf("%d pushed, %d acked, %d deleted, %d live, %d dead", pushed.Load(), acked.Load(), deleted.Load(), live, dead)
	if want := pushed.Load() - acked.Load() - deleted.Load(); live+dead != want {
		t.Errorf("%d are left, want %d", live+dead, want)
	}
	seen := make(map[string]bool)
	for int64(len(seen)) < live { // what is scheduled or on loan comes within milliseconds
		ds, err := m.Reserve(ctx, queues, 100, time.Hour)
		must(t, err)
		for _, d := range ds {
			if seen[d.ID] {
				t.Fatalf("job %s was delivered twice", d.ID)
			}
			seen[d.ID] = true
		}
	}
}

// work reserves some jobs, settles each in one way or another, or lets its
// lease end, and returns how many it acked.
func work(t *testing.T, m *memory.Backend, random *rand.Rand, queues []string, delay func() time.Duration) (acked int64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(500))*time.Microsecond)
	defer cancel()
	lease := time.Duration(1+random.IntN(20)) * time.Millisecond
	ds, err := m.Reserve(ctx, queues, 1+random.IntN(8), lease)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx = context.Background()
	for _, d := range ds {
		var err error
		one := []*backend.Delivery{d}
		next := d.Message
		switch random.IntN(6) {
		case 0:
			next.Delay = delay()
			err = m.Retry(ctx, []backend.Replacement{{Delivery: d, Message: &next}})
		case 1:
			err = m.Release(ctx, one, delay())
		case 2:
			err = m.Bury(ctx, []backend.Burial{{Delivery: d, Message: &next}})
		case 3:
			err = m.Extend(ctx, one, lease)
		default:
			if err = m.Ack(ctx, one); err == nil {
				acked++
			}
		}
		if err != nil && !errors.Is(err, backend.ErrLeaseLost) {
			t.Error(err)
		}
	}
	return acked
}

// Two workers never hold the same job at once, and each job is acked once.
func TestLeaseIsExclusiveUnderContention(t *testing.T) {
	const workers, jobs = 8, 5000
	m := memory.New()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var held sync.Map
	var acks atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				ds, err := m.Reserve(ctx, []string{"q"}, 3, time.Hour)
				if err != nil {
					return
				}
				for _, d := range ds {
					if _, taken := held.LoadOrStore(d.ID, true); taken {
						t.Errorf("job %s is held twice", d.ID)
					}
				}
				for _, d := range ds {
					held.Delete(d.ID)
				}
				if rand.IntN(2) == 0 {
					if err := m.Release(context.Background(), ds, 0); err != nil {
						t.Errorf("release: %v", err)
					}
					if err := m.Ack(context.Background(), ds); !errors.Is(err, backend.ErrLeaseLost) {
						t.Errorf("ack after release: %v, want ErrLeaseLost", err)
					}
					continue
				}
				if err := m.Ack(context.Background(), ds); err != nil {
					t.Errorf("ack: %v", err)
				}
				if acks.Add(int64(len(ds))) == jobs {
					cancel()
				}
			}
		})
	}
	for i := range jobs {
		push(t, m, fmt.Sprint(i))
	}
	wg.Wait()
	wantStats(t, m, 0, 0, 0, 0)
}
