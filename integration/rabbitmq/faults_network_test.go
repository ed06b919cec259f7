package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestNoCallOutlivesItsContextInABlackhole(t *testing.T) {
	t.Parallel()
	address := place(t)
	network := faults.NewProxy(t, address)
	b := faults.Open(t, network.URL())
	held := make([]*backend.Delivery, len(settlements()))
	for i, s := range settlements() {
		faults.Push(t, b, s.Name)
		held[i] = faults.Reserve(t, b, time.Minute, faults.Patience)
	}
	faults.Push(t, b, "dead")
	bury(t, b, faults.Reserve(t, b, time.Minute, faults.Patience))
	key := faults.Dead(t, b)[0].Key
	waits := faults.Open(t, network.URL())
	waited := make(chan error, 1)
	waiting, leave := context.WithCancel(t.Context())
	go func() {
		_, err := waits.Reserve(waiting, []string{"other"}, 1, time.Minute)
		waited <- err
	}()
	plain(t, address).awaitConsumers("other", 1)

	network.Blackhole()
	began := time.Now()
	leave()
	if err := <-waited; !errors.Is(err, context.Canceled) || time.Since(began) > faults.Punctual {
		t.Errorf("a Reserve that waited returned %v, %v after its context had ended; want %v", err, time.Since(began), context.Canceled)
	}
	faults.OnTime(t, "Open", func(ctx context.Context) error {
		_, err := backend.Open(ctx, network.URL())
		return err
	})
	for _, queue := range []string{"default", "new"} {
		faults.OnTime(t, "Push to "+queue, func(ctx context.Context) error {
			return b.Push(ctx, []*backend.Message{messageFor(queue, "pushed")})
		})
		faults.OnTime(t, "Reserve from "+queue, func(ctx context.Context) error {
			_, err := b.Reserve(ctx, []string{queue}, 1, time.Minute)
			return err
		})
	}
	for i, s := range settlements() {
		settle := func(ctx context.Context) error { return backend.ErrorAt(s.Settle(ctx, b, held[i]), 0) }
		if s.Name == "Ack" {
			expectPunctual(t, s.Name, settle)
			continue
		}
		faults.OnTime(t, s.Name, settle)
	}
	for name, ask := range questions(b, key) {
		faults.OnTime(t, name, ask)
	}
	network.Heal()

	// Whatever the server made of the calls, it and the backend go on.
	for _, one := range []backend.Backend{b, waits} {
		push(t, one, messageFor("after", "after"))
		ack(t, one, reserve(t, one, "after", faults.Recovery))
	}
}

// expectPunctual fails the test when f does not end with its context. AMQP has
// no answer to an ack: what has been sent may be taken for done.
func expectPunctual(t *testing.T, name string, f func(context.Context) error) {
	t.Helper()
	const limit = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	err := f(ctx)
	if took := time.Since(began); took > limit+faults.Punctual {
		t.Errorf("%s returned %v after its context had ended", name, took-limit)
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v; want %v, or nothing", name, err, context.DeadlineExceeded)
	}
}

// questions are the calls that take no jobs and give none. The key is that of a
// dead job of the queue "default".
func questions(b backend.Backend, key string) map[string]func(context.Context) error {
	inspector, _ := backend.As[backend.Inspector](b)
	list, _ := backend.As[backend.Lister](b)
	dead, _ := backend.As[backend.DeadSet](b)
	checker, _ := backend.As[backend.Checker](b)
	return map[string]func(context.Context) error{
		"Stats": func(ctx context.Context) error {
			_, err := inspector.Stats(ctx, "default")
			return err
		},
		"Queues": func(ctx context.Context) error {
			_, err := inspector.Queues(ctx)
			return err
		},
		"Peek": func(ctx context.Context) error {
			_, err := list.Peek(ctx, "default", backend.Dead, 0, 10)
			return err
		},
		"Requeue": func(ctx context.Context) error {
			_, err := dead.Requeue(ctx, "default", key)
			return err
		},
		"Delete": func(ctx context.Context) error {
			_, err := dead.Delete(ctx, "default", key)
			return err
		},
		"Check": func(ctx context.Context) error {
			_, err := checker.Check(ctx)
			return err
		},
	}
}

