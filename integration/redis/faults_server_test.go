package redis_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestAServerThatIsKilledUnderLoadLosesNoAcceptedJob(t *testing.T) {
	server, _ := server(t, "--appendfsync", "always")
	l := startLoad(t, server.URL())
	for range 3 {
		l.AwaitProgress(faults.Patience, 200)
		server.Kill()
		server.Restart()
		l.AwaitProgress(faults.Recovery, 1)
	}
	finish(l, 0)
}

func TestAServerThatIsRestartedUnderLoadLosesNothing(t *testing.T) {
	server, _ := server(t)
	l := startLoad(t, server.URL())
	for range 3 {
		l.AwaitProgress(faults.Patience, 200)
		server.Restart()
		l.AwaitProgress(faults.Recovery, 1)
	}
	finish(l, 0)
}

// Who waits in Redis when it goes away has to wait in the one that comes back.
func TestAWorkerThatWaitsOutlivesTheServer(t *testing.T) {
	server, client := server(t)
	l := startLoad(t, server.URL())
	l.StopProducing()
	for i := range 3 {
		awaitIdle(t, client, 1)
		server.Kill()
		server.Restart()
		awaitIdle(t, client, 1)
		before := l.Done()
		l.Enqueue(fmt.Sprint("late-", i))
		l.AwaitProgress(faults.Recovery, before+1-l.Done())
	}
	finish(l, 0)
}

func TestScriptsThatTheServerForgetsAreNotMissed(t *testing.T) {
	server, client := server(t)
	l := startLoad(t, server.URL())
	for range 100 {
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		l.AwaitProgress(faults.Patience, 5)
	}
	finish(l, 0)
	if failed, _ := l.Failures(); failed > 0 {
		t.Errorf("Enqueue failed %d times", failed)
	}
}

func TestConnectionsThatAreKilledUnderLoadLoseNothing(t *testing.T) {
	server, client := server(t)
	l := startLoad(t, server.URL())
	for range 100 {
		// All but the one that asks for it.
		if err := client.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
			t.Fatal(err)
		}
		l.AwaitProgress(faults.Patience, 5)
	}
	finish(l, 0)
}

func TestAServerWithoutMemoryRefusesJobsAndLetsGoOfThoseThatItHas(t *testing.T) {
	server, client := server(t)
	b := faults.Open(t, server.URL())
	const jobs = 300
	for i := range jobs {
		m := faults.Message(strconv.Itoa(i))
		m.Args = []byte(`"` + strings.Repeat("x", 10_000) + `"`)
		if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
			t.Fatal(err)
		}
	}
	limit := func(bytes string) {
		t.Helper()
		if err := client.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1mb") // less than an empty server needs: it stays full when the jobs are gone
	refuse := func(b backend.Backend, delay time.Duration) {
		t.Helper()
		m := faults.Message("refused")
		m.Delay = delay
		if err := b.Push(t.Context(), []*backend.Message{m}); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Push to a full server: %v; want %v", err, backend.ErrUnavailable)
		}
	}
	refuse(b, 0)
	refuse(b, time.Hour)

	// A worker that starts now is there to drain it too.
	worker := faults.Open(t, server.URL())
	for n := 0; n < jobs; n++ {
		d := faults.Reserve(t, worker, 30*time.Second, faults.Patience)
		if d.ID != strconv.Itoa(n) {
			t.Fatalf("job %d is %s", n, d.ID)
		}
		m := d.Message
		var err error
		switch n {
		case jobs - 1:
			err = worker.Bury(t.Context(), []backend.Burial{{Delivery: d, Message: &m, Failure: backend.Failure{At: time.Now(), Error: "no"}}})
		case jobs - 2:
			m.Delay = time.Hour
			err = worker.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &m}})
		case jobs - 3:
			extender, _ := backend.As[backend.Extender](worker)
			err = extender.Extend(t.Context(), []*backend.Delivery{d}, time.Hour)
		default:
			err = worker.Ack(t.Context(), []*backend.Delivery{d})
		}
		if err != nil {
			t.Fatalf("settling job %d on a full server: %v", n, err)
		}
	}
	refuse(worker, 0)
	expectCounts(t, client, counts{reserved: 1, later: 1, dead: 1})

	limit("0")
	faults.Push(t, b, "last")
	if d := faults.Reserve(t, worker, 30*time.Second, faults.Recovery); d.ID != "last" {
		t.Errorf("the job is %s, want last", d.ID)
	}
}

