package memory_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

func TestPushOfAnIDThatIsLiveStoresNoSecondCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		again := func(state string) {
			t.Helper()
			push(t, m, "1")
			pushMessage(t, m, backend.Message{ID: "1", Queue: "other", Delay: time.Hour})
			if s, err := m.Stats(t.Context(), "other"); s.Scheduled != 0 || err != nil {
				t.Errorf("a second copy of a %s job was stored: %+v, %v", state, s, err)
			}
		}
		twice := backend.Message{ID: "1", Kind: "k", Queue: "q", Delay: time.Second}
		must(t, m.Push(t.Context(), []*backend.Message{&twice, &twice}))
		again("scheduled")
		wantStats(t, m, 0, 1, 0, 0)
		wait(2 * time.Second)
		again("ready")
		wantStats(t, m, 1, 0, 0, 0)
		ds := reserve(t, m, 9)
		again("reserved")
		wantStats(t, m, 0, 0, 1, 0)
		must(t, m.Retry(t.Context(), []backend.Replacement{{Delivery: ds[0], Message: &twice}}))
		again("retried")
		wantStats(t, m, 0, 1, 0, 0)
		wait(2 * time.Second)
		ds = reserve(t, m, 9)
		must(t, m.Release(t.Context(), ds, 0))
		again("released")
		reserve(t, m, 9)
		wait(lease)
		again("returned")
		wantStats(t, m, 1, 0, 0, 0)
		must(t, m.Ack(t.Context(), reserve(t, m, 9)))
		push(t, m, "1")
		wantStats(t, m, 1, 0, 0, 0)
	})
}

func TestRetryUnderANewIDFreesTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		push(t, m, "old")
		next := backend.Message{ID: "new", Kind: "k", Queue: "q"}
		must(t, m.Retry(t.Context(), []backend.Replacement{{Delivery: reserve(t, m, 1)[0], Message: &next}}))
		push(t, m, "new", "old")
		wantNext(t, m, "new old")
	})
}

func TestBuriedIDCanBePushedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		push(t, m, "1")
		bury(t, m, reserve(t, m, 1)[0])
		push(t, m, "1")
		wantStats(t, m, 1, 0, 0, 1)
		must(t, m.Ack(t.Context(), wantNext(t, m, "1")))
		wantStats(t, m, 0, 0, 0, 1)
	})
}

// A dead job that is requeued while another with its ID is live makes two. The
// ID stays taken until the last of them is gone, whichever goes first.
func TestRequeueBesideALiveJobKeepsTheIDTaken(t *testing.T) {
	for name, order := range map[string][2]int{"the older goes first": {0, 1}, "the younger goes first": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := memory.New()
				push(t, m, "1")
				bury(t, m, reserve(t, m, 1)[0])
				push(t, m, "1")
				requeueAll(t, m, 1)
				ds := wantNext(t, m, "1 1")
				must(t, m.Ack(t.Context(), ds[order[0]:order[0]+1]))
				push(t, m, "1")
				wantStats(t, m, 0, 0, 1, 0)
				must(t, m.Ack(t.Context(), ds[order[1]:order[1]+1]))
				push(t, m, "1")
				wantStats(t, m, 1, 0, 0, 0)
			})
		})
	}
}

func TestRemoveByIDFindsEveryCopyInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		const copies = 5
		for range copies {
			push(t, m, "1")
			bury(t, m, reserve(t, m, 1)[0])
		}
		push(t, m, "other")
		requeueAll(t, m, copies)
		pushMessage(t, m, backend.Message{ID: "1", Queue: "elsewhere"}) // not stored
		reserve(t, m, 2)                                                // "other", then a copy
		remove := func(queue string, filter backend.Filter, want int) {
			t.Helper()
			if n, err := m.Remove(t.Context(), queue, filter); n != want || err != nil {
				t.Errorf("Remove = %d, %v, want %d", n, err, want)
			}
		}
		remove("elsewhere", backend.Filter{ID: "1"}, 0)
		remove("nowhere", backend.Filter{ID: "1"}, 0)
		remove("q", backend.Filter{ID: "1", Kind: "x"}, 0)
		remove("q", backend.Filter{ID: "1", Kind: "k"}, copies-1)
		remove("q", backend.Filter{ID: "1"}, 0)
		push(t, m, "1")
		wantStats(t, m, 0, 0, 2, 0)
	})
}

// requeueAll requeues what is dead in the queue q, of which there are n.
func requeueAll(t *testing.T, m *memory.Backend, n int) {
	t.Helper()
	dead, err := m.Peek(t.Context(), "q", backend.Dead, 0, n+1)
	must(t, err)
	var keys []string
	for _, e := range dead {
		keys = append(keys, e.Key)
	}
	if got, err := m.Requeue(t.Context(), "q", append(keys, "no such key")...); got != n || err != nil {
		t.Fatalf("Requeue = %d, %v, want %d", got, err, n)
	}
}
