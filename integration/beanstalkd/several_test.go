package beanstalkd_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/integration/faults"
)

// reserved is what a Reserve has returned.
type reserved struct {
	deliveries []*backend.Delivery
	err        error
}

// reserving reserves a job of any of the queues meanwhile.
func reserving(ctx context.Context, b backend.Backend, lease time.Duration, queues ...string) <-chan reserved {
	result := make(chan reserved, 1)
	go func() {
		deliveries, err := b.Reserve(ctx, queues, 1, lease)
		result <- reserved{deliveries, err}
	}()
	return result
}

// expectReserved waits for the job with the ID.
func expectReserved(t *testing.T, from <-chan reserved, limit time.Duration, id string) *backend.Delivery {
	t.Helper()
	select {
	case got := <-from:
		if len(got.deliveries) != 1 || got.deliveries[0].ID != id || got.err != nil {
			t.Fatalf("Reserve: %v, %v; want job %s", got.deliveries, got.err, id)
		}
		return got.deliveries[0]
	case <-time.After(limit):
		t.Fatalf("job %s was not reserved within %v", id, limit)
	}
	return nil
}

// halfBuried is a job whose burial was cut short: who comes upon it buries it,
// and so has reserved nothing though it was handed a job.
const halfBuried = `{"job":"job","data":1,"id":"half","gofer":{"ttr":30,"failure":{"error":"no luck"},"priority":1024}}`

// halfBuriedPriority is that of a job which is to be buried and is not yet.
const halfBuriedPriority = 1<<32 - 1

func TestAWorkerOfTwoServersTakesAJobAfterItsWaitAtOneHasEndedWithNothing(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(*brokers.BeanstalkdServer){
		"and the other is idle": func(*brokers.BeanstalkdServer) {},
		"and the other is down": func(other *brokers.BeanstalkdServer) { other.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, client := server(t)
			other, _ := server(t)
			b := faults.Open(t, at("lease=30s", one, other))
			harm(other)
			ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
			defer cancel()
			result := reserving(ctx, b, 30*time.Second, "default")
			awaitWaiting(t, client, 1)
			put(t, client, halfBuried, halfBuriedPriority, 30*time.Second)
			settledCounts(t, client, faults.Patience, counts{buried: 1})
			faults.Push(t, faults.Open(t, at("lease=30s", one)), "a")
			ack(t, b, expectReserved(t, result, faults.Recovery, "a"))
		})
	}
}

func TestAReserveOfTwoQueuesGoesOnWhenOneOfTwoServersIsKilled(t *testing.T) {
	t.Parallel()
	one, client := server(t)
	other, otherClient := server(t)
	b := faults.Open(t, at("lease=30s", one, other))
	ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
	defer cancel()
	first, stop := context.WithCancel(ctx)
	before := reserving(first, b, 30*time.Second, "urgent", "default")
	awaitWaiting(t, client, 1)
	awaitWaiting(t, otherClient, 1)
	stop()
	<-before

	other.Kill()
	result := reserving(ctx, b, 30*time.Second, "urgent", "default")
	select {
	case got := <-result:
		t.Fatalf("Reserve: %v, %v; want that it waits for the server that is up", got.deliveries, got.err)
	case <-waits(t, one):
	}
	faults.Push(t, faults.Open(t, at("lease=30s", one)), "a")
	ack(t, b, expectReserved(t, result, faults.Recovery, "a"))
}

// waits is closed when a connection waits in the server for a job.
func waits(t *testing.T, s *brokers.BeanstalkdServer) <-chan struct{} {
	client, there := s.Client(), make(chan struct{})
	ctx := t.Context()
	go func() {
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			if stats, err := client.Stats(); err != nil || stats["current-waiting"] == "1" {
				close(there)
				return
			}
		}
	}()
	return there
}

