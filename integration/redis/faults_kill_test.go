package redis_test

import (
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/integration/faults"
)

func TestKilledWorkersLoseNoJobAndExplainEveryExtraRun(t *testing.T) {
	kills := 300
	if testing.Short() {
		kills = 30
	}
	server, client := server(t)
	faults.KillRounds{
		URL: server.URL(), Lease: 3 * time.Second, Kills: kills, Pause: 300 * time.Millisecond,
		Settled: func(workers int) error {
			got := count(t, client)
			got.dead = 0
			if got != (counts{}) {
				return fmt.Errorf("there still are %+v", got)
			}
			if there := registered(t, client); len(there) != workers {
				return fmt.Errorf("the workers are %v, of which only %d live", there, workers)
			}
			return nil
		},
	}.Run(t)
	expectNothingLeft(t, client)
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
