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

// BenchmarkCycle pushes, reserves and acks one message at a time in front of
// a backlog, ready or scheduled. Its cost must not depend on the backlog.
func BenchmarkCycle(b *testing.B) {
	for _, state := range []string{"ready", "scheduled"} {
		for _, backlog := range []int{10_000, 1_000_000} {
			b.Run(fmt.Sprintf("state=%s/backlog=%d", state, backlog), func(b *testing.B) {
				ctx := context.Background()
				m := memory.New()
				defer m.Close()
				id := 0
				push := func(delay time.Duration) {
					id++
					msg := &backend.Message{ID: strconv.Itoa(id), Kind: "k", Queue: "q", Args: []byte("1"), Delay: delay}
					if err := m.Push(ctx, []*backend.Message{msg}); err != nil {
						b.Fatal(err)
					}
				}
				for range backlog {
					delay := time.Duration(0)
					if state == "scheduled" {
						delay = time.Hour + time.Duration(id*7919%backlog)*time.Millisecond
					}
					push(delay)
				}
				b.ReportAllocs()
				for b.Loop() {
					if state == "scheduled" {
						push(time.Hour + time.Duration(id*7919%backlog)*time.Millisecond)
					}
					push(0)
					ds, err := m.Reserve(ctx, []string{"q"}, 1, time.Minute)
					if err != nil {
						b.Fatal(err)
					}
					if err := m.Ack(ctx, ds); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
