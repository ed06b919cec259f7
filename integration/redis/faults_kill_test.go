package redis_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// Workers are killed as kill -9 does it, all the time, while jobs come in. No
// job is lost, and none runs more often than the kills explain: who has run it
// before was killed, and each attempt has its own number.
func TestKilledWorkersLoseNoJobAndExplainEveryExtraRun(t *testing.T) {
	const processes, workers, prefetch = 3, 2, 2
	kills := 300
	if testing.Short() {
		kills = 30
	}
	server, client := server(t)
	settings := workerSettings{
		URL: server.URL(), Workers: workers, Prefetch: prefetch,
		// Long enough that a machine which is busy with other things does
		// not make a worker lose it.
		Lease: 3 * time.Second,
	}
	enqueued := make(chan []string)
	stop := make(chan struct{})
	go produce(t, server.URL(), stop, enqueued)

	running := make([]*workerProcess, processes)
	for i := range running {
		running[i] = startWorker(t, settings)
	}
	killed := make(map[int]bool)
	for range kills {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		victim := rand.IntN(processes)
		running[victim].kill()
		killed[running[victim].pid()] = true
		running[victim] = startWorker(t, settings)
	}
	close(stop)
	ids := <-enqueued
	eventually(t, patience, func() error {
		got := count(t, client)
		got.dead = 0
		if got != (counts{}) {
			return fmt.Errorf("there still are %+v", got)
		}
		if workers := registered(t, client); len(workers) != processes {
			return fmt.Errorf("the workers are %v, of which only %d live", workers, processes)
		}
		return nil
	})
	for _, worker := range running {
		worker.end()
	}

	histories := make(map[string][]event)
	for _, e := range events(t, client) {
		histories[e.ID] = append(histories[e.ID], e)
	}
	buried := crashLoops(t, server.URL())
	extra, lost := 0, 0
	for _, id := range ids {
		attempts, runs := explain(t, histories[id], killed)
		extra += max(runs-1, 0)
		lost += max(attempts-1, 0)
		if buried[id] {
			continue // it was there whenever a worker was killed
		}
		awaitEnded(t, histories[id], id)
	}
	t.Logf("%d kills, %d jobs, %d extra runs, %d attempts lost, %d buried", kills, len(ids), extra, lost, len(buried))
	if most := kills * workers; extra > most {
		t.Errorf("%d extra runs; %d kills of workers with %d slots explain %d", extra, kills, workers, most)
	}
	if most := kills * (workers + prefetch); lost > most {
		t.Errorf("%d attempts were lost; %d kills of workers that hold %d jobs explain %d", lost, kills, workers+prefetch, most)
	}
	if len(histories) > len(ids) {
		t.Errorf("%d jobs ran, and only %d were enqueued", len(histories), len(ids))
	}
	expectNothingLeft(t, client)
}

// produce enqueues jobs until stop is closed, and then tells their IDs.
func produce(t *testing.T, address string, stop <-chan struct{}, enqueued chan<- []string) {
	var ids []string
	defer func() { enqueued <- ids }()
	q, err := queue.Open(t.Context(), address)
	if err != nil {
		t.Error(err)
		return
	}
	defer q.Close()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		select {
		case <-stop:
			return
		case <-pause.C:
		}
		var batch []queue.Request
		for range 3 {
			batch = append(batch, queue.Request{Kind: "note", Args: duration{time.Duration(rand.IntN(10)) * time.Millisecond}})
		}
		made, err := q.EnqueueMany(t.Context(), batch...)
		if err != nil {
			t.Error(err)
			return
		}
		ids = append(ids, made...)
	}
}

// explain fails the test unless each run of a job but the last was made by a
// worker that was killed, and each as an attempt of its own. It returns the
// number of the last attempt, and how many runs there were.
func explain(t *testing.T, of []event, killed map[int]bool) (attempts, runs int) {
	t.Helper()
	var last event
	for _, e := range of {
		if e.What == "cancelled" {
			t.Errorf("job %s was taken from worker %d, which was not stopped: %+v", e.ID, e.PID, of)
		}
		if e.What != "began" {
			continue
		}
		if runs > 0 && !killed[last.PID] {
			t.Errorf("job %s runs again, and worker %d was not killed: %+v", e.ID, last.PID, of)
		}
		if e.Attempt <= last.Attempt {
			t.Errorf("job %s runs as attempt %d again: %+v", e.ID, e.Attempt, of)
		}
		last = e
		runs++
	}
	if last.Attempt > queue.DefaultMaxAttempts {
		t.Errorf("job %s has had %d attempts", last.ID, last.Attempt)
	}
	return last.Attempt, runs
}

// crashLoops returns the IDs of the dead jobs, which all have to be buried
// because they were held by too many workers that died.
func crashLoops(t *testing.T, address string) map[string]bool {
	t.Helper()
	list, _ := backend.As[backend.Lister](open(t, address))
	entries, err := list.Peek(t.Context(), "default", backend.Dead, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, e := range entries {
		ids[e.ID] = true
		if !strings.Contains(e.Failure.Error, queue.ErrCrashLoop.Error()) {
			t.Errorf("job %s was buried: %s", e.ID, e.Failure.Error)
		}
	}
	return ids
}

// expectNothingLeft fails the test when workers that have ended or died are
// still known, or what they were told is. Those that died are forgotten some
// time after their death: Redis may hand a job to one that was only stopped.
func expectNothingLeft(t *testing.T, client *goredis.Client) {
	t.Helper()
	for _, key := range []string{"resque:workers", "resque:workers:heartbeat"} {
		if n := client.Exists(t.Context(), key).Val(); n != 0 {
			t.Errorf("the key %s is left", key)
		}
	}
	for _, pattern := range []string{"resque:worker:*", "resque:stat:*:*"} {
		if keys := client.Keys(t.Context(), pattern).Val(); len(keys) > 0 {
			t.Errorf("%d keys %s are left", len(keys), pattern)
		}
	}
}
