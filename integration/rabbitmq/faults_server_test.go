package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestAServerThatIsKilledUnderLoadLosesNoAcceptedJob(t *testing.T) {
	t.Parallel()
	server := server(t)
	l := startLoad(t, server.URL())
	l.AwaitProgress(faults.Patience, 1)
	due := pushLater(t, server.URL())
	save(t, server)
	const kills = 3
	for i := range kills {
		l.AwaitProgress(faults.Patience, 200)
		held := l.HoldOne(fmt.Sprint("hold-", i))
		watchServer(t, server).awaitAcked()
		server.Kill()
		held.ExpectLost(t)
		server.Restart()
		l.AwaitProgress(recovery, 1)
	}
	expectLater(t, server.URL(), due)
	finish(l, kills)
}

// pushLater pushes jobs to the queue "later" that become due while a server is
// killed and after that. It returns when each is due at the earliest.
func pushLater(t *testing.T, address string) map[string]time.Time {
	t.Helper()
	b := faults.Open(t, address)
	due := make(map[string]time.Time)
	var all []*backend.Message
	for _, id := range numbered(300) {
		m := messageFor("later", id)
		m.Delay = time.Duration(1+len(all)%30) * time.Second
		due[id] = time.Now().Add(m.Delay)
		all = append(all, m)
	}
	push(t, b, all...)
	return due
}

// expectLater fails the test unless each of those jobs comes, and none early.
// The levels of the ladder hand them on at least once.
func expectLater(t *testing.T, address string, due map[string]time.Time) {
	t.Helper()
	b := faults.Open(t, address)
	seen := make(map[string]bool)
	again := 0
	for len(seen) < len(due) {
		d := reserve(t, b, "later", faults.Patience)
		if at, known := due[d.ID]; !known || time.Now().Before(at) {
			t.Errorf("job %s comes %v early", d.ID, time.Until(at))
		}
		if seen[d.ID] {
			again++
		}
		seen[d.ID] = true
		ack(t, b, d)
	}
	t.Logf("%d of %d delayed jobs came again", again, len(due))
}

// Who waits in a server that goes away has to wait in the one that comes back,
// and not to look for it all the time until it does.
func TestAWorkerThatWaitsOutlivesTheServer(t *testing.T) {
	t.Parallel()
	server := server(t)
	network := faults.NewProxy(t, server.URL())
	l := startLoad(t, with(network.URL(), "heartbeat", "1s"))
	l.AwaitProgress(faults.Patience, 1)
	l.StopProducing()
	save(t, server)
	outages := []struct {
		name   string
		happen func()
	}{
		{"killed", func() { server.Kill(); server.Restart() }},
		{"restarted", server.Restart},
		{"stopped", func() {
			before := network.Dials()
			server.Stop()
			faults.Eventually(t, faults.Patience, func() error {
				if network.Dials() == before {
					return errors.New("the driver does not miss the heartbeats of a server that is stopped")
				}
				return nil
			})
			server.Continue()
		}},
	}
	for _, outage := range outages {
		watchServer(t, server).awaitIdle(1)
		before, began := network.Dials(), time.Now()
		outage.happen()
		watchServer(t, server).awaitIdle(1)
		// Pauses that double until they are seconds long, of two connections:
		// that is some ten tries until the longest, and then one in a while.
		dials, took := network.Dials()-before, time.Since(began)
		if most := 2 * (10 + int(took/time.Second)); dials > most {
			t.Errorf("%s: the driver made %d connections in %v, want at most %d", outage.name, dials, took, most)
		}
		t.Logf("%s: %d connections in %v", outage.name, dials, took)
		done := l.Done()
		l.Enqueue(outage.name)
		l.AwaitProgress(faults.Recovery, done+1-l.Done())
	}
	finish(l, len(outages))
}

