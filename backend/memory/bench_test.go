package memory_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

// BenchmarkCycle pushes, reserves and acks jobs in front of a backlog, ready
// or scheduled, one at a time or a hundred in a call. Its time is that of a
// single job, and must not depend on the backlog beyond what the caches and
// the collector of the machine make of it.
func BenchmarkCycle(b *testing.B) {
	for _, batch := range []int{1, 100} {
		for _, state := range []backend.State{backend.Ready, backend.Scheduled} {
			for _, backlog := range []int{10_000, 1_000_000} {
				b.Run(fmt.Sprintf("batch=%d/state=%v/backlog=%d", batch, state, backlog), func(b *testing.B) {
					benchmarkCycle(b, batch, state, backlog)
				})
			}
		}
	}
}

func benchmarkCycle(b *testing.B, batch int, state backend.State, backlog int) {
	ctx := context.Background()
	m := memory.New()
	defer m.Close()
	pushed := 0
	messages := make([]*backend.Message, batch)
	push := func(spread time.Duration) {
		for i := range messages {
			pushed++
			messages[i] = &backend.Message{ID: strconv.Itoa(pushed), Kind: "k", Queue: "q", Args: []byte("1")}
			if spread > 0 { // an hour away, in no order, so that none is due
				messages[i].Delay = time.Hour + time.Duration(pushed)*7919*time.Millisecond%spread
			}
		}
		if err := m.Push(ctx, messages); err != nil {
			b.Fatal(err)
		}
	}
	spread := time.Duration(0)
	if state == backend.Scheduled {
		spread = time.Duration(backlog) * time.Millisecond
	}
	for pushed < backlog {
		push(spread)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%batch > 0 {
			continue // an iteration is a job, and a call takes a batch of them
		}
		push(0)
		for settled := 0; settled < batch; {
			ds, err := m.Reserve(ctx, []string{"q"}, batch, time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			if err := m.Ack(ctx, ds); err != nil {
				b.Fatal(err)
			}
			settled += len(ds)
		}
	}
}
