package beanstalkd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestConnectionsThatBreakUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	network := faults.NewProxy(t, at("lease=30s", server))
	l := startLoad(t, network.URL())
	const cuts = 20
	for i := range cuts {
		held := l.HoldOne(fmt.Sprint("hold-", i))
		network.CutAll()
		held.ExpectLost(t)
		l.AwaitProgress(faults.Recovery, 5)
	}
	finish(l, cuts)
}

// A reply of which only the beginning came must not be taken for a whole one,
// nor its rest for the reply to what is asked next: the load checks that each
// job has the arguments it was enqueued with.
func TestRepliesThatAreCutInTheMiddleLoseNothing(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	network := faults.NewProxy(t, at("lease=30s", server))
	l := startLoad(t, network.URL())
	const cuts = 30
	for network.Cuts() < cuts {
		// A job that is cut off again and again would pass for one that kills
		// its workers: after each cut the load goes on.
		network.CutAfter(rand.IntN(2000))
		l.AwaitProgress(faults.Recovery, 40)
	}
	finish(l, network.Cuts())
}

// What is asked after a question whose asker has gone has its own answer.
func TestCallsThatWereLeftDoNotMixUpTheRepliesOfLaterOnes(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	network := faults.NewProxy(t, at("lease=30s", server))
	b := faults.Open(t, network.URL())
	inspector, _ := backend.As[backend.Inspector](b)
	list, _ := backend.As[backend.Lister](b)
	const queues = 9 // of which each holds one job more than the one before
	name := func(i int) string { return fmt.Sprint("queue-", i) }
	for i := range queues {
		messages := make([]*backend.Message, i+1)
		for k := range messages {
			messages[k] = faults.Message(fmt.Sprint(i, "-", k))
			messages[k].Queue = name(i)
		}
		if err := b.Push(t.Context(), messages); err != nil {
			t.Fatal(err)
		}
	}
	network.Slow(0, time.Millisecond)
	left, answered := 0, 0
	for n := 0; left < 30 || answered < 30; n++ {
		i := n % queues
		// Longer and longer, so that any machine is fast enough in the end.
		limit := time.Duration(rand.IntN(10+n/4)) * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		stats, err := inspector.Stats(ctx, name(i))
		var entries []*backend.Entry
		if err == nil {
			entries, err = list.Peek(ctx, name(i), backend.Ready, 0, 100)
		}
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			left++
			continue
		}
		answered++
		if err != nil || stats.Queue != name(i) || stats.Ready != int64(i+1) || len(entries) != i+1 {
			t.Fatalf("%s: %+v and %d jobs, %v; want %d", name(i), stats, len(entries), err, i+1)
		}
		for k, e := range entries {
			if e.ID != fmt.Sprint(i, "-", k) || e.Queue != name(i) {
				t.Fatalf("%s has %s of %s as number %d", name(i), e.ID, e.Queue, k)
			}
		}
	}
}

