package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// ExpectPoisonBuried is a test of a job that kills whoever runs it: it is
// buried, and the jobs around it complete. A worker is started with the
// settings, but for their chronicle, and again whenever it has died. Buried
// returns nil when one dead job is all that the broker has.
//
// It returns how often the job was run. That is three times, unless the broker
// may hand it to a dying worker, and is for the test to say.
func ExpectPoisonBuried(t testing.TB, settings WorkerSettings, buried func() error) (runs int) {
	t.Helper()
	settings.Chronicle = NewChronicle(t)
	producer := OpenQueue(t, settings.URL)
	Enqueue(t, producer, Note, "before", 0)
	Enqueue(t, producer, Crash, "poison", 100*time.Millisecond)
	for i := range 20 {
		Enqueue(t, producer, Note, fmt.Sprintf("after-%d", i), 0)
	}
	worker := StartWorker(t, settings)
	Eventually(t, Patience, func() error {
		select {
		case <-worker.ended: // somebody starts it again, as a service manager does
			worker = StartWorker(t, settings)
		default:
		}
		return buried()
	})
	worker.End()
	for _, e := range settings.Chronicle.Events(t) {
		if e.ID == "poison" {
			runs++
		} else if e.What == Ended && e.Attempt > 4 {
			t.Errorf("%s completed in attempt %d", e.ID, e.Attempt)
		}
	}
	if dead := Dead(t, producer.Backend()); len(dead) != 1 || dead[0].ID != "poison" || !strings.Contains(dead[0].Failure.Error, queue.ErrCrashLoop.Error()) {
		t.Errorf("buried: %+v; want the job that kills its workers", dead)
	}
	for _, id := range []string{"before", "after-0", "after-19"} {
		settings.Chronicle.ExpectEnded(t, id)
	}
	return runs
}

// ExpectIdleKillsHarmless is a test of workers that are killed while they wait,
// now before and now after a job has come: another one completes it. Waiting
// waits until the broker knows of so many workers that wait, and settled until
// it has no job. Workers are started with the settings, but for their chronicle.
func ExpectIdleKillsHarmless(t testing.TB, settings WorkerSettings, waiting func(workers int), settled func()) {
	t.Helper()
	settings.Chronicle = NewChronicle(t)
	producer := OpenQueue(t, settings.URL)
	const rounds = 10
	for i := range rounds {
		worker := StartWorker(t, settings)
		waiting(1)
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(time.Duration(i) * 300 * time.Microsecond)
			worker.Kill()
		}()
		Enqueue(t, producer, Note, fmt.Sprint(i), 0)
		<-killed
		waiting(0)
	}
	last := StartWorker(t, settings)
	settled()
	waiting(1) // by then it knows how to end
	last.End()
	for i := range rounds {
		settings.Chronicle.ExpectEnded(t, fmt.Sprint(i))
	}
	settled()
}
