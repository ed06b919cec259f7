package redis_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/faults"
)

// A worker is taken for dead when it has missed a beat of its clock, which has
// at least a second; the clock of another then looks after a moment. A busy
// machine is given a second more.
const (
	shortLease = time.Second
	beat       = time.Second
	slack      = time.Second
	takenBack  = shortLease + beat + 2*time.Second + slack
)

func TestAJobThatKillsItsWorkersIsBuriedAndItsNeighboursComplete(t *testing.T) {
	server, client := server(t)
	settings := faults.WorkerSettings{URL: server.URL(), Workers: 4, Prefetch: 4, Lease: shortLease}
	runs := faults.ExpectPoisonBuried(t, settings, func() error {
		if got, want := count(t, client), (counts{dead: 1}); got != want {
			return fmt.Errorf("the server has %+v, want %+v", got, want)
		}
		return nil
	})
	if runs != 3 {
		t.Errorf("the job was run %d times, want 3", runs)
	}
}

func TestAWorkerThatIsKilledWhileItWaitsLosesNothing(t *testing.T) {
	server, client := server(t)
	settings := faults.WorkerSettings{URL: server.URL(), Workers: 1, Prefetch: 1, Lease: shortLease}
	faults.ExpectIdleKillsHarmless(t, settings,
		func(workers int) { awaitIdle(t, client, workers) },
		func() { settledCounts(t, client, counts{}) })
}

func TestAJobOnItsWayToAWorkerThatHasStoppedGoesToAnother(t *testing.T) {
	server, client := server(t)
	producer := faults.OpenQueue(t, server.URL())
	story := faults.NewChronicle(t)
	settings := faults.WorkerSettings{URL: server.URL(), Chronicle: story, Workers: 1, Prefetch: 1, Lease: shortLease}
	stopped := faults.StartWorker(t, settings)
	awaitIdle(t, client, 1)
	other := faults.StartWorker(t, settings)
	awaitIdle(t, client, 2)
	stopped.Freeze() // Redis serves first who has waited longest
	pushed := time.Now()
	faults.Enqueue(t, producer, faults.Note, "a", 0)
	expectCounts(t, client, counts{landed: 1})
	ended := story.Await(t, faults.Patience, faults.Ended, "a", 1)
	if took := time.Since(pushed); took > takenBack {
		t.Errorf("it took %v until another had the job, want at most %v", took, takenBack)
	}
	if ended.PID != other.PID() {
		t.Errorf("worker %d ran it, want %d", ended.PID, other.PID())
	}
	stopped.Thaw()
	awaitIdle(t, client, 2) // it has seen what has happened, and goes on
	faults.Enqueue(t, producer, faults.Note, "b", 0)
	faults.Enqueue(t, producer, faults.Note, "c", 0)
	settledCounts(t, client, counts{})
	other.End()
	faults.Enqueue(t, producer, faults.Note, "d", 0)
	if e := story.Await(t, faults.Patience, faults.Ended, "d", 1); e.PID != stopped.PID() {
		t.Errorf("worker %d ran it, want %d", e.PID, stopped.PID())
	}
	stopped.End()
	for _, id := range []string{"a", "b", "c", "d"} {
		if of := story.Events(t, id); len(of) != 2 {
			t.Errorf("job %s: %+v; want one run", id, of)
		}
	}
	expectCounts(t, client, counts{})
}

func TestAWorkerThatWasStoppedIsToldThatItsLeaseIsLost(t *testing.T) {
	server, client := server(t)
	producer := faults.OpenQueue(t, server.URL())
	story := faults.NewChronicle(t)
	settings := faults.WorkerSettings{URL: server.URL(), Chronicle: story, Workers: 1, Prefetch: 1, Lease: shortLease}
	stopped := faults.StartWorker(t, settings)
	faults.Enqueue(t, producer, faults.Note, "a", 4*time.Second)
	began := story.Await(t, faults.Patience, faults.Began, "a", 1)
	stopped.Freeze()
	other := faults.StartWorker(t, settings)
	if again := story.Await(t, faults.Patience, faults.Began, "a", 2); began.PID != stopped.PID() || again.PID != other.PID() {
		t.Errorf("workers %d and %d ran the job, want %d and %d", began.PID, again.PID, stopped.PID(), other.PID())
	}
	stopped.Thaw()
	cancelled := story.Await(t, faults.Patience, faults.Cancelled, "a", 1)
	if cancelled.Cause != queue.ErrLeaseLost.Error() {
		t.Errorf("its context ended with %q, want %q", cancelled.Cause, queue.ErrLeaseLost)
	}
	story.Await(t, faults.Patience, faults.Ended, "a", 2)
	settledCounts(t, client, counts{})
	stopped.End()
	other.End()
	if of := story.Events(t); len(of) != 4 {
		t.Errorf("%+v; want two runs", of)
	}
	if n := client.Get(t.Context(), "resque:stat:processed").Val(); n != "1" {
		t.Errorf("the server took %s acks, want 1", n)
	}
	expectCounts(t, client, counts{})
}

func TestADeadWorkerIsUnregistered(t *testing.T) {
	server, client := server(t)
	settings := faults.WorkerSettings{URL: server.URL(), Chronicle: faults.NewChronicle(t), Workers: 1, Prefetch: 1, Lease: shortLease}
	victim, other := faults.StartWorker(t, settings), faults.StartWorker(t, settings)
	faults.Enqueue(t, faults.OpenQueue(t, server.URL()), faults.Note, "a", time.Hour)
	awaitIdle(t, client, 2)
	id := registered(t, client)[victim.PID()]
	keys := []string{"resque:worker:" + id + ":started"}
	if n := client.Exists(t.Context(), keys...).Val(); n != 1 || !client.HExists(t.Context(), "resque:workers:heartbeat", id).Val() {
		t.Errorf("worker %q is not registered as Resque's are", id)
	}
	keys = append(keys, "resque:worker:"+id, "resque:stat:processed:"+id, "resque:stat:failed:"+id)
	victim.Kill()
	faults.Eventually(t, takenBack, func() error {
		if _, still := registered(t, client)[victim.PID()]; still {
			return errors.New("it is still registered")
		}
		return nil
	})
	if n := client.Exists(t.Context(), keys...).Val(); n != 0 || client.HExists(t.Context(), "resque:workers:heartbeat", id).Val() {
		t.Errorf("the dead worker %q has left keys behind", id)
	}
	if _, there := registered(t, client)[other.PID()]; !there {
		t.Error("the worker that lives is no longer registered")
	}
}
