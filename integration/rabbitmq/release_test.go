package rabbitmq_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestAJobOfAnUnknownKindDoesNotSpin(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	wire := newMeter(t, address)
	mux, runs := runsOf("known")
	worker := startQueue(t, wire.url(), mux, queue.Workers(2))
	producer := faults.OpenQueue(t, address)
	// What is declared for delays is there.
	if _, err := producer.Enqueue(t.Context(), "known", "first", queue.In(time.Second)); err != nil {
		t.Fatal(err)
	}
	expectRun(t, runs, faults.Patience, "first")
	foreign.awaitConsumers("default", 1)

	before := wire.requests()
	if _, err := producer.Enqueue(t.Context(), "unknown", "x", queue.ID("unknown")); err != nil {
		t.Fatal(err)
	}
	// Meanwhile it is offered at once, and after another 1 and 2 seconds.
	if _, err := producer.Enqueue(t.Context(), "known", "last", queue.In(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	expectRun(t, runs, faults.Patience, "last")
	// A message that is published is three of them, and an ack is one. A consumer
	// that nobody asks for is ended, and begun anew. One that spins makes many
	// thousands.
	const most = 300
	if n := wire.requests() - before; n > most {
		t.Errorf("it took %d requests, want at most %d", n, most)
	}
	if err := worker.Close(); err != nil {
		t.Fatal(err)
	}
	attempts := make(chan int, 10)
	knowing := new(queue.Mux)
	queue.RegisterOn(knowing, "unknown", queue.HandlerFunc[string](func(_ context.Context, job *queue.Job[string]) error {
		attempts <- job.Attempt
		return nil
	}))
	startQueue(t, address, knowing)
	select {
	case n := <-attempts:
		if n != 1 {
			t.Errorf("where its kind is known it is in attempt %d, want 1", n)
		}
	case <-time.After(faults.Patience):
		t.Fatal("it does not run where its kind is known")
	}
}

func TestAJobThatIsReleasedAtOnceStandsAtTheEndAndHasSpentNothing(t *testing.T) {
	t.Parallel()
	for kind, parameters := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := faults.Open(t, with(place(t), parameters...))
			names := []string{"a", "b", "c"}
			faults.Push(t, b, names...)
			// More often than any limit of deliveries that a server may have.
			var got []string
			for range 60 {
				d := reserve(t, b, "default", faults.Patience)
				if d.Attempt != 1 || d.Deliveries != 1 {
					t.Fatalf("job %s is in attempt %d, delivery %d; want its first", d.ID, d.Attempt, d.Deliveries)
				}
				if err := b.Release(t.Context(), []*backend.Delivery{d}, 0); err != nil {
					t.Fatal(err)
				}
				got = append(got, d.ID)
			}
			for round := range slices.Chunk(got, len(names)) {
				if !slices.Equal(round, names) {
					t.Fatalf("the jobs came in the order %q", got)
				}
			}
			expectEachOnce(t, readyIDs(t, b), names)
		})
	}
}
