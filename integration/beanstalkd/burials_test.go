package beanstalkd_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// A copy that is to be buried is told by its priority from a dead job that was
// kicked. Other clients name a priority of their own when they release a job.
func TestADeadJobThatWasKickedAndReleasedWithAnotherPriorityRuns(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	b := faults.Open(t, at("lease=30s", server))
	m := faults.Message("a")
	m.Priority = 24 // the server's 1000
	if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
		t.Fatal(err)
	}
	if err := faults.Bury(t.Context(), b, faults.Reserve(t, b, 30*time.Second, faults.Patience)); err != nil {
		t.Fatal(err)
	}
	kick(t, client)
	id, _, err := client.Reserve(faults.Recovery)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Release(id, foreignPriority, 0); err != nil {
		t.Fatal(err)
	}
	d := faults.Reserve(t, b, 30*time.Second, faults.Recovery)
	if d.ID != "a" || d.Attempt != 1 || d.Deliveries != 1 {
		t.Errorf("the job is %+v; want its first attempt", d)
	}
	ack(t, b, d)
}

// A server may take less than the driver knows: it was restarted with another
// option, or, as here, could not be asked when the driver connected.
func TestABurialThatTheServerFindsTooLargeIsMadeInPlace(t *testing.T) {
	t.Parallel()
	one, _ := server(t, "-z", "2000")
	other, client := server(t, "-z", "1600")
	body := fmt.Sprintf(`{"job":"job","data":%q,"id":"a"}`, strings.Repeat("x", 1400))
	put(t, client, body, foreignPriority, foreignTTR)
	other.Kill()
	b := faults.Open(t, at("lease=30s", one, other))
	other.Restart()
	d := faults.Reserve(t, b, 30*time.Second, faults.Recovery)
	burial := backend.Burial{Delivery: d, Message: &d.Message, Failure: backend.Failure{At: time.Now(), Error: strings.Repeat("e", 300)}}
	if err := b.Bury(t.Context(), []backend.Burial{burial}); err != nil {
		t.Errorf("Bury: %v", err)
	}
	expectCounts(t, other.Client(), counts{buried: 1})
	if entries := faults.Dead(t, b); len(entries) != 1 || string(entries[0].Raw) != body {
		t.Errorf("buried: %+v; want the body as it was", entries)
	}
}
