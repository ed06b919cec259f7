package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

// line makes n calls of Reserve wait, one after the other, and returns a
// function that tells which of them were served, in what order.
func line(t *testing.T, m *memory.Backend, n int) func() []string {
	var mu sync.Mutex
	var served []string
	for i := range n {
		go func() {
			ds, err := m.Reserve(t.Context(), []string{"q"}, 2, lease)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				served = append(served, fmt.Sprint(i, ":", idsOf(ds)))
			}
		}()
		synctest.Wait()
	}
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(served)
		return served
	}
}

func TestWhoHasWaitedLongestIsServedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		defer m.Close()
		served := line(t, m, 5)
		push(t, m, "a")
		if got := served(); !slices.Equal(got, []string{"0:a"}) {
			t.Errorf("after the first job: %q", got)
		}
		batch := []*backend.Message{{ID: "b", Kind: "k", Queue: "q"}, {ID: "c", Kind: "k", Queue: "q"}, {ID: "d", Kind: "k", Queue: "q"}}
		must(t, m.Push(t.Context(), batch))
		if got := served(); !slices.Equal(got, []string{"0:a", "1:b c", "2:d"}) {
			t.Errorf("after a batch of three: %q", got)
		}
	})
}

// A job that comes due belongs to those who wait, also when another call
// arrives before the timer does.
func TestNobodyOvertakesThoseWhoWait(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			m := memory.New()
			defer m.Close()
			served := line(t, m, 1)
			pushMessage(t, m, backend.Message{ID: "due", Delay: time.Second})
			wait(time.Second) // ends at the instant at which the timer fires
			late := reserve(t, m, 1)
			if got := served(); !slices.Equal(got, []string{"0:due"}) {
				t.Errorf("the one who waited was served %q, the one who came later %q", got, idsOf(late))
			}
		})
	}
}

func TestOneJobWakesOneOfThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		served := line(t, m, 100)
		push(t, m, "a")
		if got := served(); len(got) != 1 {
			t.Errorf("served %q", got)
		}
		must(t, m.Close())
	})
}

func TestWhoWaitsForSeveralQueuesIsServedFromThemInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		go func() {
			wait(time.Second)
			var jobs []*backend.Message
			for _, queue := range []string{"c", "b", "a", "none", "b"} {
				jobs = append(jobs, &backend.Message{ID: queue + fmt.Sprint(len(jobs)), Kind: "k", Queue: queue})
			}
			must(t, m.Push(t.Context(), jobs))
		}()
		ds, err := m.Reserve(t.Context(), []string{"a", "b", "b", "c"}, 3, lease)
		if got, want := idsOf(ds), "a2 b1 b4"; got != want || err != nil {
			t.Errorf("reserved %q, %v, want %q", got, err, want)
		}
	})
}

func TestWhoWaitsForAllQueuesIsServedFromThemByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		push := func(queues ...string) {
			var jobs []*backend.Message
			for i, queue := range queues {
				jobs = append(jobs, &backend.Message{ID: queue + fmt.Sprint(i), Kind: "k", Queue: queue})
			}
			must(t, m.Push(t.Context(), jobs))
		}
		take := func(max int, queues ...string) string {
			ds, err := m.Reserve(t.Context(), queues, max, lease)
			must(t, err)
			return idsOf(ds)
		}
		for _, want := range []string{"z4 A2 a1 a3 b0", "z4 A2 a1 a3"} { // of new queues, then of known ones
			go func() {
				wait(time.Second)
				push("b", "a", "A", "a", "z")
			}()
			if got := take(len(strings.Fields(want)), "z", backend.AllQueues); got != want {
				t.Errorf("reserved %q, want %q", got, want)
			}
		}
		if got := take(9, backend.AllQueues); got != "b0" {
			t.Errorf("reserved %q, want what was left", got)
		}
		push("a")
		if got := take(9, "b", "*"); got != "a0" {
			t.Errorf("reserved %q, want what was there", got)
		}
	})
}

func TestAllQueuesAreNoQueue(t *testing.T) {
	m := memory.New()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Reserve(ctx, []string{backend.AllQueues}, 1, lease); !errors.Is(err, context.Canceled) {
		t.Errorf("Reserve = %v", err)
	}
	if names, err := m.Queues(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("the queues are %q, %v", names, err)
	}
}

// The context of a Reserve ends at the instant at which a job arrives: the job
// is handed out, or stays ready, and is never on loan to nobody.
func TestJobThatArrivesAsTheContextEndsIsNotLost(t *testing.T) {
	const workers, jobs = 8, 20_000
	m := memory.New()
	var handedOut atomic.Int64
	var wg sync.WaitGroup
	turn := make(chan context.CancelFunc)
	done := make(chan struct{})
	for range workers {
		wg.Go(func() {
			for {
				ctx, cancel := context.WithCancel(context.Background())
				select {
				case turn <- cancel: // somebody else cancels it while we wait
				case <-done:
					cancel()
					return
				}
				ds, err := m.Reserve(ctx, []string{"q"}, 2, lease)
				cancel()
				if err != nil && (!errors.Is(err, context.Canceled) || ds != nil) {
					t.Errorf("Reserve = %v, %v", ds, err)
				}
				handedOut.Add(int64(len(ds)))
				if err := m.Ack(context.Background(), ds); err != nil {
					t.Errorf("Ack: %v", err)
				}
			}
		})
	}
	for i := range jobs {
		cancel := <-turn
		if i%2 == 0 {
			go cancel()
			push(t, m, fmt.Sprint(i))
		} else {
			cancel()
			push(t, m, fmt.Sprint(i))
		}
	}
	close(done)
	wg.Wait()
	s, err := m.Stats(context.Background(), "q")
	must(t, err)
	if s.Reserved != 0 || s.Ready+handedOut.Load() != jobs {
		t.Errorf("%d handed out, %d ready, %d on loan to nobody, want %d in all", handedOut.Load(), s.Ready, s.Reserved, jobs)
	}
}
