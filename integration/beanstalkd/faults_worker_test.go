package beanstalkd_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue"
)

func TestAJobThatKillsItsWorkersIsBuriedAndItsNeighboursComplete(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	address, story := at("lease=30s", server), newChronicle(t)
	producer := openQueue(t, address)
	settings := workerSettings{URL: address, Chronicle: story, Workers: 4, Prefetch: 4, Lease: 30 * time.Second}
	enqueue(t, producer, "note", "before", 0)
	enqueue(t, producer, "crash", "poison", 100*time.Millisecond)
	for i := range 20 {
		enqueue(t, producer, "note", fmt.Sprintf("after-%d", i), 0)
	}
	worker := startWorker(t, settings)
	eventually(t, patience, func() error {
		select {
		case <-worker.ended: // somebody starts it again, as a service manager does
			worker = startWorker(t, settings)
		default:
		}
		got, err := count(client, "default")
		if want := (counts{buried: 1}); err == nil && got != want {
			err = fmt.Errorf("the server has %+v, want %+v", got, want)
		}
		return err
	})
	worker.end()
	began := 0
	for _, e := range story.events(t) {
		if e.ID == "poison" {
			began++
		} else if e.What == "ended" && e.Attempt > 4 {
			t.Errorf("%s completed in attempt %d", e.ID, e.Attempt)
		}
	}
	// The server can hand a job that has just killed its worker to the other
	// connection of the same process, which is about to end too.
	if began < 2 || began > 3 {
		t.Errorf("the job was run %d times, want 3, or 2", began)
	}
	if dead := dead(t, producer.Backend()); len(dead) != 1 || dead[0].ID != "poison" || !strings.Contains(dead[0].Failure.Error, queue.ErrCrashLoop.Error()) {
		t.Errorf("buried: %+v; want the job that kills its workers", dead)
	}
	for _, id := range []string{"before", "after-0", "after-19"} {
		expectEnded(t, story.events(t, id), id)
	}
}

// shortLease is the TTR and the lease of the tests that let it end.
const shortLease = 2 * time.Second

func TestAWorkerThatWasStoppedIsToldThatItsLeaseIsLost(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	network, story := newProxy(t, server.Addr()), newChronicle(t)
	settings := workerSettings{URL: network.url("lease=2s"), Chronicle: story, Workers: 1, Lease: shortLease}
	stopped := startWorker(t, settings)
	enqueue(t, openQueue(t, at("lease=2s", server)), "note", "a", 4*time.Second)
	began := story.await(t, patience, "began", "a", 1)
	stopped.freeze()
	awaitTaken(t, network, client)
	settings.URL = at("lease=2s", server)
	other := startWorker(t, settings)
	if again := story.await(t, patience, "began", "a", 2); began.PID != stopped.pid() || again.PID != other.pid() {
		t.Errorf("workers %d and %d ran the job, want %d and %d", began.PID, again.PID, stopped.pid(), other.pid())
	}
	stopped.thaw()
	if cancelled := story.await(t, patience, "cancelled", "a", 1); cancelled.Cause != queue.ErrLeaseLost.Error() {
		t.Errorf("its context ended with %q, want %q", cancelled.Cause, queue.ErrLeaseLost)
	}
	story.await(t, patience, "ended", "a", 2)
	settledCounts(t, client, patience, counts{})
	stopped.end()
	other.end()
	if of := story.events(t); len(of) != 4 {
		t.Errorf("%+v; want two runs", of)
	}
}

// awaitTaken waits until the server has taken back what a worker held that is
// stopped.
func awaitTaken(t *testing.T, network *proxy, client *beanstalk.Conn) {
	t.Helper()
	eventually(t, patience, func() error {
		network.nudge()
		got, err := count(client, "default")
		if want := (counts{ready: 1}); err == nil && got != want {
			err = fmt.Errorf("the server has %+v, want %+v", got, want)
		}
		return err
	})
}

// What a worker waited for came when it was stopped, and was another's by the
// time it went on to read of it.
func TestAJobThatCameWhileItsWorkerWasStoppedGoesToAnother(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	network, story := newProxy(t, server.Addr()), newChronicle(t)
	settings := workerSettings{URL: network.url("lease=2s"), Chronicle: story, Workers: 1, Lease: shortLease}
	stopped := startWorker(t, settings)
	awaitWaiting(t, client, 1)
	stopped.freeze()
	enqueue(t, openQueue(t, at("lease=2s", server)), "note", "a", 3*time.Second)
	settledCounts(t, client, patience, counts{reserved: 1})
	awaitTaken(t, network, client)
	settings.URL = at("lease=2s", server)
	other := startWorker(t, settings)
	began := story.await(t, patience, "began", "a", 2)
	stopped.thaw()
	story.await(t, patience, "ended", "a", 2)
	settledCounts(t, client, patience, counts{})
	awaitWaiting(t, client, 2)
	stopped.end()
	other.end()
	if began.PID != other.pid() {
		t.Errorf("worker %d ran the job, want %d", began.PID, other.pid())
	}
	for _, e := range story.events(t) {
		if e.PID == stopped.pid() && e.What == "ended" {
			t.Errorf("%+v; want that who was stopped is told", story.events(t))
		}
	}
}

// The server itself deletes a job for its former holder that it has made ready
// again, as long as nobody else has taken it.
func TestTheLateAckOfAWorkerThatWasStoppedIsRefusedWhileTheJobWaits(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	network, story := newProxy(t, server.Addr()), newChronicle(t)
	stopped := startWorker(t, workerSettings{URL: network.url("lease=2s"), Chronicle: story, Workers: 1, Lease: shortLease})
	producer := openQueue(t, at("lease=2s", server))
	const jobs = 3
	for i := range jobs {
		id := fmt.Sprint(i)
		// The handler is to end at the moment at which its worker goes on.
		enqueue(t, producer, "note", id, time.Second)
		story.await(t, patience, "began", id, 1)
		began := time.Now()
		stopped.freeze()
		awaitTaken(t, network, client)
		// The clock of the worker, by which the driver goes, may be behind that
		// of the server by as much as the reply took to arrive.
		time.Sleep(time.Until(began.Add(shortLease)))
		stopped.thaw()
		story.await(t, patience, "ended", id, 2)
		settledCounts(t, client, patience, counts{})
	}
	stopped.end()
	for i := range jobs {
		if of := story.events(t, fmt.Sprint(i)); len(of) != 4 {
			t.Errorf("job %d: %+v; want two runs", i, of)
		}
	}
}

func TestAWorkerThatIsKilledWhileItWaitsLosesNothing(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	address, story := at("lease=30s", server), newChronicle(t)
	producer := openQueue(t, address)
	settings := workerSettings{URL: address, Chronicle: story, Workers: 1, Lease: 30 * time.Second}
	const rounds = 10
	for i := range rounds {
		worker := startWorker(t, settings)
		awaitWaiting(t, client, 1)
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(time.Duration(i) * 300 * time.Microsecond) // now before and now after the job
			worker.kill()
		}()
		enqueue(t, producer, "note", fmt.Sprint(i), 0)
		<-killed
		awaitWaiting(t, client, 0)
	}
	last := startWorker(t, settings)
	settledCounts(t, client, patience, counts{})
	awaitWaiting(t, client, 1) // by then it knows how to end
	last.end()
	for i := range rounds {
		expectEnded(t, story.events(t, fmt.Sprint(i)), fmt.Sprint(i))
	}
}
