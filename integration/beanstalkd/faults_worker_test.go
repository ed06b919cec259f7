package beanstalkd_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/faults"
)

func TestAJobThatKillsItsWorkersIsBuriedAndItsNeighboursComplete(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	settings := faults.WorkerSettings{URL: at("lease=30s", server), Workers: 4, Prefetch: 4, Lease: 30 * time.Second}
	runs := faults.ExpectPoisonBuried(t, settings, func() error {
		got, err := count(client, "default")
		if want := (counts{buried: 1}); err == nil && got != want {
			err = fmt.Errorf("the server has %+v, want %+v", got, want)
		}
		return err
	})
	// The server can hand a job that has just killed its worker to the other
	// connection of the same process, which is about to end too.
	if runs < 2 || runs > 3 {
		t.Errorf("the job was run %d times, want 3, or 2", runs)
	}
}

func TestAWorkerThatIsKilledWhileItWaitsLosesNothing(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	settings := faults.WorkerSettings{URL: at("lease=30s", server), Workers: 1, Lease: 30 * time.Second}
	faults.ExpectIdleKillsHarmless(t, settings,
		func(workers int) { awaitWaiting(t, client, workers) },
		func() { settledCounts(t, client, faults.Patience, counts{}) })
}

// shortLease is the TTR and the lease of the tests that let it end.
const shortLease = 2 * time.Second

func TestAWorkerThatWasStoppedIsToldThatItsLeaseIsLost(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	network, story := faults.NewProxy(t, at("lease=2s", server)), faults.NewChronicle(t)
	settings := faults.WorkerSettings{URL: network.URL(), Chronicle: story, Workers: 1, Lease: shortLease}
	stopped := faults.StartWorker(t, settings)
	faults.Enqueue(t, faults.OpenQueue(t, at("lease=2s", server)), faults.Note, "a", 4*time.Second)
	began := story.Await(t, faults.Patience, faults.Began, "a", 1)
	stopped.Freeze()
	awaitTaken(t, network, client)
	settings.URL = at("lease=2s", server)
	other := faults.StartWorker(t, settings)
	if again := story.Await(t, faults.Patience, faults.Began, "a", 2); began.PID != stopped.PID() || again.PID != other.PID() {
		t.Errorf("workers %d and %d ran the job, want %d and %d", began.PID, again.PID, stopped.PID(), other.PID())
	}
	stopped.Thaw()
	if cancelled := story.Await(t, faults.Patience, faults.Cancelled, "a", 1); cancelled.Cause != queue.ErrLeaseLost.Error() {
		t.Errorf("its context ended with %q, want %q", cancelled.Cause, queue.ErrLeaseLost)
	}
	story.Await(t, faults.Patience, faults.Ended, "a", 2)
	settledCounts(t, client, faults.Patience, counts{})
	stopped.End()
	other.End()
	if of := story.Events(t); len(of) != 4 {
		t.Errorf("%+v; want two runs", of)
	}
}

// awaitTaken waits until the server has taken back what a worker held that is
// stopped.
func awaitTaken(t *testing.T, network *faults.Proxy, client *beanstalk.Conn) {
	t.Helper()
	faults.Eventually(t, faults.Patience, func() error {
		nudge(network)
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
	network, story := faults.NewProxy(t, at("lease=2s", server)), faults.NewChronicle(t)
	settings := faults.WorkerSettings{URL: network.URL(), Chronicle: story, Workers: 1, Lease: shortLease}
	stopped := faults.StartWorker(t, settings)
	awaitWaiting(t, client, 1)
	stopped.Freeze()
	faults.Enqueue(t, faults.OpenQueue(t, at("lease=2s", server)), faults.Note, "a", 3*time.Second)
	settledCounts(t, client, faults.Patience, counts{reserved: 1})
	awaitTaken(t, network, client)
	settings.URL = at("lease=2s", server)
	other := faults.StartWorker(t, settings)
	began := story.Await(t, faults.Patience, faults.Began, "a", 2)
	stopped.Thaw()
	story.Await(t, faults.Patience, faults.Ended, "a", 2)
	settledCounts(t, client, faults.Patience, counts{})
	awaitWaiting(t, client, 2)
	stopped.End()
	other.End()
	if began.PID != other.PID() {
		t.Errorf("worker %d ran the job, want %d", began.PID, other.PID())
	}
	for _, e := range story.Events(t) {
		if e.PID == stopped.PID() && e.What == faults.Ended {
			t.Errorf("%+v; want that who was stopped is told", story.Events(t))
		}
	}
}

// The server itself deletes a job for its former holder that it has made ready
// again, as long as nobody else has taken it.
func TestTheLateAckOfAWorkerThatWasStoppedIsRefusedWhileTheJobWaits(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	network, story := faults.NewProxy(t, at("lease=2s", server)), faults.NewChronicle(t)
	stopped := faults.StartWorker(t, faults.WorkerSettings{URL: network.URL(), Chronicle: story, Workers: 1, Lease: shortLease})
	producer := faults.OpenQueue(t, at("lease=2s", server))
	const jobs = 3
	for i := range jobs {
		id := fmt.Sprint(i)
		// The handler is to end at the moment at which its worker goes on.
		faults.Enqueue(t, producer, faults.Note, id, time.Second)
		story.Await(t, faults.Patience, faults.Began, id, 1)
		began := time.Now()
		stopped.Freeze()
		awaitTaken(t, network, client)
		// The clock of the worker, by which the driver goes, may be behind that
		// of the server by as much as the reply took to arrive.
		time.Sleep(time.Until(began.Add(shortLease)))
		stopped.Thaw()
		story.Await(t, faults.Patience, faults.Ended, id, 2)
		settledCounts(t, client, faults.Patience, counts{})
	}
	stopped.End()
	for i := range jobs {
		if of := story.Events(t, fmt.Sprint(i)); len(of) != 4 {
			t.Errorf("job %d: %+v; want two runs", i, of)
		}
	}
}