// What is larger than the network takes holds up whoever writes it, and whoever
// wants to write after that.
func TestNoCallOutlivesItsContextWhenTheNetworkTakesNoMore(t *testing.T) {
	t.Parallel()
	network := faults.NewProxy(t, place(t))
	b := faults.Open(t, network.URL())
	faults.Push(t, b, "held", "small")
	held := faults.Reserve(t, b, time.Minute, faults.Patience)
	push(t, b, messageFor("large", "declared"))
	network.Blackhole()
	for _, m := range largeMessages() {
		faults.OnTime(t, "Push of a large job", func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{m}) })
	}
	faults.OnTime(t, "Push", func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{faults.Message("late")}) })
	for _, s := range settlements() {
		if s.Name != "Ack" {
			faults.OnTime(t, s.Name, func(ctx context.Context) error { return backend.ErrorAt(s.Settle(ctx, b, held), 0) })
		}
	}
	expectPunctual(t, "Ack", func(ctx context.Context) error { return b.Ack(ctx, []*backend.Delivery{held}) })
	network.Heal()
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	if err := b.Push(ctx, []*backend.Message{messageFor("after", "after")}); err != nil {
		t.Fatalf("Push when the network takes something again: %v", err)
	}
	ack(t, b, reserve(t, b, "after", faults.Recovery))
}

// largeMessages are more than what two sockets and a [faults.Proxy] hold.
func largeMessages() []*backend.Message {
	large := make([]*backend.Message, 16)
	for i := range large {
		large[i] = messageFor("large", fmt.Sprint(i))
		large[i].Args = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	}
	return large
}

// afterCut is how many jobs have to run after a cut, before the next: a job that
// is cut off again and again would pass for one that kills its workers.
const afterCut = 50

func TestConnectionsThatBreakUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	address := place(t)
	server := watch(t, address)
	network := faults.NewProxy(t, address)
	l := startLoad(t, network.URL())
	const cuts = 6
	for i := range cuts {
		held := l.HoldOne(fmt.Sprint("hold-", i))
		server.awaitAcked()
		network.CutAll()
		held.ExpectLost(t)
		l.AwaitProgress(recovery, afterCut)
	}
	finish(l, cuts)
}

// A frame of which only the beginning came must not be taken for a whole one:
// the load checks that each job has the arguments it was enqueued with.
func TestFramesThatAreCutInTheMiddleLoseNothing(t *testing.T) {
	t.Parallel()
	network := faults.NewProxy(t, place(t))
	l := startLoad(t, network.URL())
	const cuts = 15
	for network.Cuts() < cuts {
		before := network.Cuts()
		network.CutAfter(rand.IntN(2000)) // of either connection
		faults.Eventually(t, faults.Patience, func() error {
			if network.Cuts() == before {
				return errors.New("no connection was cut")
			}
			return nil
		})
		l.AwaitProgress(recovery, afterCut)
	}
	finish(l, network.Cuts())
}

// A firewall forgets connections, and says so to nobody. Both sides miss each
// other's heartbeats.
func TestWorkGoesOnWhenTheNetworkHasForgottenItsConnections(t *testing.T) {
	t.Parallel()
	address := place(t)
	server := watch(t, address)
	network := faults.NewProxy(t, address)
	l := startLoad(t, with(network.URL(), "heartbeat", "1s"))
	l.AwaitProgress(faults.Patience, 50)
	held := l.HoldOne("hold")
	server.awaitAcked()
	network.Forget()
	const missed = 3*time.Second + faults.Prompt // three heartbeats, and what a busy machine adds
	faults.Eventually(t, missed, func() error {
		if held.Holds() {
			return errors.New("the worker does not know that its connection is lost")
		}
		return nil
	})
	l.AwaitProgress(recovery, 50)
	finish(l, 1)
}

func TestAPushOfUnknownOutcomeIsNotUnavailable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		harm   func(network *faults.Proxy, mark string) <-chan struct{}
		stored int
	}{
		{"the server has it", func(p *faults.Proxy, mark string) <-chan struct{} { return p.CutReplies(mark, 1) }, 1},
		{"the server has it not", func(p *faults.Proxy, mark string) <-chan struct{} { return p.Refuse(mark, 1) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := place(t)
			network := faults.NewProxy(t, address)
			b := faults.Open(t, network.URL())
			faults.Push(t, b, "held")
			held := faults.Reserve(t, b, time.Minute, faults.Patience)
			push(t, b, messageFor("queue", "before"))
			harmed := c.harm(network, "harmed")
			err := b.Push(t.Context(), []*backend.Message{messageFor("queue", "harmed")})
			if err == nil || errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("Push: %v; want an error that leaves open what happened", err)
			}
			faults.AwaitHarm(t, harmed)
			push(t, b, messageFor("queue", "after"))
			plain(t, address).awaitReady("queue", 2+c.stored)
			// The other connection has lost nothing.
			if notifier, _ := told(t, b); notifier.Lost(held) {
				t.Error("a job that is held is lost with the connection that publishes")
			}
			ack(t, b, held)
			watch(t, address).awaitEmpty()
		})
	}
}

