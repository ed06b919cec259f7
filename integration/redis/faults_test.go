package redis_test

import (
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue"
	_ "github.com/goferhq/queue/backend/redis"
	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/integration/faults"
)

func TestMain(m *testing.M) {
	faults.BecomeWorker()
	os.Exit(m.Run())
}

// The tests in the files faults_… harm workers, the server and the network
// between them with package faults. What is here is Redis's own: how to look at
// what it has.

// with returns the address with more parameters: name, value, name, value.
func with(address string, parameters ...string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	q := u.Query()
	for i := 0; i < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// counts says how many jobs of the queue "default" a plain client finds in
// each state.
type counts struct{ ready, reserved, later, landed, dead int64 }

func count(t testing.TB, client *goredis.Client) counts {
	t.Helper()
	ctx := t.Context()
	var c counts
	for key, n := range map[string]*int64{"queue:default": &c.ready, "failed": &c.dead} {
		length, err := client.LLen(ctx, "resque:"+key).Result()
		if err != nil {
			t.Fatal(err)
		}
		*n = length
	}
	for key, n := range map[string]*int64{"gofer:leases:default": &c.reserved, "gofer:later:default": &c.later} {
		size, err := client.ZCard(ctx, "resque:"+key).Result()
		if err != nil {
			t.Fatal(err)
		}
		*n = size
	}
	landings, err := client.Keys(ctx, "resque:gofer:landing:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, landing := range landings {
		length, err := client.LLen(ctx, landing).Result()
		if err != nil {
			t.Fatal(err)
		}
		c.landed += length
	}
	return c
}

// expectCounts fails the test unless the jobs are where they are expected.
func expectCounts(t testing.TB, client *goredis.Client, want counts) {
	t.Helper()
	if got := count(t, client); got != want {
		t.Errorf("the server has %+v, want %+v", got, want)
	}
}

// settledCounts waits until the jobs are where they are expected.
func settledCounts(t testing.TB, client *goredis.Client, want counts) {
	t.Helper()
	faults.Eventually(t, faults.Patience, func() error {
		if got := count(t, client); got != want {
			return fmt.Errorf("the server has %+v, want %+v", got, want)
		}
		return nil
	})
}

// statistic returns a number that INFO tells.
func statistic(t testing.TB, client *goredis.Client, name string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(client.InfoMap(t.Context(), "everything").Item("Stats", name), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// server starts a Redis for the test and returns a client of it.
func server(t testing.TB, options ...string) (*brokers.RedisServer, *goredis.Client) {
	t.Helper()
	s := brokers.Redis(t, options...)
	return s, s.Client()
}

// startLoad begins a load whose jobs come back before a test loses patience,
// should nobody else give them back.
func startLoad(t testing.TB, address string, options ...queue.OpenOption) *faults.Load {
	t.Helper()
	return faults.StartLoad(t, address, append([]queue.OpenOption{queue.Lease(10 * time.Second)}, options...)...)
}

// finish ends a load. Redis knows an Enqueue that is made again, and counts the
// attempts of each job.
func finish(l *faults.Load, extraRuns int) {
	l.Finish(extraRuns)
	l.ExpectOwnAttempts()
}

// awaitIdle waits until a worker process waits in Redis for a job of the queue
// "default".
func awaitIdle(t testing.TB, client *goredis.Client, workers int) {
	t.Helper()
	faults.Eventually(t, faults.Patience, func() error {
		list, err := client.ClientList(t.Context()).Result()
		if err != nil {
			return err
		}
		if n := strings.Count(list, " cmd=blmove "); n != workers {
			return fmt.Errorf("%d connections wait for a job, want %d", n, workers)
		}
		return nil
	})
}

// registered returns the pids of the workers that Resque shows.
func registered(t testing.TB, client *goredis.Client) map[int]string {
	t.Helper()
	ids, err := client.SMembers(t.Context(), "resque:workers").Result()
	if err != nil {
		t.Fatal(err)
	}
	pids := make(map[int]string)
	for _, id := range ids {
		parts := strings.SplitN(id, ":", 3)
		pid, err := strconv.Atoi(parts[1])
		if err != nil {
			t.Fatalf("worker %q", id)
		}
		pids[pid] = id
	}
	return pids
}
