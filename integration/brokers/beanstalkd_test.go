package brokers

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"
)

func TestBeanstalkdKeepsItsJobsWhenItIsKilled(t *testing.T) {
	t.Parallel()
	for _, options := range [][]string{nil, {"-f0"}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			t.Parallel()
			server := Beanstalkd(t, options...)
			id := putJob(t, server.Client(), "body")
			server.Kill()
			expectNoListener(t, server.Addr())
			server.Restart()
			expectKept(t, server.Client(), id, "body")
			server.Shutdown()
			server.Restart()
			expectKept(t, server.Client(), id, "body")
			server.Restart() // while it runs
			expectKept(t, server.Client(), id, "body")
			// What is reserved when the server ends is ready again afterwards.
			expectJob(t, server.Client(), id, "body")
			server.Kill()
			server.Restart()
			client := server.Client()
			expectJob(t, client, id, "body")
			if err := client.Delete(id); err != nil {
				t.Error(err)
			}
			server.Kill()
			server.Restart()
			expectNoJobs(t, server.Client())
		})
	}
}

func TestBeanstalkdWithoutBinlogLosesItsJobs(t *testing.T) {
	t.Parallel()
	server := Beanstalkd(t, WithoutBinlog, "-z", "100000")
	putJob(t, server.Client(), string(make([]byte, 100000)))
	server.Kill()
	server.Restart()
	expectNoJobs(t, server.Client())
}

func TestBeanstalkdThatIsStoppedAnswersWhenItContinues(t *testing.T) {
	t.Parallel()
	server := Beanstalkd(t)
	id := putJob(t, server.Client(), "body")
	server.Stop()
	connection, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatalf("a beanstalkd that is stopped takes no connection: %v", err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := beanstalk.NewConn(connection).Stats(); err == nil {
		t.Error("a beanstalkd that is stopped answers")
	}
	server.Continue()
	expectJob(t, server.Client(), id, "body")
	server.Stop()
	server.Shutdown() // has to wake it first
	server.Restart()
	server.Stop()
	server.Kill()
}

func TestBeanstalkdThatDrainsTakesNoJobsUntilItRestarts(t *testing.T) {
	t.Parallel()
	server := Beanstalkd(t)
	client := server.Client()
	id := putJob(t, client, "body")
	server.Drain()
	if _, err := client.Put([]byte("refused"), 0, 0, time.Minute); !errors.Is(err, beanstalk.ErrDraining) {
		t.Errorf("put to a beanstalkd that drains: %v", err)
	}
	expectJob(t, client, id, "body")
	server.Restart()
	putJob(t, server.Client(), "taken")
}

// putJob puts a job into the tube "default" and returns its id.
func putJob(t *testing.T, client *beanstalk.Conn, body string) uint64 {
	t.Helper()
	id, err := client.Put([]byte(body), 0, 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// expectKept fails the test unless the server holds the job.
func expectKept(t *testing.T, client *beanstalk.Conn, id uint64, body string) {
	t.Helper()
	if got, err := client.Peek(id); err != nil || string(got) != body {
		t.Errorf("job %d is %q, %v; want %q", id, got, err, body)
	}
}

// expectJob reserves a job of the tube "default".
func expectJob(t *testing.T, client *beanstalk.Conn, id uint64, body string) {
	t.Helper()
	gotID, got, err := client.Reserve(10 * time.Second)
	if err != nil || gotID != id || string(got) != body {
		t.Errorf("reserved job %d with %q, %v; want %d with %q", gotID, got, err, id, body)
	}
}

// expectNoJobs fails the test unless the server holds no job of any state.
func expectNoJobs(t *testing.T, client *beanstalk.Conn) {
	t.Helper()
	stats, err := client.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"ready", "reserved", "delayed", "buried"} {
		if count := stats["current-jobs-"+state]; count != "0" {
			t.Errorf("%q jobs are %s", count, state)
		}
	}
}

// expectNoListener fails the test if something listens at the address.
func expectNoListener(t *testing.T, address string) {
	t.Helper()
	if connection, err := net.Dial("tcp", address); err == nil {
		connection.Close()
		t.Error("a server that was killed listens")
	}
}
