package faults

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// KillRounds is a test in which workers are killed as kill -9 does it, all the
// time, while jobs come in. No job is lost, and none runs more often than the
// kills explain: who has run it before was killed, and each attempt has its own
// number.
type KillRounds struct {
	// URL is that of the broker.
	URL string

	// Lease is that of the workers, and long enough that a machine which is
	// busy with other things does not make one lose it that lives.
	Lease time.Duration

	// Kills is how many workers are killed, and Pause how long the test waits
	// at most before each.
	Kills int
	Pause time.Duration

	// Copies says that a driver stores a job anew when it comes back from a
	// worker that died, to count that, and then removes the old one: who is
	// killed in between leaves both, each of which runs.
	Copies bool

	// Settled returns nil when the broker holds no jobs but dead ones, and so
	// many workers are there and can be asked to end. Until then it says what
	// there is.
	Settled func(workers int) error
}

// What a worker of KillRounds holds, and how many there are.
const (
	killProcesses = 3
	killWorkers   = 2
	killPrefetch  = 2
)

// Run is the test.
func (k KillRounds) Run(t testing.TB) {
	t.Helper()
	story := NewChronicle(t)
	settings := WorkerSettings{URL: k.URL, Chronicle: story, Workers: killWorkers, Prefetch: killPrefetch, Lease: k.Lease}
	enqueued := make(chan []string)
	stop := make(chan struct{})
	go produceNotes(t, k.URL, stop, enqueued)

	running := make([]*Worker, killProcesses)
	for i := range running {
		running[i] = StartWorker(t, settings)
	}
	killed := make(map[int]bool)
	for range k.Kills {
		time.Sleep(time.Duration(rand.Int64N(int64(k.Pause))))
		victim := rand.IntN(killProcesses)
		running[victim].Kill()
		killed[running[victim].PID()] = true
		running[victim] = StartWorker(t, settings)
	}
	close(stop)
	ids := <-enqueued
	Eventually(t, Patience, func() error { return k.Settled(killProcesses) })
	for _, worker := range running {
		worker.End()
	}
	k.account(t, ids, story.Events(t), killed)
}

// account holds what has happened to the jobs against how many workers were
// killed.
func (k KillRounds) account(t testing.TB, ids []string, events []Event, killed map[int]bool) {
	t.Helper()
	histories := make(map[string][]Event)
	for _, e := range events {
		histories[e.ID] = append(histories[e.ID], e)
	}
	buried := crashLoops(t, k.URL)
	extra, lost := 0, 0
	for _, id := range ids {
		attempts, runs := k.explain(t, histories[id], killed)
		extra += max(runs-1, 0)
		lost += max(attempts-1, 0)
		if buried[id] {
			continue // it was there whenever a worker was killed
		}
		expectEnded(t, histories[id], id)
	}
	t.Logf("%d kills, %d jobs, %d extra runs, %d attempts lost, %d buried", k.Kills, len(ids), extra, lost, len(buried))
	most := k.Kills * killWorkers
	if k.Copies {
		most += k.Kills * (killWorkers + killPrefetch)
	}
	if extra > most {
		t.Errorf("%d extra runs; %d kills of workers with %d slots explain %d", extra, k.Kills, killWorkers, most)
	}
	if most := k.Kills * (killWorkers + killPrefetch); lost > most {
		t.Errorf("%d attempts were lost; %d kills of workers that hold %d jobs explain %d", lost, k.Kills, killWorkers+killPrefetch, most)
	}
	if len(histories) > len(ids) {
		t.Errorf("%d jobs ran, and only %d were enqueued", len(histories), len(ids))
	}
}

// produceNotes enqueues jobs until stop is closed, and then tells their IDs.
func produceNotes(t testing.TB, url string, stop <-chan struct{}, enqueued chan<- []string) {
	var ids []string
	defer func() { enqueued <- ids }()
	q, err := queue.Open(t.Context(), url)
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
			batch = append(batch, queue.Request{Kind: Note, Args: duration{time.Duration(rand.IntN(10)) * time.Millisecond}})
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
func (k KillRounds) explain(t testing.TB, of []Event, killed map[int]bool) (attempts, runs int) {
	t.Helper()
	var last Event
	for _, e := range of {
		if e.What == Cancelled {
			t.Errorf("job %s was taken from worker %d, which was not stopped: %+v", e.ID, e.PID, of)
		}
		if e.What != Began {
			continue
		}
		if runs > 0 && !killed[last.PID] && !k.Copies {
			t.Errorf("job %s runs again, and worker %d was not killed: %+v", e.ID, last.PID, of)
		}
		if e.Attempt <= last.Attempt && !k.Copies {
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
func crashLoops(t testing.TB, url string) map[string]bool {
	t.Helper()
	ids := make(map[string]bool)
	for _, e := range Dead(t, Open(t, url)) {
		ids[e.ID] = true
		if e.Failure == nil || !strings.Contains(e.Failure.Error, queue.ErrCrashLoop.Error()) {
			t.Errorf("job %s was buried: %+v", e.ID, e.Failure)
		}
	}
	return ids
}
