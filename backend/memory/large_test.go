package memory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

// fill puts n jobs in each of the states of queue q, and one in each of
// another queue. Every tenth is of kind rare.
func fill(t *testing.T, m *memory.Backend, n int) {
	t.Helper()
	put := func(queue string, n int) {
		for _, state := range []string{"reserved", "dead", "ready", "scheduled"} {
			var jobs []*backend.Message
			for i := range n {
				job := &backend.Message{ID: fmt.Sprint(queue, "/", state, "/", i), Kind: "k", Queue: queue}
				if i%10 == 0 {
					job.Kind = "rare"
				}
				if state == "scheduled" {
					job.Delay = time.Duration(1+i*7919%n) * time.Hour
				}
				jobs = append(jobs, job)
			}
			must(t, m.Push(t.Context(), jobs))
			if state == "ready" || state == "scheduled" {
				continue
			}
			ds, err := m.Reserve(t.Context(), []string{queue}, n, time.Hour)
			must(t, err)
			if state == "dead" {
				var burials []backend.Burial
				for _, d := range ds {
					burials = append(burials, backend.Burial{Delivery: d, Message: &d.Message})
				}
				must(t, m.Bury(t.Context(), burials))
			}
		}
	}
	put("q", n)
	put("other", 1)
	wantStats(t, m, int64(n), int64(n), int64(n), int64(n))
}

func TestAHundredThousandJobsInEachState(t *testing.T) {
	const n = 100_000
	m := memory.New()
	fill(t, m, n)

	for _, state := range []backend.State{backend.Ready, backend.Scheduled, backend.Reserved, backend.Dead} {
		t.Run("Peek pages through the "+state.String(), func(t *testing.T) { peekAll(t, m, state, n) })
	}
	t.Run("Remove by kind", func(t *testing.T) {
		if got, err := m.Remove(t.Context(), "q", backend.Filter{Kind: "rare"}); got != 2*n/10 || err != nil {
			t.Errorf("Remove = %d, %v, want %d", got, err, 2*n/10)
		}
		wantStats(t, m, n*9/10, n*9/10, n, n)
	})
	t.Run("Purge leaves the reserved and dead", func(t *testing.T) {
		if got, err := m.Purge(t.Context(), "q"); got != 2*n*9/10 || err != nil {
			t.Errorf("Purge = %d, %v, want %d", got, err, 2*n*9/10)
		}
		wantStats(t, m, 0, 0, n, n)
		if s, err := m.Stats(t.Context(), "other"); s.Ready != 1 || s.Scheduled != 1 || err != nil {
			t.Errorf("the other queue has %+v, %v", s, err)
		}
		pushMessage(t, m, backend.Message{ID: "q/ready/1"}) // its ID is free again
		wantStats(t, m, 1, 0, n, n)
	})
	t.Run("Requeue and Delete", func(t *testing.T) {
		dead, err := m.Peek(t.Context(), "q", backend.Dead, 0, n)
		must(t, err)
		var requeued, deleted []string
		for i, e := range dead {
			if i%4 == 0 {
				requeued = append(requeued, e.Key)
			} else {
				deleted = append(deleted, e.Key)
			}
		}
		if got, err := m.Requeue(t.Context(), "q", requeued...); got != n/4 || err != nil {
			t.Errorf("Requeue = %d, %v", got, err)
		}
		if got, err := m.Delete(t.Context(), "q", deleted...); got != n*3/4 || err != nil {
			t.Errorf("Delete = %d, %v", got, err)
		}
		wantStats(t, m, 1+n/4, 0, n, 0)
	})
}

// peekAll looks at n jobs page by page.
func peekAll(t *testing.T, m *memory.Backend, state backend.State, n int) {
	page := n / 4
	seen := map[string]bool{}
	var last time.Time
	for offset := 0; offset <= n; offset += page {
		entries, err := m.Peek(t.Context(), "q", state, offset, page)
		must(t, err)
		for i, e := range entries {
			if want := fmt.Sprint("q/", state, "/", offset+i); state != backend.Scheduled && e.ID != want {
				t.Fatalf("entry %d is %s, want %s", offset+i, e.ID, want)
			}
			if e.DueAt.Before(last) || e.State != state {
				t.Fatalf("entry %d is %+v, after one that is due at %v", offset+i, e, last)
			}
			last = e.DueAt
			seen[e.ID] = true
		}
	}
	if len(seen) != n {
		t.Errorf("%d jobs were seen, want %d", len(seen), n)
	}
}