func TestTheJobsOfAConnectionThatIsLostAreToldAtOnce(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	network := faults.NewProxy(t, at("lease=30s", server))
	b, other := faults.Open(t, network.URL()), faults.Open(t, at("lease=30s", server))
	faults.Push(t, b, "1", "2", "3", "settled", "elsewhere")
	deliveries := faults.ReserveMany(t, b, 4, 30*time.Second, faults.Patience)
	elsewhere := faults.Reserve(t, other, 30*time.Second, faults.Patience)
	ack(t, b, deliveries[3])
	held := deliveries[:3]

	notifier, ok := backend.As[backend.LossNotifier](b)
	if !ok {
		t.Fatal("the driver does not tell of lost deliveries")
	}
	told, stopped := make(chan bool, 100), make(chan bool, 100)
	defer notifier.NotifyLost(func() { told <- true })()
	notifier.NotifyLost(func() { stopped <- true })()
	for _, d := range append(held, elsewhere) {
		if notifier.Lost(d) {
			t.Errorf("job %s is lost while the connection is up", d.ID)
		}
	}
	network.CutAll()
	faults.Eventually(t, faults.Prompt, func() error {
		for _, d := range held {
			if !notifier.Lost(d) {
				return fmt.Errorf("job %s is not known to be lost", d.ID)
			}
		}
		return nil
	})
	select {
	case <-told:
	case <-time.After(faults.Prompt):
		t.Error("nobody was told of the loss")
	}
	if len(stopped) > 0 {
		t.Error("who has stopped to listen was told")
	}
	notifier.Lost(deliveries[3])
	again := faults.ReserveMany(t, other, 3, 30*time.Second, faults.Prompt)
	for _, d := range again {
		if d.Attempt != 2 || d.Deliveries != 2 {
			t.Errorf("job %s comes back as attempt %d, delivery %d", d.ID, d.Attempt, d.Deliveries)
		}
	}
	for i, s := range faults.Settlements() {
		if err := backend.ErrorAt(s.Settle(t.Context(), b, held[i%len(held)]), 0); !errors.Is(err, backend.ErrLeaseLost) {
			t.Errorf("%s of a lost job: %v, want %v", s.Name, err, backend.ErrLeaseLost)
		}
	}
	ack(t, other, append(again, elsewhere)...)
}

func TestLargeJobsDrainThroughASlowNetwork(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	const jobs = 1000
	pushLarge(t, faults.Open(t, at("lease=30s", server)), jobs)
	network := faults.NewProxy(t, at("lease=30s", server))
	network.Slow(64<<10, 4*time.Millisecond) // 16 MB in a second
	if again := expectLargeRun(t, client, network.URL(), jobs); again > 0 {
		t.Errorf("jobs have run %d times again", again)
	}
	expectCounts(t, client, counts{})
}

// A batch that takes longer to arrive than its lease lasts must not come back
// again and again.
func TestLargeJobsDrainThroughANetworkThatIsSlowerThanTheirLeases(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	const jobs = 100
	pushLarge(t, faults.Open(t, at("lease=2s", server)), jobs)
	network := faults.NewProxy(t, at("lease=2s", server))
	network.Slow(32<<10, 30*time.Millisecond) // 1 MB in a second, and 16 jobs
	expectLargeRun(t, client, network.URL(), jobs, queue.Lease(2*time.Second), queue.Workers(50))
	settledCounts(t, client, faults.Patience, counts{})
}

// largeArgs are those of a job that nearly fills what beanstalkd takes.
func largeArgs(id string) string { return strings.Repeat(id+".", 65_000/(len(id)+1)) }

func pushLarge(t *testing.T, b backend.Backend, jobs int) {
	t.Helper()
	for i := range jobs {
		m := faults.Message(fmt.Sprint(i))
		m.Args = []byte(`"` + largeArgs(m.ID) + `"`)
		if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
			t.Fatal(err)
		}
	}
}

// expectLargeRun runs a worker until all jobs have run, each of them whole, and
// returns how many runs there were besides.
func expectLargeRun(t *testing.T, client *beanstalk.Conn, address string, jobs int, options ...queue.OpenOption) (again int) {
	t.Helper()
	var mu sync.Mutex
	runs := make(map[string]int)
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "job", queue.HandlerFunc[string](func(_ context.Context, job *queue.Job[string]) error {
		if job.Args != largeArgs(job.ID) {
			t.Errorf("job %s has %d bytes that are not its own", job.ID, len(job.Args))
		}
		mu.Lock()
		defer mu.Unlock()
		if runs[job.ID]++; runs[job.ID] > 1 {
			again++
		}
		return nil
	}))
	q, err := queue.Open(t.Context(), address, append([]queue.OpenOption{
		queue.Handlers(mux), queue.Logger(slog.New(slog.DiscardHandler)),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	faults.Eventually(t, faults.Patience, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(runs) < jobs {
			there, err := count(client, "default")
			return fmt.Errorf("%d of %d jobs have run, and the server has %+v, %v", len(runs), jobs, there, err)
		}
		return nil
	})
	cancel()
	if err := errors.Join(<-ended, q.Close()); err != nil {
		t.Error(err)
	}
	return again
}
