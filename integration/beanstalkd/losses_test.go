package beanstalkd_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// A worker asks whether a job is lost when it is handed it, and again whenever
// it is told that one is. A loss between the two must not go unheard.
func TestAConnectionThatIsLostRightAfterItsRepliesIsAlwaysTold(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	relay := newRelay(t, server.Addr(), func(_ *link, reply []byte) bool {
		// The answer to stats-job, which is asked about the jobs of others.
		return bytes.Contains(reply, []byte("\ntime-left: "))
	})
	b := faults.Open(t, "beanstalkd://"+relay.addr()+"?lease=30s")
	notifier, _ := backend.As[backend.LossNotifier](b)
	var held atomic.Pointer[backend.Delivery]
	told := make(chan *backend.Delivery, 1000)
	defer notifier.NotifyLost(func() {
		if d := held.Load(); d != nil && notifier.Lost(d) {
			told <- d
		}
	})()
	put(t, client, `{"job":"job","data":1,"id":"a"}`, foreignPriority, foreignTTR)
	for round := range 200 {
		// It comes back with each connection that is lost.
		d := faults.Reserve(t, b, 30*time.Second, faults.Patience)
		held.Store(d)
		if notifier.Lost(d) {
			continue
		}
		limit := time.After(faults.Recovery)
		for heard := (*backend.Delivery)(nil); heard != d; {
			select {
			case heard = <-told:
			case <-limit:
				t.Fatalf("in round %d nobody was told of the loss; asked now, the driver says %t", round, notifier.Lost(d))
			}
		}
	}
}

// believed puts jobs of that body until the driver has taken the body's word for
// one: it asks the server about each job while it cannot tell which ones are new.
// It returns the delivery of that one.
func believed(t *testing.T, b backend.Backend, client *beanstalk.Conn, body string, ttr, lease time.Duration, queues ...string) (d *backend.Delivery) {
	t.Helper()
	faults.Eventually(t, faults.Patience, func() error {
		asked := statistic(t, client, "cmd-stats-job")
		put(t, client, body, foreignPriority, ttr)
		d = expectReserved(t, reserving(t.Context(), b, lease, queues...), faults.Patience, "a")
		if statistic(t, client, "cmd-stats-job") == asked {
			return nil
		}
		ack(t, b, d)
		return errors.New("the driver asks about each job")
	})
	return d
}

// Who touches a job again and again that the server does not keep floods it.
func TestAJobThatATouchHasFoundLostIsNotTouchedAgain(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	network := faults.NewProxy(t, at("lease=30s", server))
	b := faults.Open(t, network.URL())
	extender, _ := backend.As[backend.Extender](b)
	notifier, _ := backend.As[backend.LossNotifier](b)
	d := believed(t, b, client, `{"job":"job","data":1,"id":"a","gofer":{"ttr":30}}`, 2*time.Second, 60*time.Second, "default")
	awaitTakenBack(t, network, client)
	touches := statistic(t, client, "cmd-touch")
	err := extender.Extend(t.Context(), []*backend.Delivery{d}, 60*time.Second)
	if !errors.Is(backend.ErrorAt(err, 0), backend.ErrLeaseLost) || !notifier.Lost(d) {
		t.Errorf("Extend: %v, lost: %t; want %v", err, notifier.Lost(d), backend.ErrLeaseLost)
	}
	for range 1000 { // which takes as long as as many touches would
		statistic(t, client, "cmd-touch")
	}
	if n := statistic(t, client, "cmd-touch") - touches; n > 1 {
		t.Errorf("the job was touched %d times more, want at most once", n)
	}
}

// The reply of a server may come after the TTR of the job in it.
func TestAReplyThatComesTooLateDeliversNothingThatTheServerHasTakenBack(t *testing.T) {
	t.Parallel()
	const ours, foreign = `{"job":"job","data":1,"id":"a","gofer":{"ttr":2}}`, `{"job":"job","data":1,"id":"a"}`
	for _, c := range []struct {
		name, body string
		queues     []string
	}{
		{"to a request that looks", ours, []string{"default", "later"}},
		{"to a request that looks for a foreign job", foreign, []string{"default", "later"}},
		{"to a request that waits for a foreign job", foreign, []string{"default"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, client := server(t)
			network := faults.NewProxy(t, at("lease=2s", server))
			var armed atomic.Bool
			arrived, late := make(chan struct{}, 10), make(chan struct{})
			relay := newRelay(t, network.Addr(), func(_ *link, reply []byte) bool {
				if armed.Load() && bytes.Contains(reply, []byte("RESERVED ")) {
					arrived <- struct{}{}
					<-late
				}
				return false
			})
			end := sync.OnceFunc(func() { close(late) })
			t.Cleanup(end)
			b := faults.Open(t, "beanstalkd://"+relay.addr()+"?lease=2s&timeout=60s")
			if c.body == ours {
				ack(t, b, believed(t, b, client, ours, 2*time.Second, 2*time.Second, c.queues...))
			}
			armed.Store(true)
			put(t, client, c.body, foreignPriority, 2*time.Second)
			result := reserving(t.Context(), b, 2*time.Second, c.queues...)
			faults.AwaitHarm(t, arrived)
			awaitTakenBack(t, network, client)
			armed.Store(false)
			end()
			d := expectReserved(t, result, faults.Recovery, "a")
			expectCounts(t, client, counts{reserved: 1})
			if d.Attempt != 2 || d.Deliveries != 2 {
				t.Errorf("the job is in attempt %d, delivery %d; want what was not delivered counted too", d.Attempt, d.Deliveries)
			}
			ack(t, b, d)
		})
	}
}

// awaitTakenBack waits until the server has made its only job ready.
func awaitTakenBack(t *testing.T, network *faults.Proxy, client *beanstalk.Conn) {
	t.Helper()
	faults.Eventually(t, faults.Patience, func() error {
		nudge(network) // it may have forgotten
		got, err := count(client, "default")
		if want := (counts{ready: 1}); err == nil && got != want {
			err = fmt.Errorf("the server has %+v, want %+v", got, want)
		}
		return err
	})
}
