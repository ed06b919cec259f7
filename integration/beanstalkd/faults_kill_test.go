package beanstalkd_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// Workers are killed as kill -9 does it, all the time, while jobs come in. No
// job is lost, and none runs more often than the kills explain: who has run it
// before was killed, and each attempt has its own number.
func TestKilledWorkersLoseNoJobAndExplainEveryExtraRun(t *testing.T) {
	t.Parallel()
	const processes, workers, prefetch = 3, 2, 2
	kills := 100
	if testing.Short() {
		kills = 20
	}
	server, client := server(t)
	// The lease is long enough that a machine which is busy with other things
	// does not make a worker lose it. What a killed one held comes back before
	// that: its connections are gone.
	address := at("lease=30s", server)
	story := newChronicle(t)
	settings := workerSettings{URL: address, Chronicle: story, Workers: workers, Prefetch: prefetch, Lease: 30 * time.Second}
	enqueued := make(chan []string)
	stop := make(chan struct{})
	go produce(t, address, stop, enqueued)

	running := make([]*workerProcess, processes)
	for i := range running {
		running[i] = startWorker(t, settings)
	}
	killed := make(map[int]bool)
	for range kills {
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		victim := rand.IntN(processes)
		running[victim].kill()
		killed[running[victim].pid()] = true
		running[victim] = startWorker(t, settings)
	}
	close(stop)
	ids := <-enqueued
	eventually(t, patience, func() error {
		got, err := count(client, "default")
		got.buried = 0
		if err == nil && got != (counts{}) {
			err = fmt.Errorf("there still are %+v", got)
		}
		return err
	})
	awaitWaiting(t, client, processes) // by then they know how to end
	for _, worker := range running {
		worker.end()
	}

	histories := make(map[string][]event)
	for _, e := range story.events(t) {
		histories[e.ID] = append(histories[e.ID], e)
	}
	buried := crashLoops(t, address)
	extra, lost := 0, 0
	for _, id := range ids {
		attempts, runs := explain(t, histories[id], killed)
		extra += max(runs-1, 0)
		lost += max(attempts-1, 0)
		if buried[id] {
			continue // it was there whenever a worker was killed
		}
		expectEnded(t, histories[id], id)
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
	return last.Attempt, runs
}

// crashLoops returns the IDs of the dead jobs, which all have to be buried
// because they were held by too many workers that died.
func crashLoops(t *testing.T, address string) map[string]bool {
	t.Helper()
	ids := make(map[string]bool)
	for _, e := range dead(t, open(t, address)) {
		ids[e.ID] = true
		if e.Failure == nil || !strings.Contains(e.Failure.Error, queue.ErrCrashLoop.Error()) {
			t.Errorf("job %s was buried: %+v", e.ID, e.Failure)
		}
	}
	return ids
}
