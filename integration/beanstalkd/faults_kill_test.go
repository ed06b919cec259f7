package beanstalkd_test

import (
	"fmt"
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
	server, client := server(t)
	faults.KillRounds{
		// What a killed worker held comes back long before its lease ends: its
		// connections are gone.
		URL: at("lease=30s", server), Lease: 30 * time.Second, Kills: kills, Pause: 150 * time.Millisecond,
		Settled: func(workers int) error {
			got, err := count(client, "default")
			got.buried = 0
			if err == nil && got != (counts{}) {
				err = fmt.Errorf("there still are %+v", got)
			}
			if err != nil {
				return err
			}
			return waiting(client, workers) // by then they know how to end
		},
	}.Run(t)
}
