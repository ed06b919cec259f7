package redis_test

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
)

// The tests in the files faults_… harm workers, the server and the network
// between them, and hold what then happens against what package backend
// promises. They wait for states of the server, never for a time to pass, so
// that a slow machine makes them slow and not wrong.

// patience is how long a test waits for what has no deadline of its own. It is
// only ever used up by a test that fails.
const patience = 60 * time.Second

// eventually looks until look returns nil, and ends the test with its last
// error after the limit.
func eventually(t testing.TB, limit time.Duration, look func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		err := look()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", limit, err)
		}
	}
}

// open opens a backend that is closed when the test ends.
func open(t testing.TB, address string) backend.Backend {
	t.Helper()
	b, err := backend.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

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

// message returns a job of the queue "default".
func message(id string) *backend.Message {
	return &backend.Message{ID: id, Kind: "job", Queue: "default", Args: []byte(`{}`)}
}

// push pushes jobs with the given IDs.
func push(t testing.TB, b backend.Backend, ids ...string) {
	t.Helper()
	messages := make([]*backend.Message, len(ids))
	for i, id := range ids {
		messages[i] = message(id)
	}
	if err := b.Push(t.Context(), messages); err != nil {
		t.Fatal(err)
	}
}

// reserve reserves one job of the queue "default", which has to be there within
// the limit.
func reserve(t testing.TB, b backend.Backend, lease, limit time.Duration) *backend.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	deliveries, err := b.Reserve(ctx, []string{"default"}, 1, lease)
	if err != nil {
		t.Fatalf("no job within %v: %v", limit, err)
	}
	return deliveries[0]
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
	eventually(t, patience, func() error {
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