// Of each job of a batch the driver says whether it is stored: it is, it
// certainly is not, or nobody knows.
func TestABatchThatIsCutOffKnowsOfEachOfItsJobs(t *testing.T) {
	t.Parallel()
	address := place(t)
	network := faults.NewProxy(t, address)
	b := faults.Open(t, network.URL())
	server := plain(t, address)
	push(t, b, messageFor("queue", "first"))
	server.get("queue")
	const rounds, batches, size = 8, 4, 300
	for round := range rounds {
		mark := fmt.Sprintf("%d-%d-%d", round, rand.IntN(batches), rand.IntN(size))
		harmed := network.Refuse(mark, 1)
		if round%2 == 1 {
			harmed = network.CutReplies(mark, 1)
		}
		var pushing sync.WaitGroup
		outcomes := make([]map[string]error, batches)
		for i := range outcomes {
			messages := make([]*backend.Message, size)
			for k := range messages {
				messages[k] = messageFor("queue", fmt.Sprintf("%d-%d-%d", round, i, k))
			}
			outcomes[i] = make(map[string]error)
			pushing.Go(func() {
				err := b.Push(t.Context(), messages)
				for k, m := range messages {
					outcomes[i][m.ID] = backend.ErrorAt(err, k)
				}
			})
		}
		pushing.Wait()
		faults.ExpectHarm(t, harmed)
		push(t, b, messageFor("queue", "last"))
		stored := server.drain("queue")
		if stored["last"] != 1 {
			t.Errorf("the job after the others is stored %d times", stored["last"])
		}
		for _, outcome := range outcomes {
			for id, err := range outcome {
				n := stored[id]
				if n > 1 || n == 0 && err == nil || n > 0 && errors.Is(err, backend.ErrUnavailable) {
					t.Errorf("job %s is stored %d times, and Push says: %v", id, n, err)
				}
			}
		}
	}
}

// drain takes all messages out of a queue, and returns how often it had each ID.
func (c *client) drain(queue string) map[string]int {
	c.t.Helper()
	times := make(map[string]int)
	c.must(func(channel *amqp.Channel) error {
		ready, _, err := c.look(queue)
		if err != nil || ready == 0 {
			return err
		}
		deliveries, err := channel.Consume(queue, "", true, false, false, false, nil)
		if err != nil {
			return err
		}
		for range ready {
			d := <-deliveries
			times[d.MessageId]++
		}
		return nil
	})
	return times
}

// Which of its queues are empty a worker of several has to find out again on
// each connection.
func TestAWorkerOfSeveralQueuesOutlivesItsConnections(t *testing.T) {
	t.Parallel()
	address := place(t)
	network := faults.NewProxy(t, address)
	names := []string{"first", "second", "third"}
	ran := make(chan string, 1000)
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "job", queue.HandlerFunc[string](func(_ context.Context, job *queue.Job[string]) error {
		ran <- job.ID
		return nil
	}))
	startQueue(t, network.URL(), mux, queue.Queues(names...), queue.Workers(2))
	producer := faults.Open(t, address)
	for round := range 10 {
		waiting := make(map[string]bool)
		for i := range 12 {
			id := fmt.Sprint(round, "-", i)
			push(t, producer, messageFor(names[(i+round)%len(names)], id))
			waiting[id] = true
			if i == round {
				network.CutAll()
			}
		}
		limit := time.After(faults.Patience)
		for len(waiting) > 0 {
			select {
			case id := <-ran:
				delete(waiting, id)
			case <-limit:
				t.Fatalf("in round %d the jobs %v have not run", round, waiting)
			}
		}
	}
}

