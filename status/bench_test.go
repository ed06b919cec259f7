package status_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

// BenchmarkUpdate measures an update from the call to the record, in bursts
// that the buffer holds.
func BenchmarkUpdate(b *testing.B) {
	const burst, jobs = 5000, 1000
	ctx, tracker := context.Background(), status.New(store.NewMemory())
	ids := make([]string, jobs)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	change := func(r *status.Record) { r.Progress.Done++ }
	b.ReportAllocs()
	for i := 1; b.Loop(); i++ {
		tracker.Update(ids[i%jobs], 1, change)
		if i%burst == 0 {
			tracker.Flush(ctx)
		}
	}
	if n := tracker.Dropped(); n > 0 {
		b.Errorf("%d updates were dropped", n)
	}
}
