package redis_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// punctual is how long after the end of its context a call may take.
const punctual = 500 * time.Millisecond

// onTime calls f with a context that ends soon, and fails the test when f takes
// longer, or returns another error.
func onTime(t *testing.T, name string, f func(context.Context) error) {
	t.Helper()
	const limit = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	err := f(ctx)
	if took := time.Since(began); took > limit+punctual {
		t.Errorf("%s returned %v after its context had ended", name, took-limit)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v; want %v", name, err, context.DeadlineExceeded)
	}
}

func TestNoCallOutlivesItsContextInABlackhole(t *testing.T) {
	server, client := server(t)
	network := newProxy(t, server.Addr())
	b := open(t, network.url())
	push(t, b, "a")
	d := reserve(t, b, time.Hour, patience)
	network.blackhole()
	onTime(t, "Open", func(ctx context.Context) error {
		_, err := backend.Open(ctx, network.url())
		return err
	})
	onTime(t, "Push", func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{message("b")}) })
	for range 2 { // the first asks for a worker's registration
		onTime(t, "Reserve", func(ctx context.Context) error {
			_, err := b.Reserve(ctx, []string{"default"}, 1, time.Hour)
			return err
		})
	}
	m := d.Message
	for _, s := range settlements {
		onTime(t, s.name, func(ctx context.Context) error {
			err := s.settle(ctx, b, d)
			return backend.ErrorAt(err, 0)
		})
	}
	inspector, _ := backend.As[backend.Inspector](b)
	onTime(t, "Stats", func(ctx context.Context) error {
		_, err := inspector.Stats(ctx, "default")
		return err
	})
	list, _ := backend.As[backend.Lister](b)
	onTime(t, "Peek", func(ctx context.Context) error {
		_, err := list.Peek(ctx, "default", backend.Ready, 0, 10)
		return err
	})
	network.heal()
	// One of the settlements was made, and the push: nobody can say which.
	awaitQuiet(t, client)
	c := count(t, client)
	if total := c.ready + c.reserved + c.later + c.dead + c.landed; total < 1 || total > 2 {
		t.Errorf("the server has %+v of the jobs %s and b", c, m.ID)
	}
}

func TestWorkGoesOnWhenABlackholeEnds(t *testing.T) {
	server, _ := server(t)
	network := newProxy(t, server.Addr())
	l := startLoad(t, network.url())
	for _, outage := range []time.Duration{100 * time.Millisecond, time.Second, 4 * time.Second} {
		l.awaitProgress(patience, 50)
		network.blackhole()
		time.Sleep(outage)
		network.heal()
		l.awaitProgress(recovery, 5)
	}
	l.finish(4 * 8)
}

// A firewall forgets connections, and says so to nobody: what is asked on them
// is never answered, and what waits on them waits in vain.
func TestWorkGoesOnWhenTheNetworkHasForgottenItsConnections(t *testing.T) {
	server, client := server(t)
	network := newProxy(t, server.Addr())
	l := startLoad(t, with(network.url(), "read_timeout", "200ms"), queue.Lease(2*time.Second))
	for range 3 {
		l.awaitProgress(patience, 50)
		network.forget()
		l.awaitProgress(forgotten, 50)
	}
	l.stop()
	l.running.Wait()
	settledCounts(t, client, counts{})
	awaitIdle(t, client, 1)
	network.forget()
	late := message("late")
	late.Args = []byte("0")
	if err := open(t, server.URL()).Push(t.Context(), []*backend.Message{late}); err != nil {
		t.Fatal(err)
	}
	l.awaitProgress(forgotten, 1)
	// Leases may have ended while nothing could be asked.
	l.finish(1000)
}

// forgotten is how long it may take until a worker has new connections in place
// of those that it was not told to have lost: a beat of its clock, and what it
// takes to find each of its other ones silent.
const forgotten = 20 * time.Second

func TestConnectionsThatBreakUnderLoadLoseNothing(t *testing.T) {
	server, _ := server(t)
	network := newProxy(t, server.Addr())
	l := startLoad(t, network.url())
	for range 50 {
		network.cutAll()
		l.awaitProgress(patience, 5)
	}
	l.finish(0)
}

func TestRepliesThatAreLostUnderLoadLoseNothing(t *testing.T) {
	server, _ := server(t)
	network := newProxy(t, server.Addr())
	l := startLoad(t, network.url())
	for range 50 {
		done := network.cutReplies("", 2)
		l.awaitProgress(patience, 5)
		awaitHarmed(t, done)
	}
	l.finish(0)
}

func TestASlowNetworkThatBringsSingleBytesIsEnough(t *testing.T) {
	server, client := server(t)
	network := newProxy(t, server.Addr())
	network.slow(1, 0)
	b := open(t, network.url())
	for i := range 5 {
		push(t, b, fmt.Sprint(i, "-a"), fmt.Sprint(i, "-b"))
		for range 2 {
			d := reserve(t, b, time.Minute, patience)
			if err := b.Ack(t.Context(), []*backend.Delivery{d}); err != nil {
				t.Error(err)
			}
		}
	}
	network.slow(0, 50*time.Millisecond)
	waiting := make(chan error, 1)
	go func() {
		deliveries, err := b.Reserve(t.Context(), []string{"default"}, 1, time.Minute)
		if err == nil {
			err = b.Ack(t.Context(), deliveries)
		}
		waiting <- err
	}()
	awaitIdle(t, client, 1)
	push(t, b, "last")
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	settledCounts(t, client, counts{})
}

// A job may land with a worker that cannot hear of it, and that has no more use
// for it when it can.
func TestWhatLandedDuringAnOutageGoesToOthers(t *testing.T) {
	server, client := server(t)
	network := newProxy(t, server.Addr())
	b := open(t, network.url())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Reserve(ctx, []string{"default"}, 1, shortLease)
	}()
	awaitIdle(t, client, 1)
	network.blackhole()
	push(t, open(t, server.URL()), "a")
	expectCounts(t, client, counts{landed: 1})
	cancel()
	<-ended
	refused := network.refuse(scriptMark(t, client, "putback"), 3)
	network.cutAll() // and with it the answer of Redis
	network.heal()
	awaitHarmed(t, refused)
	if d := reserve(t, open(t, server.URL()), shortLease, takenBack); d.ID != "a" || d.Attempt != 1 {
		t.Errorf("the job is %s, attempt %d", d.ID, d.Attempt)
	}
}