// What is unavailable has had no effect, and may be tried elsewhere.
func TestWhatOneOfTwoServersHasDoneIsNotCalledUnavailable(t *testing.T) {
	t.Parallel()
	one, client := server(t)
	other, _ := server(t)
	b := faults.Open(t, at("lease=30s", one, other))
	faults.Push(t, b, "1", "2", "3", "4")
	for _, d := range faults.ReserveMany(t, b, 4, 30*time.Second, faults.Patience) {
		if err := faults.Bury(t.Context(), b, d); err != nil {
			t.Fatal(err)
		}
	}
	faults.Push(t, b, "5", "6", "7", "8")
	expectCounts(t, client, counts{ready: 2, buried: 2}) // and so has the other
	var there, elsewhere []string
	for _, e := range faults.Dead(t, b) {
		if strings.HasPrefix(e.Key, one.Addr()) {
			there = append(there, e.Key)
		} else {
			elsewhere = append(elsewhere, e.Key)
		}
	}
	if len(there) != 2 || len(elsewhere) != 2 {
		t.Fatalf("dead are %v and %v, want two on each server", there, elsewhere)
	}
	other.Kill()

	set, _ := backend.As[backend.DeadSet](b)
	purger, _ := backend.As[backend.Purger](b)
	pauser, _ := backend.As[backend.Pauser](b)
	for _, c := range []struct {
		name string
		do   func() (int, error)
		n    int
		left counts
	}{
		{"Delete", func() (int, error) { return set.Delete(t.Context(), "default", there[0], elsewhere[0]) }, 1, counts{ready: 2, buried: 1}},
		{"Requeue", func() (int, error) { return set.Requeue(t.Context(), "default", there[1], elsewhere[1]) }, 1, counts{ready: 3}},
		{"Purge", func() (int, error) { return purger.Purge(t.Context(), "default") }, 3, counts{}},
		{"Pause", func() (int, error) { return 0, pauser.Pause(t.Context(), "default") }, 0, counts{}},
	} {
		n, err := c.do()
		if n != c.n || err == nil || errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s that one of two servers has done: %d, %v; want %d, and an error that is not %v", c.name, n, err, c.n, backend.ErrUnavailable)
		}
		expectCounts(t, client, c.left)
	}
	inspector, _ := backend.As[backend.Inspector](faults.Open(t, at("lease=30s", one)))
	if stats, err := inspector.Stats(t.Context(), "default"); err != nil || !stats.Paused {
		t.Errorf("the queue has %+v, %v; want it paused", stats, err)
	}

	one.Kill()
	faults.Eventually(t, faults.Recovery, func() error { // the loss may not have been noticed
		if err := pauser.Pause(t.Context(), "default"); !errors.Is(err, backend.ErrUnavailable) {
			return fmt.Errorf("Pause without a server: %v; want %v", err, backend.ErrUnavailable)
		}
		return nil
	})
}

// Nothing may be said over a connection while its server hangs, so that it is
// as good as it was when the server is back, though new ones were in vain.
func TestAServerThatHungAndIsBackIsUsedAgainThoughTheOtherHasAllTheJobs(t *testing.T) {
	t.Parallel()
	one, _ := server(t)
	other, client := server(t)
	var hangs atomic.Pointer[chan struct{}] // closed when it is over; nil before
	relay := newRelay(t, other.Addr(), func(*link, []byte) bool {
		if back := hangs.Load(); back != nil {
			<-*back
		}
		return false
	})
	back := make(chan struct{})
	end := sync.OnceFunc(func() { close(back) })
	t.Cleanup(end)

	b := faults.Open(t, "beanstalkd://"+one.Addr()+","+relay.addr()+"?lease=30s&timeout=500ms")
	there, onOther := faults.Open(t, at("lease=30s", one)), faults.Open(t, at("lease=30s", other))
	for i := range 100 {
		faults.Push(t, there, fmt.Sprint("there-", i))
	}
	faults.Push(t, onOther, "before")
	// cycle takes what is offered, and gives back what one has, which so always
	// has more.
	found := make(map[string]bool)
	cycle := func(id string) error {
		ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
		defer cancel()
		// One of each: of less than that the faster server's would be kept.
		deliveries, err := b.Reserve(ctx, []string{"default"}, 2, 30*time.Second)
		if err != nil {
			return err
		}
		for _, d := range deliveries {
			if strings.HasPrefix(d.ID, "there-") {
				err = b.Release(ctx, []*backend.Delivery{d}, 0)
			} else {
				err = b.Ack(ctx, []*backend.Delivery{d})
			}
			if err != nil {
				return err
			}
			found[d.ID] = true
		}
		if !found[id] {
			return fmt.Errorf("job %s was not reserved", id)
		}
		return nil
	}
	faults.Eventually(t, faults.Recovery, func() error { return cycle("before") })

	hangs.Store(&back)
	before := relay.abandoned()
	faults.Eventually(t, faults.Patience, func() error {
		cycle("none")
		// One that has taken jobs before, and one that was to be its successor.
		if n := relay.abandoned() - before; n < 2 {
			return fmt.Errorf("%d connections were abandoned, want 2", n)
		}
		return nil
	})
	end()
	faults.Push(t, onOther, "after")
	faults.Eventually(t, faults.Recovery, func() error { return cycle("after") })
	jobs := statistic(t, client, "total-jobs")
	faults.Eventually(t, faults.Recovery, func() error {
		faults.Push(t, b, "pushed")
		if n := statistic(t, client, "total-jobs"); n == jobs {
			return errors.New("the server that is back is pushed nothing")
		}
		return nil
	})
}
