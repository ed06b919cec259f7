package rabbitmq_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/faults"
)

func TestAJobThatKillsItsWorkersIsBuriedAndItsNeighboursComplete(t *testing.T) {
	t.Parallel()
	address := place(t)
	server := watch(t, address)
	settings := faults.WorkerSettings{URL: address, Workers: 4, Prefetch: 4, Lease: 30 * time.Second}
	runs := faults.ExpectPoisonBuried(t, settings, func() error {
		if dead, _, err := server.look("default.dead"); err != nil || dead != 1 {
			return fmt.Errorf("%d jobs are dead, %v; want 1", dead, err)
		}
		return server.empty()
	})
	if runs != 3 {
		t.Errorf("the job was run %d times, want 3", runs)
	}
}

func TestAWorkerThatIsKilledWhileItWaitsLosesNothing(t *testing.T) {
	t.Parallel()
	address := place(t)
	server := watch(t, address)
	settings := faults.WorkerSettings{URL: address, Workers: 1, Lease: 30 * time.Second}
	faults.ExpectIdleKillsHarmless(t, settings,
		func(workers int) {
			if workers == 0 { // and jobs, which a worker that is killed may leave
				server.awaitConsumers("default", 0)
				return
			}
			server.awaitIdle(workers)
		},
		server.awaitEmpty)
}

// A worker that is stopped keeps its connections, and with them its jobs, until
// the server misses its heartbeats.
func TestAWorkerThatWasStoppedIsToldThatItsJobIsLost(t *testing.T) {
	t.Parallel()
	address := with(place(t), "heartbeat", "1s")
	story := faults.NewChronicle(t)
	settings := faults.WorkerSettings{URL: address, Chronicle: story, Workers: 1, Lease: 30 * time.Second}
	stopped := faults.StartWorker(t, settings)
	faults.Enqueue(t, faults.OpenQueue(t, address), faults.Note, "a", 6*time.Second)
	began := story.Await(t, faults.Patience, faults.Began, "a", 1)
	stopped.Freeze()
	other := faults.StartWorker(t, settings)
	if again := story.Await(t, faults.Patience, faults.Began, "a", 2); began.PID != stopped.PID() || again.PID != other.PID() {
		t.Errorf("workers %d and %d ran the job, want %d and %d", began.PID, again.PID, stopped.PID(), other.PID())
	}
	stopped.Thaw()
	// Its handler may have ended just then: the time of a process goes on while
	// it is stopped.
	faults.Eventually(t, faults.Patience, func() error {
		for _, e := range story.Events(t, "a") {
			if e.PID != stopped.PID() || e.What == faults.Began {
				continue
			}
			if e.What == faults.Cancelled && e.Cause != queue.ErrLeaseLost.Error() {
				t.Errorf("its context ended with %q, want %q", e.Cause, queue.ErrLeaseLost)
			}
			return nil
		}
		return fmt.Errorf("what has happened: %+v", story.Events(t, "a"))
	})
	story.Await(t, faults.Patience, faults.Ended, "a", 2)
	watch(t, address).awaitIdle(2)
	stopped.End()
	other.End()
	if of := story.Events(t); len(of) != 4 {
		t.Errorf("%+v; want two runs", of)
	}
}
