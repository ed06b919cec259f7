package beanstalkd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
)

func TestAServerThatIsKilledUnderLoadLosesNoAcceptedJob(t *testing.T) {
	t.Parallel()
	server, _ := server(t, "-f0")
	l := startLoad(t, at("lease=30s", server))
	const kills = 5
	for i := range kills {
		l.awaitProgress(patience, 100)
		held := l.holdOne(fmt.Sprint("hold-", i))
		awaitCompacted(t, server)
		server.Kill()
		held.expectLost(t)
		server.Restart()
		l.awaitProgress(recovery, 1)
	}
	l.finish(kills)
}

// awaitCompacted waits until the server has nothing to move from an old file of
// its binlog to the current one, as it has after its second restart. It removes
// the old file before it writes the last job of it again: a beanstalkd 1.12 that
// is killed in between loses that job, with any option, and no client can help.
func awaitCompacted(t testing.TB, server *brokers.BeanstalkdServer) {
	t.Helper()
	client := server.Client()
	eventually(t, patience, func() error {
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
		l.awaitProgress(patience, 100)
		awaitCompacted(t, server) // SIGTERM ends it as abruptly
		server.Restart()
		l.awaitProgress(recovery, 1)
	}
	l.finish(restarts)
}

// Who waits in a server that goes away has to wait in the one that comes back.
func TestAWorkerThatWaitsOutlivesTheServer(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	l := startLoad(t, at("lease=30s", server))
	l.stop()
	l.running.Wait()
	for i := range 3 {
		awaitWaiting(t, client, 1)
		settledCounts(t, client, patience, counts{}) // the last job is settled too
		server.Kill()
		server.Restart()
		client = server.Client()
		awaitWaiting(t, client, 1)
		before := l.done()
		if !l.enqueue(t.Context(), "job", fmt.Sprint("late-", i)) {
			t.Errorf("Enqueue: %v", l.errors)
		}
		l.awaitProgress(recovery, before+1-l.done())
	}
	l.finish(0)
}

func TestAServerThatIsStoppedUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	l := startLoad(t, at("lease=30s&timeout=500ms", server))
	const stops = 2
	for range stops {
		l.awaitProgress(patience, 100)
		before, _ := l.failures()
		server.Stop()
		eventually(t, patience, func() error {
			if failed, _ := l.failures(); failed < before+4 {
				return errors.New("a server that is stopped takes jobs")
			}
			return nil
		})
		server.Continue()
		l.awaitProgress(recovery, 10)
	}
	l.finish(stops)
}

// settlements are the ways to settle a job, and to keep it.
var settlements = []struct {
	name   string
	settle func(context.Context, backend.Backend, *backend.Delivery) error
}{
	{"Ack", func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
		return b.Ack(ctx, []*backend.Delivery{d})
	}},
	{"Retry", func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
		m := d.Message
		return b.Retry(ctx, []backend.Replacement{{Delivery: d, Message: &m}})
	}},
	{"Release", func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
		return b.Release(ctx, []*backend.Delivery{d}, 0)
	}},
	{"Bury", bury},
	{"Extend", func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
		extender, _ := backend.As[backend.Extender](b)
		return extender.Extend(ctx, []*backend.Delivery{d}, 30*time.Second)
	}},
}

// punctual is how long after the end of its context a call may take.
const punctual = 500 * time.Millisecond

// onTime calls f with a context that ends soon, and fails the test when f takes
// longer, or returns another error.
func onTime(t *testing.T, name string, f func(context.Context) error) {
	t.Helper()
	const limit = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	err := f(ctx)
	if took := time.Since(began); took > limit+punctual {
		t.Errorf("%s returned %v after its context had ended", name, took-limit)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v; want %v", name, err, context.DeadlineExceeded)
	}
}

func TestNoCallOutlivesItsContextOnAServerThatIsStopped(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	address := at("lease=30s&timeout=10s", server)
	b := open(t, address)
	waits := open(t, address)
	waited := make(chan error, 1)
	waiting, leave := context.WithCancel(t.Context())
	go func() {
		_, err := waits.Reserve(waiting, []string{"other"}, 1, 30*time.Second)
		waited <- err
	}()
	awaitWaiting(t, server.Client(), 1)
	for i := range settlements {
		push(t, b, fmt.Sprint(i))
	}
	deliveries := reserveMany(t, b, len(settlements), 30*time.Second, patience)
	server.Stop()

	began := time.Now()
	leave()
	if err := <-waited; !errors.Is(err, context.Canceled) || time.Since(began) > punctual {
		t.Errorf("a Reserve that waited returned %v, %v after its context had ended; want %v", err, time.Since(began), context.Canceled)
	}
	onTime(t, "Open", func(ctx context.Context) error {
		_, err := backend.Open(ctx, address)
		return err
	})
	onTime(t, "Push", func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{message("pushed")}) })
	for _, queues := range [][]string{{"default"}, {"other", "default"}} {
		onTime(t, fmt.Sprint("Reserve of ", queues), func(ctx context.Context) error {
			_, err := b.Reserve(ctx, queues, 1, 30*time.Second)
			return err
		})
	}
	// A Reserve that was left does not cost the jobs that are held.
	for i, s := range settlements {
		onTime(t, s.name, func(ctx context.Context) error { return backend.ErrorAt(s.settle(ctx, b, deliveries[i]), 0) })
	}
	inspector, _ := backend.As[backend.Inspector](b)
	onTime(t, "Stats", func(ctx context.Context) error {
		_, err := inspector.Stats(ctx, "default")
		return err
	})
	onTime(t, "Queues", func(ctx context.Context) error {
		_, err := inspector.Queues(ctx)
		return err
	})
	list, _ := backend.As[backend.Lister](b)
	onTime(t, "Peek", func(ctx context.Context) error {
		_, err := list.Peek(ctx, "default", backend.Ready, 0, 10)
		return err
	})
	purger, _ := backend.As[backend.Purger](b)
	onTime(t, "Purge", func(ctx context.Context) error {
		_, err := purger.Purge(ctx, "elsewhere")
		return err
	})
	pauser, _ := backend.As[backend.Pauser](b)
	onTime(t, "Resume", func(ctx context.Context) error { return pauser.Resume(ctx, "elsewhere") })
	server.Continue()

	// Whatever the server made of the calls, it and the backend go on.
	after := message("after")
	after.Queue = "after"
	if err := b.Push(t.Context(), []*backend.Message{after}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	got, err := b.Reserve(ctx, []string{"after"}, 1, 30*time.Second)
	if err != nil || got[0].ID != "after" {
		t.Fatalf("Reserve: %v, %v", got, err)
	}
	ack(t, b, got...)
}
