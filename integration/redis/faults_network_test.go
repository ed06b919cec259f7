package redis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestNoCallOutlivesItsContextInABlackhole(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	b := faults.Open(t, network.URL())
	faults.Push(t, b, "a")
	d := faults.Reserve(t, b, time.Hour, faults.Patience)
	network.Blackhole()
	faults.OnTime(t, "Open", func(ctx context.Context) error {
		_, err := backend.Open(ctx, network.URL())
		return err
	})
	faults.OnTime(t, "Push", func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{faults.Message("b")}) })
	for range 2 { // the first asks for a worker's registration
		faults.OnTime(t, "Reserve", func(ctx context.Context) error {
			_, err := b.Reserve(ctx, []string{"default"}, 1, time.Hour)
			return err
		})
	}
	m := d.Message
	for _, s := range faults.Settlements() {
		faults.OnTime(t, s.Name, func(ctx context.Context) error {
			err := s.Settle(ctx, b, d)
			return backend.ErrorAt(err, 0)
		})
	}
	inspector, _ := backend.As[backend.Inspector](b)
	faults.OnTime(t, "Stats", func(ctx context.Context) error {
		_, err := inspector.Stats(ctx, "default")
		return err
	})
	list, _ := backend.As[backend.Lister](b)
	faults.OnTime(t, "Peek", func(ctx context.Context) error {
		_, err := list.Peek(ctx, "default", backend.Ready, 0, 10)
		return err
	})
	network.Heal()
	// One of the settlements was made, and the push: nobody can say which.
	awaitQuiet(t, client)
	c := count(t, client)
	if total := c.ready + c.reserved + c.later + c.dead + c.landed; total < 1 || total > 2 {
		t.Errorf("the server has %+v of the jobs %s and b", c, m.ID)
	}
}

func TestWorkGoesOnWhenABlackholeEnds(t *testing.T) {
	server, _ := server(t)
	network := faults.NewProxy(t, server.URL())
	l := startLoad(t, network.URL())
	for _, outage := range []time.Duration{100 * time.Millisecond, time.Second, 4 * time.Second} {
		l.AwaitProgress(faults.Patience, 50)
		network.Blackhole()
		time.Sleep(outage)
		network.Heal()
		l.AwaitProgress(faults.Recovery, 5)
	}
	finish(l, 4*8)
}

// A firewall forgets connections, and says so to nobody: what is asked on them
// is never answered, and what waits on them waits in vain.
func TestWorkGoesOnWhenTheNetworkHasForgottenItsConnections(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	l := startLoad(t, with(network.URL(), "read_timeout", "200ms"), queue.Lease(2*time.Second))
	for range 3 {
		l.AwaitProgress(faults.Patience, 50)
		network.Forget()
		l.AwaitProgress(forgotten, 50)
	}
	l.StopProducing()
	settledCounts(t, client, counts{})
	awaitIdle(t, client, 1)
	network.Forget()
	faults.Push(t, faults.Open(t, server.URL()), "late")
	l.AwaitProgress(forgotten, 1)
	// Leases may have ended while nothing could be asked.
	finish(l, 1000)
}

// forgotten is how long it may take until a worker has new connections in place
// of those that it was not told to have lost: a beat of its clock, and what it
// takes to find each of its other ones silent.
const forgotten = 20 * time.Second

func TestConnectionsThatBreakUnderLoadLoseNothing(t *testing.T) {
	server, _ := server(t)
	network := faults.NewProxy(t, server.URL())
	l := startLoad(t, network.URL())
	for range 50 {
		network.CutAll()
		l.AwaitProgress(faults.Patience, 5)
	}
	finish(l, 0)
}

func TestRepliesThatAreLostUnderLoadLoseNothing(t *testing.T) {
	server, _ := server(t)
	network := faults.NewProxy(t, server.URL())
	l := startLoad(t, network.URL())
	for range 50 {
		done := network.CutReplies("", 2)
		l.AwaitProgress(faults.Patience, 5)
		faults.AwaitHarm(t, done)
	}
	finish(l, 0)
}

func TestASlowNetworkThatBringsSingleBytesIsEnough(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	network.Slow(1, 0)
	b := faults.Open(t, network.URL())
	for i := range 5 {
		faults.Push(t, b, fmt.Sprint(i, "-a"), fmt.Sprint(i, "-b"))
		for range 2 {
			d := faults.Reserve(t, b, time.Minute, faults.Patience)
			if err := b.Ack(t.Context(), []*backend.Delivery{d}); err != nil {
				t.Error(err)
			}
		}
	}
	network.Slow(0, 50*time.Millisecond)
	waiting := make(chan error, 1)
	go func() {
		deliveries, err := b.Reserve(t.Context(), []string{"default"}, 1, time.Minute)
		if err == nil {
			err = b.Ack(t.Context(), deliveries)
		}
		waiting <- err
	}()
	awaitIdle(t, client, 1)
	faults.Push(t, b, "last")
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	settledCounts(t, client, counts{})
}

// A job may land with a worker that cannot hear of it, and that has no more use
// for it when it can.
func TestWhatLandedDuringAnOutageGoesToOthers(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	b := faults.Open(t, network.URL())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Reserve(ctx, []string{"default"}, 1, shortLease)
	}()
	awaitIdle(t, client, 1)
	network.Blackhole()
	faults.Push(t, faults.Open(t, server.URL()), "a")
	expectCounts(t, client, counts{landed: 1})
	cancel()
	<-ended
	refused := network.Refuse(scriptMark(t, client, "putback"), 3)
	network.CutAll() // and with it the answer of Redis
	network.Heal()
	faults.AwaitHarm(t, refused)
	if d := faults.Reserve(t, faults.Open(t, server.URL()), shortLease, takenBack); d.ID != "a" || d.Attempt != 1 {
		t.Errorf("the job is %s, attempt %d", d.ID, d.Attempt)
	}
}