func TestAServerWithoutMemoryGoesOnWhenItHasSome(t *testing.T) {
	server, client := server(t)
	l := startLoad(t, server.URL())
	for range 3 {
		l.AwaitProgress(faults.Patience, 100)
		if err := client.ConfigSet(t.Context(), "maxmemory", "1mb").Err(); err != nil {
			t.Fatal(err)
		}
		before, _ := l.Failures()
		faults.Eventually(t, faults.Patience, func() error {
			if failed, _ := l.Failures(); failed < before+10 {
				return errors.New("a full server takes jobs")
			}
			return nil
		})
		if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
			t.Fatal(err)
		}
		l.AwaitProgress(faults.Recovery, 1)
	}
	finish(l, 0)
	if failed, refused := l.Failures(); failed != refused {
		t.Errorf("of %d failures %d say that nothing was stored, which is true of all: %v", failed, refused, l.Errors())
	}
}

func TestAReplicaRefusesAllAndGoesOnAsAMaster(t *testing.T) {
	server, client := server(t)
	l := startLoad(t, server.URL())
	b := faults.Open(t, server.URL())
	for range 3 {
		l.AwaitProgress(faults.Patience, 100)
		// Nobody listens there.
		if err := client.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		if err := b.Push(t.Context(), []*backend.Message{faults.Message("refused")}); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Push to a replica: %v; want %v", err, backend.ErrUnavailable)
		}
		if _, err := b.Reserve(t.Context(), []string{"other"}, 1, time.Minute); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Reserve of a replica: %v; want %v", err, backend.ErrUnavailable)
		}
		before, _ := l.Failures()
		faults.Eventually(t, faults.Patience, func() error {
			if failed, _ := l.Failures(); failed < before+10 {
				return errors.New("a replica takes jobs")
			}
			return nil
		})
		if err := client.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
			t.Fatal(err)
		}
		l.AwaitProgress(faults.Recovery, 1)
	}
	finish(l, 0)
	if failed, refused := l.Failures(); failed != refused {
		t.Errorf("of %d failures %d say that nothing was stored, which is true of all: %v", failed, refused, l.Errors())
	}
}

// A server that starts answers before it has its data.
func TestAServerThatIsLoadingRefusesAllAndGoesOnWhenItHasItsData(t *testing.T) {
	// Each key takes 2 ms to load.
	server, client := server(t, "--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
	for i := range 500 {
		if err := client.Set(t.Context(), "filler-"+strconv.Itoa(i), strings.Repeat("x", 100), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// Of a snapshot, not of a log, it answers between any two keys.
	if err := client.BgRewriteAOF(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	faults.Eventually(t, faults.Patience, func() error {
		persistence := client.InfoMap(t.Context(), "persistence")
		if persistence.Item("Persistence", "aof_rewrite_in_progress") != "0" || persistence.Item("Persistence", "aof_rewrite_scheduled") != "0" {
			return errors.New("the snapshot is still being written")
		}
		return nil
	})
	inspector, _ := backend.As[backend.Inspector](faults.Open(t, server.URL()))
	// Meanwhile a worker waits, and has to come back by itself.
	l := startLoad(t, server.URL())
	l.AwaitProgress(faults.Patience, 50)
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		server.Restart()
	}()
	loading := 0
	for done := false; !done; {
		select {
		case <-restarted:
			done = true
			continue
		default:
		}
		_, err := inspector.Stats(t.Context(), "other")
		if err != nil && strings.Contains(err.Error(), "LOADING") {
			loading++
			if !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("a server that is loading: %v; want %v", err, backend.ErrUnavailable)
			}
		}
	}
	if loading == 0 {
		t.Error("the server was never seen while it was loading")
	}
	l.AwaitProgress(faults.Recovery, 1)
	finish(l, 0)
}
