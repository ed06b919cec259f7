package beanstalkd_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// A beanstalkd forgets that a tube is paused when the tube is empty and nobody
// refers to it, and when it ends itself.
func TestAPauseOutlivesTheServerAndTheLastJobOfItsQueue(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	address := at("lease=30s", server)
	waiting := faults.Open(t, address)
	const queue = "paused-one"
	take := func(b backend.Backend, limit time.Duration) ([]*backend.Delivery, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return b.Reserve(ctx, []string{queue}, 1, 30*time.Second)
	}
	expectPaused := func(when string) {
		t.Helper()
		b := faults.Open(t, address) // which knows nothing
		inspector, _ := backend.As[backend.Inspector](b)
		if stats, err := inspector.Stats(t.Context(), queue); err != nil || !stats.Paused {
			t.Errorf("%s the queue has %+v, %v; want it paused", when, stats, err)
		}
		m := faults.Message("a")
		m.Queue = queue
		if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
			t.Fatal(err)
		}
		for name, worker := range map[string]backend.Backend{"a new worker": b, "one from before": waiting} {
			if got, err := take(worker, 500*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s %s took %v, %v from the paused queue", when, name, got, err)
			}
		}
		purger, _ := backend.As[backend.Purger](b)
		if n, err := purger.Purge(t.Context(), queue); n != 1 || err != nil {
			t.Errorf("%s Purge removed %d jobs, %v; want 1", when, n, err)
		}
		b.Close()
	}
	pausing := faults.Open(t, address)
	pauser, _ := backend.As[backend.Pauser](pausing)
	if err := pauser.Pause(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	pausing.Close() // the tube is forgotten, unless somebody else refers to it

	expectPaused("while it is empty,")
	expectPaused("after its last job was purged,")
	server.Kill()
	server.Restart()
	expectPaused("after a crash of the server,")
	server.Restart()
	expectPaused("after another restart,")

	pauser, _ = backend.As[backend.Pauser](faults.Open(t, address))
	if err := pauser.Resume(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	m := faults.Message("b")
	m.Queue = queue
	if err := faults.Open(t, address).Push(t.Context(), []*backend.Message{m}); err != nil {
		t.Fatal(err)
	}
	if got, err := take(waiting, faults.Recovery); err != nil || got[0].ID != "b" {
		t.Errorf("after Resume: %v, %v", got, err)
	}
	server.Restart()
	inspector, _ := backend.As[backend.Inspector](faults.Open(t, address))
	if stats, err := inspector.Stats(t.Context(), queue); err != nil || stats.Paused {
		t.Errorf("after Resume and a restart the queue has %+v, %v; want it not paused", stats, err)
	}
}
