package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// A hundred workers wait for one queue. A job that comes in wakes the one that
// gets it, and the others sleep on.
func TestAPushWakesOneOfAHundredWorkers(t *testing.T) {
	const workers, pushes = 100, 10
	server, client := server(t)
	producer := faults.Open(t, server.URL())
	faults.Push(t, producer, "first") // it needs a connection
	delivered := make(chan *backend.Delivery)
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range workers {
		b := faults.Open(t, server.URL())
		waiting.Go(func() {
			for {
				deliveries, err := b.Reserve(ctx, []string{"default"}, 1, time.Hour)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				delivered <- deliveries[0]
			}
		})
	}
	<-delivered
	awaitIdle(t, client, workers)

	// The workers have clocks, each with a beat of some seconds, and what has
	// woken up sleeps again after a moment. A push is what is counted without
	// them: the least of many.
	least := int64(1 << 60)
	for i := range pushes {
		before := statistic(t, client, "total_reads_processed")
		faults.Push(t, producer, fmt.Sprint(i))
		<-delivered
		awaitIdle(t, client, workers)
		// Each look of awaitIdle is a request too.
		least = min(least, statistic(t, client, "total_reads_processed")-before)
	}
	t.Logf("%d requests for a push, a Reserve and what the test asks for", least)
	if least > 25 {
		t.Errorf("a push caused %d requests, want a few", least)
	}
	cancel()
	waiting.Wait()
	expectCounts(t, client, counts{reserved: pushes + 1})
}

// Producers that come all at once leave connections for the rest.
func TestManyPushesAtOnceLeaveTheOtherCallsAlone(t *testing.T) {
	server, client := server(t)
	b := faults.Open(t, with(server.URL(), "pool", "4"))
	const producers, jobs = 100, 20
	var pushing sync.WaitGroup
	for producer := range producers {
		pushing.Go(func() {
			for job := range jobs {
				m := faults.Message(fmt.Sprint(producer, "-", job))
				if err := b.Push(context.Background(), []*backend.Message{m}); err != nil {
					t.Errorf("Push: %v", err)
					return
				}
			}
		})
	}
	seen := make(map[string]bool)
	for len(seen) < producers*jobs {
		ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
		deliveries, err := b.Reserve(ctx, []string{"default"}, 50, time.Minute)
		if err == nil {
			err = b.Ack(ctx, deliveries)
		}
		cancel()
		if err != nil {
			t.Fatal(errors.Join(err, fmt.Errorf("after %d jobs", len(seen))))
		}
		for _, d := range deliveries {
			seen[d.ID] = true
		}
	}
	pushing.Wait()
	expectCounts(t, client, counts{})
}
