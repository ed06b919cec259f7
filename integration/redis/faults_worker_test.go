package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
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
	producer := openQueue(t, server.URL())
	settings := workerSettings{URL: server.URL(), Workers: 4, Prefetch: 4, Lease: shortLease}
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
		if got, want := count(t, client), (counts{dead: 1}); got != want {
			return fmt.Errorf("the server has %+v, want %+v", got, want)
		}
		return nil
	})
	worker.end()
	began := 0
	for _, e := range events(t, client) {
		if e.ID == "poison" {
			began++
		} else if e.What == "ended" && e.Attempt > 4 {
			t.Errorf("%s completed in attempt %d", e.ID, e.Attempt)
		}
	}
	if began != 3 {
		t.Errorf("the job was run %d times, want 3", began)
	}
	list, _ := backend.As[backend.Lister](producer.Backend())
	dead, err := list.Peek(t.Context(), "default", backend.Dead, 0, 10)
	if err != nil || len(dead) != 1 || dead[0].ID != "poison" || !strings.Contains(dead[0].Failure.Error, queue.ErrCrashLoop.Error()) {
		t.Errorf("buried: %+v, %v; want the job that kills its workers", dead, err)
	}
	for _, id := range []string{"before", "after-0", "after-19"} {
		awaitEnded(t, events(t, client, id), id)
	}
}

// awaitEnded fails the test unless the last thing that happened to a job is
// that it ended.
func awaitEnded(t testing.TB, of []event, id string) {
	t.Helper()
	if len(of) == 0 || of[len(of)-1].What != "ended" {
		t.Errorf("job %s did not complete: %+v", id, of)
	}
}

func TestAWorkerThatIsKilledWhileItWaitsLosesNothing(t *testing.T) {
	server, client := server(t)
	producer := openQueue(t, server.URL())
	settings := workerSettings{URL: server.URL(), Workers: 1, Prefetch: 1, Lease: shortLease}
	const rounds = 10
	for i := range rounds {
		worker := startWorker(t, settings)
		awaitIdle(t, client, 1)
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(time.Duration(i) * 300 * time.Microsecond) // now before and now after the job
			worker.kill()
		}()
		enqueue(t, producer, "note", fmt.Sprint(i), 0)
		<-killed
		awaitIdle(t, client, 0)
	}
	last := startWorker(t, settings)
	settledCounts(t, client, counts{})
	last.end()
	for i := range rounds {
		awaitEnded(t, events(t, client, fmt.Sprint(i)), fmt.Sprint(i))
	}
	expectCounts(t, client, counts{})
}

func TestAJobOnItsWayToAWorkerThatHasStoppedGoesToAnother(t *testing.T) {
	server, client := server(t)
	producer := openQueue(t, server.URL())
	settings := workerSettings{URL: server.URL(), Workers: 1, Prefetch: 1, Lease: shortLease}
	stopped := startWorker(t, settings)
	awaitIdle(t, client, 1)
	other := startWorker(t, settings)
	awaitIdle(t, client, 2)
	stopped.freeze() // Redis serves first who has waited longest
	pushed := time.Now()
	enqueue(t, producer, "note", "a", 0)
	expectCounts(t, client, counts{landed: 1})
	ended := awaitEvent(t, client, patience, "ended", "a", 1)
	if took := time.Since(pushed); took > takenBack {
		t.Errorf("it took %v until another had the job, want at most %v", took, takenBack)
	}
	if ended.PID != other.pid() {
		t.Errorf("worker %d ran it, want %d", ended.PID, other.pid())
	}
	stopped.thaw()
	awaitIdle(t, client, 2) // it has seen what has happened, and goes on
	enqueue(t, producer, "note", "b", 0)
	enqueue(t, producer, "note", "c", 0)
	settledCounts(t, client, counts{})
	other.end()
	enqueue(t, producer, "note", "d", 0)
	if e := awaitEvent(t, client, patience, "ended", "d", 1); e.PID != stopped.pid() {
		t.Errorf("worker %d ran it, want %d", e.PID, stopped.pid())
	}
	stopped.end()
	for _, id := range []string{"a", "b", "c", "d"} {
		if of := events(t, client, id); len(of) != 2 {
			t.Errorf("job %s: %+v; want one run", id, of)
		}
	}
	expectCounts(t, client, counts{})
}

func TestAWorkerThatWasStoppedIsToldThatItsLeaseIsLost(t *testing.T) {
	server, client := server(t)
	producer := openQueue(t, server.URL())
	settings := workerSettings{URL: server.URL(), Workers: 1, Prefetch: 1, Lease: shortLease}
	stopped := startWorker(t, settings)
	enqueue(t, producer, "note", "a", 4*time.Second)
	began := awaitEvent(t, client, patience, "began", "a", 1)
	stopped.freeze()
	other := startWorker(t, settings)
	if again := awaitEvent(t, client, patience, "began", "a", 2); began.PID != stopped.pid() || again.PID != other.pid() {
		t.Errorf("workers %d and %d ran the job, want %d and %d", began.PID, again.PID, stopped.pid(), other.pid())
	}
	stopped.thaw()
	cancelled := awaitEvent(t, client, patience, "cancelled", "a", 1)
	if cancelled.Cause != queue.ErrLeaseLost.Error() {
		t.Errorf("its context ended with %q, want %q", cancelled.Cause, queue.ErrLeaseLost)
	}
	awaitEvent(t, client, patience, "ended", "a", 2)
	settledCounts(t, client, counts{})
	stopped.end()
	other.end()
	if of := events(t, client); len(of) != 4 {
		t.Errorf("%+v; want two runs", of)
	}
	if n := client.Get(t.Context(), "resque:stat:processed").Val(); n != "1" {
		t.Errorf("the server took %s acks, want 1", n)
	}
	expectCounts(t, client, counts{})
}

func TestADeadWorkerIsUnregistered(t *testing.T) {
	server, client := server(t)
	settings := workerSettings{URL: server.URL(), Workers: 1, Prefetch: 1, Lease: shortLease}
	victim, other := startWorker(t, settings), startWorker(t, settings)
	enqueue(t, openQueue(t, server.URL()), "note", "a", time.Hour)
	awaitIdle(t, client, 2)
	id := registered(t, client)[victim.pid()]
	keys := []string{"resque:worker:" + id + ":started"}
	if n := client.Exists(t.Context(), keys...).Val(); n != 1 || !client.HExists(t.Context(), "resque:workers:heartbeat", id).Val() {
		t.Errorf("worker %q is not registered as Resque's are", id)
	}
	keys = append(keys, "resque:worker:"+id, "resque:stat:processed:"+id, "resque:stat:failed:"+id)
	victim.kill()
	eventually(t, takenBack, func() error {
		if _, still := registered(t, client)[victim.pid()]; still {
			return errors.New("it is still registered")
		}
		return nil
	})
	if n := client.Exists(t.Context(), keys...).Val(); n != 0 || client.HExists(t.Context(), "resque:workers:heartbeat", id).Val() {
		t.Errorf("the dead worker %q has left keys behind", id)
	}
	if _, there := registered(t, client)[other.pid()]; !there {
		t.Error("the worker that lives is no longer registered")
	}
}