// A server that has no memory left reads no more from connections that publish.
func TestAServerWithoutMemoryHoldsUpThosePublishing(t *testing.T) {
	t.Parallel()
	server := server(t)
	address := server.URL()
	b := faults.Open(t, address)
	const backlog = 500
	for _, id := range numbered(backlog) {
		push(t, b, messageFor("backlog", id))
	}
	publishing := make(map[string]*backend.Delivery) // by the name of a settlement that stores a copy
	for _, s := range settlements() {
		if s.Name != "Ack" {
			push(t, b, messageFor("held", s.Name))
			publishing[s.Name] = reserve(t, b, "held", faults.Patience)
		}
	}
	l := startLoad(t, address)
	l.AwaitProgress(faults.Patience, 100)

	server.Control("set_vm_memory_high_watermark", "absolute", "1MB")
	// The server notices at the next message of a connection that it is to be
	// read from no more.
	faults.Eventually(t, faults.Patience, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := b.Push(ctx, []*backend.Message{messageFor("unknown", "first")})
		if !errors.Is(err, ctx.Err()) || ctx.Err() == nil {
			return fmt.Errorf("a server without memory takes jobs, or Push says: %v", err)
		}
		return nil
	})
	expectPublishingOnTime(t, b, publishing)
	// Who only takes jobs is not held up.
	for range backlog {
		ack(t, b, reserve(t, b, "backlog", faults.Prompt))
	}
	inspector, _ := backend.As[backend.Inspector](b)
	if stats, err := inspector.Stats(t.Context(), "backlog"); err != nil || stats.Ready != 0 {
		t.Errorf("Stats: %+v, %v; want none ready", stats, err)
	}
	notifier, _ := told(t, b)
	for name, d := range publishing {
		if notifier.Lost(d) {
			t.Errorf("the job is lost for which %s was tried", name)
		}
	}

	server.Control("set_vm_memory_high_watermark", "0.4")
	l.AwaitProgress(recovery, 100)
	push(t, b, messageFor("after", "last"))
	ack(t, b, reserve(t, b, "after", faults.Recovery))
	for _, s := range settlements() {
		if d := publishing[s.Name]; d != nil {
			// What was tried before may have been done by now.
			if err := backend.ErrorAt(s.Settle(t.Context(), b, d), 0); err != nil && !errors.Is(err, backend.ErrLeaseLost) {
				t.Errorf("%s when the server has memory again: %v", s.Name, err)
			}
		}
	}
	expectOneOrTwo(t, b, "held", "Retry", "Release")
	finish(l, 0)
}

// expectOneOrTwo fails the test unless the jobs with the given IDs are all that
// is ready in a queue, each once, or twice where it was stored again.
func expectOneOrTwo(t *testing.T, b backend.Backend, queue string, ids ...string) {
	t.Helper()
	times := make(map[string]int)
	for len(times) < len(ids) {
		d := reserve(t, b, queue, faults.Patience)
		times[d.ID]++
		ack(t, b, d)
	}
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		deliveries, err := b.Reserve(ctx, []string{queue}, 1, time.Minute)
		cancel()
		if err != nil {
			break
		}
		times[deliveries[0].ID]++
		ack(t, b, deliveries...)
	}
	for _, id := range ids {
		if n := times[id]; n < 1 || n > 2 {
			t.Errorf("there are %d jobs %s, want 1 or 2; all are %v", n, id, times)
		}
		delete(times, id)
	}
	if len(times) > 0 {
		t.Errorf("there are %v besides", times)
	}
}

// expectPublishingOnTime fails the test unless all that stores something ends
// with its context.
func expectPublishingOnTime(t *testing.T, b backend.Backend, held map[string]*backend.Delivery) {
	t.Helper()
	for _, delay := range []time.Duration{0, time.Minute} {
		m := messageFor("unknown", "held up")
		m.Delay = delay
		faults.OnTime(t, fmt.Sprint("Push in ", delay), func(ctx context.Context) error {
			return b.Push(ctx, []*backend.Message{m})
		})
	}
	for _, s := range settlements() {
		if d := held[s.Name]; d != nil {
			faults.OnTime(t, s.Name, func(ctx context.Context) error { return backend.ErrorAt(s.Settle(ctx, b, d), 0) })
		}
	}
}
