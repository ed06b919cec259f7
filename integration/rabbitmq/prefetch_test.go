package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestABusyWorkerLeavesToOthersWhatItCannotRun(t *testing.T) {
	t.Parallel()
	const n, workers = 100, 5
	const demand = 2 * workers // what it runs, and as many that wait here
	address := place(t)
	foreign := plain(t, address)
	began, end := make(chan string, n), make(chan struct{})
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "job", queue.HandlerFunc[string](func(_ context.Context, job *queue.Job[string]) error {
		began <- job.ID
		<-end
		return nil
	}))
	other := faults.Open(t, address)
	faults.Push(t, other, numbered(n)...)
	startQueue(t, address, mux, queue.Workers(workers))
	var run []string
	await := func(jobs int) {
		t.Helper()
		for len(run) < jobs {
			select {
			case id := <-began:
				run = append(run, id)
			case <-time.After(faults.Patience):
				t.Fatalf("%d jobs have begun, want %d", len(run), jobs)
			}
		}
	}
	await(workers)
	// It may have fetched more for a moment.
	faults.Eventually(t, 200*time.Millisecond, func() error {
		ready, _, err := foreign.look("default")
		if err == nil && ready < n-demand {
			err = fmt.Errorf("%d of %d jobs are ready: it holds more than it asked for", ready, n)
		}
		return err
	})
	rest := faults.ReserveMany(t, other, n-demand, time.Minute, faults.Recovery)
	for _, d := range rest {
		if d.Attempt != 1 || d.Deliveries != 1 {
			t.Errorf("job %s is in attempt %d, delivery %d; want its first", d.ID, d.Attempt, d.Deliveries)
		}
	}
	ack(t, other, rest...)
	close(end)
	await(demand)
	expectEachOnce(t, append(run, ids(rest)...), numbered(n))
	expectNothing(t, other, "default")
}

func TestAReserveThatTookNothingHoldsNothing(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	idle, other := faults.Open(t, address), faults.Open(t, address)
	for round := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			_, err := idle.Reserve(ctx, []string{"first", "second"}, 50, time.Minute)
			result <- err
		}()
		foreign.awaitConsumers("first", 1)
		foreign.awaitConsumers("second", 1)
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Fatalf("Reserve: %v; want %v", err, context.Canceled)
		}
		// At once, when what consumes for it may still be there.
		for _, name := range []string{"first", "second"} {
			m := faults.Message(fmt.Sprint(name, round))
			m.Queue = name
			push(t, other, m)
			d := reserve(t, other, name, faults.Prompt)
			if d.ID != m.ID || d.Attempt != 1 || d.Deliveries != 1 {
				t.Errorf("the job is %+v; want the first attempt of %s", d, m.ID)
			}
			ack(t, other, d)
		}
		foreign.awaitConsumers("second", 0)
		foreign.awaitConsumers("first", 0)
	}
}

func TestWhatAReserveDidNotTakeIsForOthers(t *testing.T) {
	t.Parallel()
	const n = 50
	address := place(t)
	foreign := plain(t, address)
	b, other := faults.Open(t, address), faults.Open(t, address)
	pushTo := func(queue string) {
		var messages []*backend.Message
		for _, id := range numbered(n) {
			m := faults.Message(id)
			m.Queue = queue
			messages = append(messages, m)
		}
		push(t, other, messages...)
	}
	pushTo("first")
	pushTo("second")
	deliveries, err := b.Reserve(t.Context(), []string{"first", "second"}, 3, time.Minute)
	if err != nil || len(deliveries) == 0 || len(deliveries) > 3 {
		t.Fatalf("Reserve: %v, %v; want 1 to 3 jobs", deliveries, err)
	}
	for _, d := range deliveries {
		if d.Queue != "first" {
			t.Errorf("job %s of queue %s was taken before those of the first", d.ID, d.Queue)
		}
	}
	foreign.awaitReady("first", n-len(deliveries))
	foreign.awaitReady("second", n)
	ack(t, b, deliveries...)
	for _, name := range []string{"first", "second"} {
		want := n
		if name == "first" {
			want -= len(deliveries)
		}
		for want > 0 {
			ctx, cancel := context.WithTimeout(t.Context(), faults.Recovery)
			rest, err := other.Reserve(ctx, []string{name}, want, time.Minute)
			cancel()
			if err != nil {
				t.Fatalf("%d jobs of the queue %s are missing: %v", want, name, err)
			}
			for _, d := range rest {
				if d.Attempt != 1 || d.Deliveries != 1 {
					t.Errorf("job %s is in attempt %d, delivery %d; want its first", d.ID, d.Attempt, d.Deliveries)
				}
			}
			ack(t, other, rest...)
			want -= len(rest)
		}
	}
	expectNothing(t, other, "first", "second")
}

// The server holds back what it is told of many jobs one by one, and forgets what
// it holds back when their channel ends.
func TestWhatWasAckedBeforeAnEndIsGone(t *testing.T) {
	t.Parallel()
	const n = 600
	for name, end := range map[string]func(backend.Backend, []*backend.Delivery) error{
		"of the backend": func(b backend.Backend, _ []*backend.Delivery) error { return b.Close() },
		"of the consumer, since the rest was given back": func(b backend.Backend, rest []*backend.Delivery) error {
			return b.Release(context.Background(), rest, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := place(t)
			b, other := faults.Open(t, address), faults.Open(t, address)
			names := numbered(n)
			faults.Push(t, other, names...)
			var acked, rest []*backend.Delivery
			var want []string
			for i, d := range faults.ReserveMany(t, b, n, time.Minute, faults.Patience) {
				if i%2 == 1 { // none of them stands beside another
					acked = append(acked, d)
				} else {
					rest, want = append(rest, d), append(want, d.ID)
				}
			}
			ack(t, b, acked...)
			if err := end(b, rest); err != nil {
				t.Fatal(err)
			}
			var got []string
			for len(got) < len(want) {
				ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
				deliveries, err := other.Reserve(ctx, []string{"default"}, n, time.Minute)
				cancel()
				if err != nil {
					t.Fatalf("after %d of %d: %v", len(got), len(want), err)
				}
				got = append(got, ids(deliveries)...)
				ack(t, other, deliveries...)
			}
			expectEachOnce(t, append(got, readyIDs(t, other)...), want)
		})
	}
}
