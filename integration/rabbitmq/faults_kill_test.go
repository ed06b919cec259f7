package rabbitmq_test

import (
	"testing"
	"time"

	"github.com/goferhq/queue/integration/faults"
)

func TestKilledWorkersLoseNoJobAndExplainEveryExtraRun(t *testing.T) {
	t.Parallel()
	kills := 100
	if testing.Short() {
		kills = 20
	}
	killRounds(t, place(t), kills, false)
}

// A classic queue does not count how often it has handed out a job: the driver
// does, by storing it anew.
func TestWorkersThatAreKilledOnAClassicQueueLoseNoJob(t *testing.T) {
	t.Parallel()
	killRounds(t, with(place(t), "type", "classic"), 20, true)
}

func killRounds(t *testing.T, address string, kills int, copies bool) {
	t.Helper()
	faults.KillRounds{
		// What a killed worker held comes back without the end of a lease: its
		// connections are gone.
		URL: address, Lease: 30 * time.Second, Kills: kills, Pause: 150 * time.Millisecond,
		Copies:  copies,
		Settled: watch(t, address).idle,
	}.Run(t)
}
