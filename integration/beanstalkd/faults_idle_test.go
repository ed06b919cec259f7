package beanstalkd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/faults"
)

// startIdle starts a worker on queues that are empty, and returns when it waits.
func startIdle(t *testing.T, client *beanstalk.Conn, address string, ran chan<- string, queues ...string) *queue.Queue {
	t.Helper()
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "job", queue.HandlerFunc[string](func(_ context.Context, job *queue.Job[string]) error {
		ran <- job.Queue
		return nil
	}))
	q, err := queue.Open(t.Context(), address, queue.Handlers(mux), queue.Queues(queues...), queue.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		q.Close()
	})
	awaitWaiting(t, client, 1)
	return q
}

// expectQuiet fails the test when the server is asked for more than a little
// within the window. That nothing happens only a while can show.
func expectQuiet(t *testing.T, client *beanstalk.Conn) {
	t.Helper()
	const window, most = 3 * time.Second, 3
	before, err := commands(client)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(window)
	after, err := commands(client)
	if err != nil {
		t.Fatal(err)
	}
	if made := after - before - 1; made > most { // without the second look
		t.Errorf("an idle worker sent %d commands in %v, want at most %d", made, window, most)
	}
}

func TestAnIdleWorkerAsksForNothing(t *testing.T) {
	t.Parallel()
	for _, queues := range [][]string{{"default"}, {"first", "second", "third"}} {
		t.Run(fmt.Sprint(len(queues), " queues"), func(t *testing.T) {
			t.Parallel()
			server, client := server(t)
			ran := make(chan string, 1)
			q := startIdle(t, client, at("lease=30s", server), ran, queues...)
			expectQuiet(t, client)
			// It is idle again when it has had something to do.
			for _, name := range queues {
				expectRun(t, q, ran, name)
			}
			settledCounts(t, client, faults.Patience, counts{})
			awaitWaiting(t, client, 1)
			expectQuiet(t, client)
		})
	}
}

// expectRun enqueues a job, which a worker that is idle has to run at once.
func expectRun(t *testing.T, q *queue.Queue, ran <-chan string, name string) {
	t.Helper()
	if _, err := q.Enqueue(t.Context(), "job", "", queue.On(name)); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-ran:
		if got != name {
			t.Errorf("a job of the queue %s ran, want one of %s", got, name)
		}
	case <-time.After(faults.Prompt):
		t.Fatalf("the job of the queue %s has not run after %v", name, faults.Prompt)
	}
}

func TestAmongTenThousandTubesAWorkerFindsItsOwn(t *testing.T) {
	t.Parallel()
	const tubes = 10_000
	server, client := server(t)
	connection, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	var request strings.Builder
	for i := range tubes {
		fmt.Fprintf(&request, "use other-%d\r\nput 1024 0 60 1\r\nx\r\n", i)
	}
	go connection.Write([]byte(request.String()))
	replies := make([]byte, 64<<10)
	for inserted := 0; inserted < tubes; {
		n, err := connection.Read(replies)
		if err != nil {
			t.Fatal(err)
		}
		inserted += strings.Count(string(replies[:n]), "T") // of INSERTED, and of no other reply
	}
	ran := make(chan string, 1)
	queues := []string{"first", "second", "third"}
	q := startIdle(t, client, at("lease=30s", server), ran, queues...)
	expectQuiet(t, client)
	for _, name := range append(queues, "first") {
		expectRun(t, q, ran, name)
	}
	if n := statistic(t, client, "current-jobs-ready"); n != tubes {
		t.Errorf("%d jobs of others are ready, want %d", n, tubes)
	}
}
