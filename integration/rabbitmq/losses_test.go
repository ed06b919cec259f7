package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// kinds are the kinds of queue, as parameters of a URL.
var kinds = map[string][]string{
	"quorum":  {"type", "quorum"},
	"classic": {"type", "classic", "max-priority", "10"},
}

// settlements are those of a broker whose leases do not end by time.
func settlements() []faults.Settlement {
	all := faults.Settlements()
	kept := all[:0]
	for _, s := range all {
		if s.Name != "Extend" {
			kept = append(kept, s)
		}
	}
	return kept
}

// told returns a channel that has something whenever the driver has told of a
// loss, until the test ends.
func told(t testing.TB, b backend.Backend) (backend.LossNotifier, <-chan struct{}) {
	t.Helper()
	notifier, _ := backend.As[backend.LossNotifier](b)
	losses := make(chan struct{}, 1)
	t.Cleanup(notifier.NotifyLost(func() {
		select {
		case losses <- struct{}{}:
		default:
		}
	}))
	return notifier, losses
}

// awaitLost waits until the driver tells that all of these are lost.
func awaitLost(t testing.TB, notifier backend.LossNotifier, losses <-chan struct{}, deliveries ...*backend.Delivery) {
	t.Helper()
	limit := time.After(faults.Patience)
	for {
		select {
		case <-losses:
		case <-limit:
			t.Fatal("nobody was told of the loss")
		}
		lost := 0
		for _, d := range deliveries {
			if notifier.Lost(d) {
				lost++
			}
		}
		if lost == len(deliveries) {
			return
		}
	}
}

func TestAConnectionThatIsCutLosesItsJobsAndTellsOfIt(t *testing.T) {
	t.Parallel()
	for kind, parameters := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			address := with(place(t), parameters...)
			network := faults.NewProxy(t, address)
			b := faults.Open(t, network.URL())
			notifier, losses := told(t, b)
			names := numbered(len(settlements()))
			faults.Push(t, b, names...)
			deliveries := faults.ReserveMany(t, b, len(names), time.Minute, faults.Patience)
			for _, d := range deliveries {
				if notifier.Lost(d) {
					t.Fatalf("job %s is lost", d.ID)
				}
			}
			network.CutAll()
			awaitLost(t, notifier, losses, deliveries...)
			for i, s := range settlements() {
				if err := s.Settle(t.Context(), b, deliveries[i]); !errors.Is(backend.ErrorAt(err, 0), backend.ErrLeaseLost) {
					t.Errorf("%s of a job that is lost: %v; want %v", s.Name, err, backend.ErrLeaseLost)
				}
			}
			again := faults.ReserveMany(t, b, len(names), time.Minute, faults.Recovery)
			expectEachOnce(t, ids(again), names)
			for _, d := range again {
				if d.Attempt != 2 || d.Deliveries != 2 {
					t.Errorf("job %s is in attempt %d, delivery %d; want its second", d.ID, d.Attempt, d.Deliveries)
				}
				if notifier.Lost(d) {
					t.Errorf("job %s is lost again", d.ID)
				}
			}
			// Now that they are held again, under whatever tags.
			for i, s := range settlements() {
				if err := s.Settle(t.Context(), b, deliveries[i]); !errors.Is(backend.ErrorAt(err, 0), backend.ErrLeaseLost) {
					t.Errorf("%s of a job that is held again: %v; want %v", s.Name, err, backend.ErrLeaseLost)
				}
			}
			ack(t, b, again...)
			expectNothing(t, b, "default")
			if dead := faults.Dead(t, b); len(dead) != 0 {
				t.Errorf("dead are %+v", dead)
			}
		})
	}
}

