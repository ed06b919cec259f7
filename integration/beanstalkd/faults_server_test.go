package beanstalkd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/integration/faults"
)

func TestAServerThatIsKilledUnderLoadLosesNoAcceptedJob(t *testing.T) {
	t.Parallel()
	server, _ := server(t, "-f0")
	l := startLoad(t, at("lease=30s", server))
	const kills = 5
	for i := range kills {
		l.AwaitProgress(faults.Patience, 100)
		held := l.HoldOne(fmt.Sprint("hold-", i))
		awaitCompacted(t, server)
		server.Kill()
		held.ExpectLost(t)
		server.Restart()
		l.AwaitProgress(faults.Recovery, 1)
	}
	finish(l, kills)
}

// awaitCompacted waits until the server has nothing to move from an old file of
// its binlog to the current one, as it has after its second restart. It removes
// the old file before it writes the last job of it again: a beanstalkd 1.12 that
// is killed in between loses that job, with any option, and no client can help.
func awaitCompacted(t testing.TB, server *brokers.BeanstalkdServer) {
	t.Helper()
	client := server.Client()
	faults.Eventually(t, faults.Patience, func() error {
		oldest, current := statistic(t, client, "binlog-oldest-index"), statistic(t, client, "binlog-current-index")
		if current-oldest > 1 {
			return fmt.Errorf("the files %d to %d of the binlog are in use", oldest, current)
		}
		return nil
	})
}

func TestAServerThatIsRestartedUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	l := startLoad(t, at("lease=30s", server))
	const restarts = 3
	for range restarts {
		l.AwaitProgress(faults.Patience, 100)
		awaitCompacted(t, server) // SIGTERM ends it as abruptly
		server.Restart()
		l.AwaitProgress(faults.Recovery, 1)
	}
	finish(l, restarts)
}

// Who waits in a server that goes away has to wait in the one that comes back.
func TestAWorkerThatWaitsOutlivesTheServer(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	l := startLoad(t, at("lease=30s", server))
	l.StopProducing()
	for i := range 3 {
		awaitWaiting(t, client, 1)
		settledCounts(t, client, faults.Patience, counts{}) // the last job is settled too
		server.Kill()
		server.Restart()
		client = server.Client()
		awaitWaiting(t, client, 1)
		before := l.Done()
		l.Enqueue(fmt.Sprint("late-", i))
		l.AwaitProgress(faults.Recovery, before+1-l.Done())
	}
	finish(l, 0)
}

func TestAServerThatIsStoppedUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	l := startLoad(t, at("lease=30s&timeout=500ms", server))
	const stops = 2
	for range stops {
		l.AwaitProgress(faults.Patience, 100)
		before, _ := l.Failures()
		server.Stop()
		faults.Eventually(t, faults.Patience, func() error {
			if failed, _ := l.Failures(); failed < before+4 {
				return errors.New("a server that is stopped takes jobs")
			}
			return nil
		})
		server.Continue()
		l.AwaitProgress(faults.Recovery, 10)
	}
	finish(l, stops)
}

func TestNoCallOutlivesItsContextOnAServerThatIsStopped(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	address := at("lease=30s&timeout=10s", server)
	b := faults.Open(t, address)
	waits := faults.Open(t, address)
	waited := make(chan error, 1)
	waiting, leave := context.WithCancel(t.Context())
	go func() {
		_, err := waits.Reserve(waiting, []string{"other"}, 1, 30*time.Second)
		waited <- err
	}()
	awaitWaiting(t, server.Client(), 1)
	for i := range faults.Settlements() {
		faults.Push(t, b, fmt.Sprint(i))
	}
	deliveries := faults.ReserveMany(t, b, len(faults.Settlements()), 30*time.Second, faults.Patience)
	server.Stop()

	began := time.Now()
	leave()
	if err := <-waited; !errors.Is(err, context.Canceled) || time.Since(began) > faults.Punctual {
		t.Errorf("a Reserve that waited returned %v, %v after its context had ended; want %v", err, time.Since(began), context.Canceled)
	}
	faults.OnTime(t, "Open", func(ctx context.Context) error {
		_, err := backend.Open(ctx, address)
		return err
	})
	faults.OnTime(t, "Push", func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{faults.Message("pushed")}) })
	for _, queues := range [][]string{{"default"}, {"other", "default"}} {
		faults.OnTime(t, fmt.Sprint("Reserve of ", queues), func(ctx context.Context) error {
			_, err := b.Reserve(ctx, queues, 1, 30*time.Second)
			return err
		})
	}
	// A Reserve that was left does not cost the jobs that are held.
	for i, s := range faults.Settlements() {
		faults.OnTime(t, s.Name, func(ctx context.Context) error { return backend.ErrorAt(s.Settle(ctx, b, deliveries[i]), 0) })
	}
	inspector, _ := backend.As[backend.Inspector](b)
	faults.OnTime(t, "Stats", func(ctx context.Context) error {
		_, err := inspector.Stats(ctx, "default")
		return err
	})
	faults.OnTime(t, "Queues", func(ctx context.Context) error {
		_, err := inspector.Queues(ctx)
		return err
	})
	list, _ := backend.As[backend.Lister](b)
	faults.OnTime(t, "Peek", func(ctx context.Context) error {
		_, err := list.Peek(ctx, "default", backend.Ready, 0, 10)
		return err
	})
	purger, _ := backend.As[backend.Purger](b)
	faults.OnTime(t, "Purge", func(ctx context.Context) error {
		_, err := purger.Purge(ctx, "elsewhere")
		return err
	})
	pauser, _ := backend.As[backend.Pauser](b)
	faults.OnTime(t, "Resume", func(ctx context.Context) error { return pauser.Resume(ctx, "elsewhere") })
	server.Continue()

	// Whatever the server made of the calls, it and the backend go on.
	after := faults.Message("after")
	after.Queue = "after"
	if err := b.Push(t.Context(), []*backend.Message{after}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), faults.Recovery)
	defer cancel()
	got, err := b.Reserve(ctx, []string{"after"}, 1, 30*time.Second)
	if err != nil || got[0].ID != "after" {
		t.Fatalf("Reserve: %v, %v", got, err)
	}
	ack(t, b, got...)
}
