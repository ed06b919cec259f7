package memory_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

func numbers(from, to int) []string {
	var ids []string
	for i := from; i < to; i++ {
		ids = append(ids, strconv.Itoa(i))
	}
	return ids
}

func TestEveryPriorityIsALevelOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		const levels, each = 500, 3
		var want []string
		for _, i := range rand.Perm(levels * each) {
			p := i%levels - levels/2
			pushMessage(t, m, backend.Message{ID: fmt.Sprint(p, "/", i), Priority: p})
		}
		entries, err := m.Peek(t.Context(), "q", backend.Ready, 0, levels*each)
		must(t, err)
		for i, e := range entries {
			if p := levels - 1 - i/each - levels/2; e.Priority != p {
				t.Fatalf("entry %d has priority %d, want %d", i, e.Priority, p)
			}
			want = append(want, e.ID)
		}
		wantNext(t, m, strings.Join(want, " "))
	})
}

func TestJobsWhoseLeasesEndTogetherComeBackInTheirOldOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		push(t, m, numbers(0, 3000)...)
		for i := range 10 { // several loans, of which the later ones end first
			_, err := m.Reserve(t.Context(), []string{"q"}, 200, lease-time.Duration(i)*time.Second)
			must(t, err)
		}
		push(t, m, numbers(3000, 3010)...)
		wait(lease)
		wantNext(t, m, strings.Join(numbers(0, 3010), " "))
	})
}

func TestLeasesThatEndInAnyOrderLeaveTheLineInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		const n = 500
		push(t, m, numbers(0, n)...)
		ds := reserve(t, m, n)
		for i, d := range ds {
			must(t, m.Extend(t.Context(), []*backend.Delivery{d}, time.Duration(i*7919%n+1)*time.Second))
		}
		for range n {
			wait(time.Second)
			m.Stats(t.Context(), "q") // brings the broker up to date
		}
		wantNext(t, m, strings.Join(numbers(0, n), " "))
	})
}

func TestReleasedJobsComeBackToTheirOldPlace(t *testing.T) {
	orders := map[string]func(ds []*backend.Delivery){
		"in order":     func([]*backend.Delivery) {},
		"in reverse":   func(ds []*backend.Delivery) { slices.Reverse(ds) },
		"in any order": func(ds []*backend.Delivery) { rand.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] }) },
	}
	for name, reorder := range orders {
		for _, batch := range []int{1, 7, 400} {
			t.Run(fmt.Sprintf("%s, %d at a time", name, batch), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := memory.New()
					push(t, m, numbers(0, 1000)...)
					ds := reserve(t, m, 400)
					reorder(ds)
					for part := range slices.Chunk(ds, batch) {
						must(t, m.Release(t.Context(), part, 0))
					}
					for _, d := range wantNext(t, m, strings.Join(numbers(0, 1000), " ")) {
						if d.Attempt != 1 || d.Deliveries != 1 {
							t.Fatalf("job %s is attempt %d, delivery %d", d.ID, d.Attempt, d.Deliveries)
						}
					}
				})
			})
		}
	}
}

// Jobs that come back take time that depends neither on how many came back
// before them nor on how many wait. A walk of the line for each takes most of
// a minute here, the right way half a second.
func TestManyJobsComeBackInLinearTime(t *testing.T) {
	start := time.Now() // outside of the bubble, where time is real
	defer func() {
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		const n = 100_000
		push(t, m, numbers(0, n)...)
		push(t, m, "last")
		for range 2 { // two halves, whose leases end one after the other
			_, err := m.Reserve(t.Context(), []string{"q"}, n/2, lease)
			must(t, err)
			wait(time.Second)
		}
		wait(lease - 1500*time.Millisecond)
		wantStats(t, m, n/2+1, 0, n/2, 0)
		wait(time.Second)
		wantStats(t, m, n+1, 0, 0, 0)
		for _, d := range reserve(t, m, n) {
			must(t, m.Release(t.Context(), []*backend.Delivery{d}, 0))
		}
		wantNext(t, m, strings.Join(numbers(0, n), " ")+" last")
	})
}

// A job with a delay is at the end of those that are ready when it is due, and
// that is so for a release with a delay, too.
func TestDelayedJobsJoinTheLineAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		push(t, m, "released")
		must(t, m.Release(t.Context(), reserve(t, m, 1), 2*time.Second))
		pushMessage(t, m, backend.Message{ID: "later", Delay: 3 * time.Second})
		pushMessage(t, m, backend.Message{ID: "sooner", Delay: time.Second})
		pushMessage(t, m, backend.Message{ID: "urgent", Delay: 3 * time.Second, Priority: 1})
		push(t, m, "ready")
		wait(3*time.Second - 2*time.Millisecond)
		wantNext(t, m, "ready sooner released")
		wait(5 * time.Millisecond)
		push(t, m, "last")
		wantNext(t, m, "urgent later last")
	})
}

func TestPausedQueueIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		push(t, m, "1")
		must(t, m.Pause(t.Context(), "q"))
		pushMessage(t, m, backend.Message{ID: "2", Queue: "other"})
		ds, err := m.Reserve(t.Context(), []string{"q", "other"}, 9, lease)
		if idsOf(ds) != "2" || err != nil {
			t.Errorf("reserved %q, %v", idsOf(ds), err)
		}
		time.AfterFunc(time.Hour, func() { m.Resume(t.Context(), "q") })
		start := time.Now()
		if ds, err = m.Reserve(t.Context(), []string{"q"}, 9, lease); idsOf(ds) != "1" || err != nil || time.Since(start) != time.Hour {
			t.Errorf("after %v reserved %q, %v", time.Since(start), idsOf(ds), err)
		}
	})
}