func TestEachLossOfAJobIsCounted(t *testing.T) {
	t.Parallel()
	for kind, parameters := range kinds {
		for _, body := range []string{`{"job":"job","data":1,"id":"a"}`, "no job"} {
			t.Run(kind+" "+body, func(t *testing.T) {
				t.Parallel()
				address := with(place(t), parameters...)
				network := faults.NewProxy(t, address)
				b := faults.Open(t, network.URL())
				faults.Push(t, b, "declares")
				ack(t, b, reserve(t, b, "default", faults.Patience))
				plain(t, address).put("default", body)
				expect := func(when string, d *backend.Delivery, n int) {
					t.Helper()
					if d.Deliveries != n || d.Malformed == nil && d.Attempt != n {
						t.Errorf("%s this is attempt %d, delivery %d; want %d", when, d.Attempt, d.Deliveries, n)
					}
				}
				var d *backend.Delivery
				const times = 4
				for n := range times {
					d = reserve(t, b, "default", faults.Recovery)
					expect("after a loss", d, n+1)
					if kind == "classic" && n > 0 {
						// It was stored again with its count. Cut short, that may
						// leave the one that it was.
						awaitMessages(t, address, "default", 1)
					}
					if n < times-1 {
						network.CutAll()
					}
				}
				// What is given back was no delivery, and takes no other back.
				for _, delay := range []time.Duration{0, time.Second, 0} {
					if err := b.Release(t.Context(), []*backend.Delivery{d}, delay); err != nil {
						t.Fatalf("Release: %v", err)
					}
					d = reserve(t, b, "default", faults.Patience)
					expect("after a Release", d, times)
				}
				awaitMessages(t, address, "default", 1) // not two, as above
				network.CutAll()
				d = reserve(t, b, "default", faults.Recovery)
				expect("after a loss", d, times+1)
				ack(t, b, d)
			})
		}
	}
}

// awaitMessages waits until a queue has that many messages, those included that
// are held.
func awaitMessages(t testing.TB, address, queue string, want int) {
	t.Helper()
	faults.Eventually(t, faults.Patience, func() error {
		fields := strings.Fields(shared.control("list_queues", "-p", hostOf(address), "name", "messages"))
		i := slices.Index(fields, queue)
		if i < 0 || fields[i+1] != strconv.Itoa(want) {
			return fmt.Errorf("the queues have %q, want %d in %s", fields, want, queue)
		}
		return nil
	})
}

func TestAHandlerIsToldAtOnceThatItsJobIsLost(t *testing.T) {
	t.Parallel()
	network := faults.NewProxy(t, place(t))
	load := faults.StartLoad(t, network.URL(), queue.Lease(time.Minute))
	load.AwaitProgress(faults.Patience, 10)
	for round := range 3 {
		holder := load.HoldOne(fmt.Sprint("held-", round))
		if !holder.Holds() {
			t.Fatal("the job is lost before its connection is cut")
		}
		network.CutAll()
		holder.ExpectLost(t)
		load.AwaitProgress(faults.Recovery, 10)
	}
	load.StopProducing()
	failed, refused := load.Failures()
	// With each cut the jobs in hand, and those that were published just then.
	load.Finish(3*2*2*faults.LoadWorkers + failed - refused)
}

// The server looks once a minute, unless it is told to look sooner.
func impatient(t testing.TB, timeout time.Duration) string {
	t.Helper()
	server := server(t, fmt.Sprintf("consumer_timeout = %d", timeout.Milliseconds()))
	server.Control("eval", "application:set_env(rabbit, channel_tick_interval, 200).")
	return server.URL()
}

