package beanstalkd_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
)

// The tests in the files faults_… harm workers, servers and the network between
// them, and hold what then happens against what package backend promises. They
// wait for states of the server, never for a time to pass, so that a slow
// machine makes them slow and not wrong.

// patience is how long a test waits for what has no deadline of its own. It is
// only ever used up by a test that fails.
const patience = 60 * time.Second

// recovery is how long it may take until jobs run again, once the cause of an
// outage is gone.
const recovery = 5 * time.Second

// prompt is how soon something has to happen that nothing holds up. It is far
// below any lease that a test with it has.
const prompt = 2 * time.Second

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

// server starts a beanstalkd for the test and returns a plain client of it.
func server(t testing.TB, options ...string) (*brokers.BeanstalkdServer, *beanstalk.Conn) {
	t.Helper()
	// The option is the default. A test that has one is not given the server
	// that the environment names, which others use.
	s := brokers.Beanstalkd(t, append([]string{"-f50"}, options...)...)
	return s, s.Client()
}

// at returns the URL of servers, with parameters such as "lease=2s".
func at(parameters string, servers ...*brokers.BeanstalkdServer) string {
	addresses := make([]string, len(servers))
	for i, s := range servers {
		addresses[i] = s.Addr()
	}
	return "beanstalkd://" + strings.Join(addresses, ",") + "?" + parameters
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

// message returns a job of the queue "default".
func message(id string) *backend.Message {
	return &backend.Message{ID: id, Kind: "job", Queue: "default", Args: []byte(strconv.Quote(id))}
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
	return reserveMany(t, b, 1, lease, limit)[0]
}

// reserveMany reserves so many jobs of the queue "default".
func reserveMany(t testing.TB, b backend.Backend, n int, lease, limit time.Duration) []*backend.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var all []*backend.Delivery
	for len(all) < n {
		deliveries, err := b.Reserve(ctx, []string{"default"}, n-len(all), lease)
		if err != nil {
			t.Fatalf("%d jobs within %v, want %d: %v", len(all), limit, n, err)
		}
		all = append(all, deliveries...)
	}
	return all
}

func ack(t testing.TB, b backend.Backend, deliveries ...*backend.Delivery) {
	t.Helper()
	if err := b.Ack(t.Context(), deliveries); err != nil {
		t.Fatalf("Ack: %v", err)
	}
}

// failure is why the tests bury jobs.
func failure() backend.Failure {
	return backend.Failure{At: time.Now(), Error: "no luck"}
}

func bury(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
	burial := backend.Burial{Delivery: d, Failure: failure()}
	if d.Malformed == nil {
		m := d.Message
		burial.Message = &m
	}
	return b.Bury(ctx, []backend.Burial{burial})
}

// dead returns the dead jobs of the queue "default".
func dead(t testing.TB, b backend.Backend) []*backend.Entry {
	t.Helper()
	list, _ := backend.As[backend.Lister](b)
	entries, err := list.Peek(t.Context(), "default", backend.Dead, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// counts says how many jobs of a tube a plain client finds in each state.
type counts struct{ ready, reserved, delayed, buried int }

func count(client *beanstalk.Conn, tube string) (counts, error) {
	stats, err := beanstalk.NewTube(client, tube).Stats()
	if errors.Is(err, beanstalk.ErrNotFound) {
		return counts{}, nil
	}
	if err != nil {
		return counts{}, err
	}
	var c counts
	for state, n := range map[string]*int{"ready": &c.ready, "reserved": &c.reserved, "delayed": &c.delayed, "buried": &c.buried} {
		if *n, err = strconv.Atoi(stats["current-jobs-"+state]); err != nil {
			return counts{}, err
		}
	}
	return c, nil
}

// expectCounts fails the test unless the jobs of the queue "default" are where
// they are expected.
func expectCounts(t testing.TB, client *beanstalk.Conn, want counts) {
	t.Helper()
	got, err := count(client, "default")
	if err != nil || got != want {
		t.Errorf("the server has %+v, %v; want %+v", got, err, want)
	}
}

// settledCounts waits until the jobs of the queue "default" are where they are
// expected.
func settledCounts(t testing.TB, client *beanstalk.Conn, limit time.Duration, want counts) {
	t.Helper()
	eventually(t, limit, func() error {
		got, err := count(client, "default")
		if err == nil && got != want {
			err = fmt.Errorf("the server has %+v, want %+v", got, want)
		}
		return err
	})
}

// statistic returns a number that stats tells.
func statistic(t testing.TB, client *beanstalk.Conn, name string) int {
	t.Helper()
	stats, err := client.Stats()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(stats[name])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// commands returns how many commands the server has been sent, this one
// included. It does not count reserve-job and kick-job.
func commands(client *beanstalk.Conn) (int64, error) {
	stats, err := client.Stats()
	if err != nil {
		return 0, err
	}
	var sum int64
	for name, text := range stats {
		if !strings.HasPrefix(name, "cmd-") {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// awaitWaiting waits until so many connections wait in the server for a job.
func awaitWaiting(t testing.TB, client *beanstalk.Conn, connections int) {
	t.Helper()
	eventually(t, patience, func() error {
		if n := statistic(t, client, "current-waiting"); n != connections {
			return fmt.Errorf("%d connections wait for a job, want %d", n, connections)
		}
		return nil
	})
}
