package beanstalkd_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/integration/faults"
)

// The tests in the files faults_… harm workers, servers and the network between
// them with package faults. What is here is beanstalkd's own: its addresses, and
// how to look at what it has.

// testsAtOnce is how many tests share this machine. Most of them wait, for
// leases and for servers that start, so that there can be more than processors.
const testsAtOnce = "8"

func TestMain(m *testing.M) {
	faults.BecomeWorker()
	flag.Parse()
	if err := flag.Set("test.parallel", testsAtOnce); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
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

func ack(t testing.TB, b backend.Backend, deliveries ...*backend.Delivery) {
	t.Helper()
	if err := b.Ack(t.Context(), deliveries); err != nil {
		t.Fatalf("Ack: %v", err)
	}
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
	faults.Eventually(t, limit, func() error {
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

// waiting returns nil when so many connections wait in the server for a job.
func waiting(client *beanstalk.Conn, connections int) error {
	stats, err := client.Stats()
	if err != nil {
		return err
	}
	if n := stats["current-waiting"]; n != strconv.Itoa(connections) {
		return fmt.Errorf("%s connections wait for a job, want %d", n, connections)
	}
	return nil
}

// awaitWaiting waits for that.
func awaitWaiting(t testing.TB, client *beanstalk.Conn, connections int) {
	t.Helper()
	faults.Eventually(t, faults.Patience, func() error { return waiting(client, connections) })
}

// loadPrefetch is how many jobs a load holds besides those that it runs. As many
// as both may be acked just then, and be lost with the ack.
const (
	loadPrefetch = 4
	mostInHand   = 2 * (faults.LoadWorkers + loadPrefetch)
)

// startLoad begins a load that holds a known number of jobs.
func startLoad(t testing.TB, address string) *faults.Load {
	t.Helper()
	return faults.StartLoad(t, address, queue.Prefetch(loadPrefetch), queue.Lease(30*time.Second))
}

// finish ends a load. Jobs may have run more often than once as far as so many
// outages explain it: those that were in hand, and those of an Enqueue whose
// error left open what the server did.
func finish(l *faults.Load, outages int) {
	l.StopProducing()
	failed, refused := l.Failures()
	l.Finish(outages*mostInHand + failed - refused)
}

// nudge asks the server something over each connection, in the place of a driver
// whose process is stopped, and which does not ask meanwhile what tube it uses.
//
// A beanstalkd 1.12 forgets when the TTRs of a connection end as soon as another
// one is used, and takes back what the connection held when it next hears of it.
// The driver sees to that by itself, as long as its process runs.
func nudge(network *faults.Proxy) { network.Ask("list-tube-used\r\n", "USING ") }