func TestAConsumerTimeoutCostsTheJobsOfItsQueueOnlyAndIsWarnedOfOnce(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second
	address := impatient(t, timeout)

	t.Run("backend", func(t *testing.T) {
		t.Parallel()
		b := faults.Open(t, address)
		notifier, losses := told(t, b)
		pushTo := func(queue, id string) *backend.Delivery {
			t.Helper()
			m := faults.Message(id)
			m.Queue = queue
			push(t, b, m)
			return reserve(t, b, queue, faults.Patience)
		}
		one := pushTo("timeout-slow", "a")
		var mu sync.Mutex
		var held *backend.Delivery // always younger than the timeout
		stop, renewed := make(chan struct{}), make(chan struct{})
		held = pushTo("timeout-quick", "0")
		go func() {
			defer close(renewed)
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(timeout / 10):
				}
				mu.Lock()
				next := faults.Message(fmt.Sprint(n))
				next.Queue = "timeout-quick"
				err := b.Ack(t.Context(), []*backend.Delivery{held})
				if err == nil {
					err = b.Push(t.Context(), []*backend.Message{next})
				}
				var deliveries []*backend.Delivery
				if err == nil {
					deliveries, err = b.Reserve(t.Context(), []string{"timeout-quick"}, 1, time.Minute)
				}
				if err != nil {
					mu.Unlock()
					t.Errorf("the other queue: %v", err)
					return
				}
				held = deliveries[0]
				mu.Unlock()
			}
		}()
		awaitLost(t, notifier, losses, one)
		close(stop)
		<-renewed
		if err := backend.ErrorAt(b.Ack(t.Context(), []*backend.Delivery{one}), 0); !errors.Is(err, backend.ErrLeaseLost) {
			t.Errorf("Ack of what has timed out: %v; want %v", err, backend.ErrLeaseLost)
		}
		if notifier.Lost(held) {
			t.Error("the job of another queue is lost too")
		} else {
			ack(t, b, held)
		}
		again := reserve(t, b, "timeout-slow", faults.Recovery)
		if again.ID != "a" || again.Attempt != 2 || again.Deliveries != 2 {
			t.Errorf("the job is %+v; want its second attempt", again)
		}
		ack(t, b, again)
		expectWarnedOnce(t, "timeout-slow", "timeout-quick")
	})

	t.Run("worker", func(t *testing.T) {
		t.Parallel()
		causes := make(chan error, 10)
		ended := make(chan string, 100)
		mux := new(queue.Mux)
		queue.RegisterOn(mux, "slow", queue.HandlerFunc[string](func(ctx context.Context, job *queue.Job[string]) error {
			if job.Attempt == 1 {
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return ctx.Err()
			}
			ended <- job.ID
			return nil
		}), queue.On("timeout-worker"))
		queue.RegisterOn(mux, "quick", queue.HandlerFunc[string](func(_ context.Context, job *queue.Job[string]) error {
			ended <- job.ID
			return nil
		}), queue.On("timeout-worker"))
		q := startQueue(t, address, mux, queue.Workers(2))
		expect := func(id string) {
			t.Helper()
			select {
			case got := <-ended:
				if got != id {
					t.Fatalf("job %s has run, want %s", got, id)
				}
			case <-time.After(faults.Patience):
				t.Fatalf("job %s has not run", id)
			}
		}
		if _, err := q.Enqueue(t.Context(), "slow", "", queue.ID("slow")); err != nil {
			t.Fatal(err)
		}
		select {
		case cause := <-causes:
			if !errors.Is(cause, queue.ErrLeaseLost) {
				t.Errorf("the handler was told %v, want %v", cause, queue.ErrLeaseLost)
			}
		case <-time.After(faults.Patience):
			t.Fatal("the handler was not told that its job is lost")
		}
		expect("slow")
		if _, err := q.Enqueue(t.Context(), "quick", "", queue.ID("quick")); err != nil {
			t.Fatal(err)
		}
		expect("quick")
		expectWarnedOnce(t, "timeout-worker", "")
	})
}

// expectWarnedOnce fails the test unless there is one line in the log of
// consumer_timeout and a queue, and none of the other queue.
func expectWarnedOnce(t *testing.T, slow, other string) {
	t.Helper()
	if lines := logged.having("level=WARN", "consumer_timeout", slow); len(lines) != 1 {
		t.Errorf("the log warns %q, want once of consumer_timeout and %s", lines, slow)
	}
	if other == "" {
		return
	}
	if lines := logged.having("consumer_timeout", other); len(lines) != 0 {
		t.Errorf("the log warns %q of %s, whose jobs took no longer than they may", lines, other)
	}
}

// Whoever closes a queue must not be told of losses for ever.
func TestALossIsToldToNobodyWhoDoesNotListenAnyMore(t *testing.T) {
	t.Parallel()
	network := faults.NewProxy(t, place(t))
	b := faults.Open(t, network.URL())
	notifier, losses := told(t, b)
	stop := notifier.NotifyLost(func() { t.Error("told after it was stopped") })
	stop()
	stop()
	faults.Push(t, b, "a")
	d := reserve(t, b, "default", faults.Patience)
	network.CutAll()
	awaitLost(t, notifier, losses, d)
}