func TestWithTheServerGoneCallsFailAfterTheTimeout(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	network := faults.NewProxy(t, with(place(t), "timeout", timeout.String()))
	b := faults.Open(t, network.URL())
	faults.Push(t, b, "before")
	d := faults.Reserve(t, b, time.Minute, faults.Patience)
	notifier, losses := told(t, b)
	network.Sever()
	awaitLost(t, notifier, losses, d)
	faults.OnTime(t, "Push", func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{faults.Message("late")}) })
	for name, call := range map[string]func(context.Context) error{
		"Push":  func(ctx context.Context) error { return b.Push(ctx, []*backend.Message{faults.Message("refused")}) },
		"Stats": questions(b, "")["Stats"],
		"Open": func(ctx context.Context) error {
			_, err := backend.Open(ctx, network.URL())
			return err
		},
	} {
		began := time.Now()
		err := call(t.Context())
		if took := time.Since(began); !errors.Is(err, backend.ErrUnavailable) || took > timeout+faults.Punctual {
			t.Errorf("%s: %v after %v; want %v after %v", name, err, took, backend.ErrUnavailable, timeout)
		}
	}
}

// Whatever a call is at when the server goes, it does not wait for longer than
// one that comes after that.
func TestCallsThatLoseTheServerFailAfterTheTimeout(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	network := faults.NewProxy(t, with(place(t), "timeout", timeout.String()))
	b := faults.Open(t, network.URL())
	faults.Push(t, b, "before")
	const callers = 50
	var pushed atomic.Int64
	ended := make(chan error, callers)
	for caller := range callers {
		go func() {
			for n := 0; ; n++ {
				err := b.Push(t.Context(), []*backend.Message{faults.Message(fmt.Sprint(caller, "-", n))})
				if errors.Is(err, backend.ErrUnavailable) || t.Context().Err() != nil {
					ended <- err
					return
				}
				if err == nil {
					pushed.Add(1)
				} // else it is open what happened, and the next call will say
			}
		}()
	}
	faults.Eventually(t, faults.Patience, func() error {
		if n := pushed.Load(); n < 1000 {
			return fmt.Errorf("%d jobs were pushed, want 1000", n)
		}
		return nil
	})
	network.Sever()
	deadline := time.After(2*timeout + faults.Punctual) // that of a call, and that of the next
	for n := range callers {
		select {
		case <-ended:
		case <-deadline:
			t.Fatalf("%d of %d calls have not returned", callers-n, callers)
		}
	}
}

func TestOpenFindsTheHostThatAnswers(t *testing.T) {
	t.Parallel()
	const timeout = 500 * time.Millisecond
	address := with(place(t), "timeout", timeout.String())
	good := plain(t, address).connection.RemoteAddr().String()
	dead, silent := deadAddress(t), silentAddress(t)
	began := time.Now()
	_, err := backend.Open(t.Context(), withHosts(address, silent))
	if took := time.Since(began); !errors.Is(err, backend.ErrUnavailable) || took > timeout+faults.Punctual {
		t.Errorf("Open of a host that is silent: %v after %v; want %v after %v", err, took, backend.ErrUnavailable, timeout)
	}
	for _, hosts := range [][]string{{dead, good}, {silent, good}, {silent, dead, good, silentAddress(t)}} {
		b := faults.Open(t, withHosts(address, hosts...))
		faults.Push(t, b, "a")
		ack(t, b, faults.Reserve(t, b, time.Minute, faults.Patience))
	}
}

// silentAddress is one at which connections are taken and nothing is said.
func silentAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

func TestOfSeveralHostsTheNextIsTakenWhenOneIsLost(t *testing.T) {
	t.Parallel()
	address := place(t)
	server := watch(t, address)
	const hosts = 3
	networks := make([]*faults.Proxy, hosts)
	addresses := make([]string, hosts)
	for i := range networks {
		networks[i] = faults.NewProxy(t, address)
		addresses[i] = networks[i].Addr()
	}
	l := startLoad(t, withHosts(address, addresses...))
	for range hosts - 1 {
		l.AwaitProgress(faults.Patience, afterCut)
		server.awaitAcked()
		used := slices.IndexFunc(networks, func(p *faults.Proxy) bool { return p.Connections() > 0 })
		networks[used].Sever()
		networks = slices.Delete(networks, used, used+1)
		l.AwaitProgress(recovery, afterCut)
	}
	finish(l, hosts-1)
}
