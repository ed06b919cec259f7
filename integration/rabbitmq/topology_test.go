package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// changed returns the arguments with one more, or another one.
func changed(arguments amqp.Table, name string, value any) amqp.Table {
	arguments[name] = value
	return arguments
}

func TestAQueueThatExistsWithOtherArgumentsIsAnErrorThatNamesThem(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	for i, c := range []struct {
		url      []string
		existing amqp.Table
		argument string
	}{
		{nil, nil, "x-queue-type"},
		{nil, amqp.Table{"x-queue-type": "classic"}, "x-queue-type"},
		{nil, amqp.Table{"x-queue-type": "quorum"}, "x-delivery-limit"},
		{nil, changed(asOurs(), "x-delivery-limit", 5), "x-delivery-limit"},
		{nil, changed(asOurs(), "x-message-ttl", 60_000), "x-message-ttl"},
		{nil, changed(asOurs(), "x-expires", 60_000), "x-expires"},
		{nil, changed(asOurs(), "x-max-length", 1000), "x-max-length"},
		{nil, changed(asOurs(), "x-dead-letter-exchange", "amq.fanout"), "x-dead-letter-exchange"},
		{[]string{"type", "classic", "max-priority", "10"}, classic(5), "x-max-priority"},
		{[]string{"type", "classic", "max-priority", "10"}, amqp.Table{"x-queue-type": "classic"}, "x-max-priority"},
		{[]string{"type", "classic", "max-priority", "10"}, asOurs(), "x-queue-type"},
		{[]string{"type", "classic"}, classic(10), "x-max-priority"},
	} {
		taken, free := fmt.Sprintf("taken-%d", i), fmt.Sprintf("free-%d", i)
		foreign.declare(taken, c.existing)
		b := faults.Open(t, with(address, c.url...))
		check := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), c.argument) {
				t.Errorf("%s a queue with %v: %v; want an error that is %v and names %s and %s", what, c.existing, err, backend.ErrInvalid, taken, c.argument)
			}
		}
		for _, delay := range []time.Duration{0, time.Second} {
			there, elsewhere := faults.Message("a"), faults.Message("b")
			there.Queue, elsewhere.Queue = taken, free
			there.Delay = delay
			err := b.Push(t.Context(), []*backend.Message{there, elsewhere})
			check("Push to", backend.ErrorAt(err, 0))
			if err := backend.ErrorAt(err, 1); err != nil {
				t.Errorf("Push to another queue beside: %v", err)
			}
		}
		for _, queues := range [][]string{{taken}, {"empty-" + free, taken}} {
			ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
			deliveries, err := b.Reserve(ctx, queues, 1, time.Minute)
			cancel()
			check("Reserve from", err)
			if len(deliveries) > 0 {
				t.Errorf("Reserve from %q: %v", queues, deliveries)
			}
		}
		for range 2 {
			ack(t, b, reserve(t, b, free, faults.Patience))
		}
		// A person mends it, and the driver need not be told.
		foreign.remove(taken)
		m := faults.Message("a")
		m.Queue = taken
		push(t, b, m)
		ack(t, b, reserve(t, b, taken, faults.Patience))
	}
}

func TestAWorkerOfAQueueThatExistsWithOtherArgumentsEndsWithAnErrorThatNamesThem(t *testing.T) {
	t.Parallel()
	address := place(t)
	plain(t, address).declare("taken", nil)
	q, err := queue.Open(t.Context(), address, queue.Handlers(new(queue.Mux)), queue.Queues("taken"), queue.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
	defer cancel()
	err = q.Run(ctx)
	if !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), "taken") || !strings.Contains(err.Error(), "x-queue-type") {
		t.Errorf("Run: %v; want an error that is %v and names taken and x-queue-type", err, queue.ErrInvalid)
	}
}

// One that has a limit, or an end, would drop some of the dead.
func TestADeadQueueThatExistsWithOtherArgumentsIsAnErrorThatNamesThem(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	for i, c := range []struct {
		existing amqp.Table
		argument string
	}{
		{nil, "x-queue-type"},
		{changed(asOurs(), "x-max-length", 10), "x-max-length"},
		{changed(asOurs(), "x-message-ttl", 60_000), "x-message-ttl"},
	} {
		name := fmt.Sprintf("queue-%d", i)
		foreign.declare(name+".dead", c.existing)
		b := faults.Open(t, address)
		m := faults.Message("a")
		m.Queue = name
		err := backend.ErrorAt(b.Push(t.Context(), []*backend.Message{m}), 0)
		if err == nil { // then when it is needed
			d := reserve(t, b, name, faults.Patience)
			err = backend.ErrorAt(faults.Bury(t.Context(), b, d), 0)
			if again := b.Ack(t.Context(), []*backend.Delivery{d}); err != nil && again != nil {
				t.Errorf("a job that could not be buried cannot be acked: %v", again)
			}
		}
		if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), name+".dead") || !strings.Contains(err.Error(), c.argument) {
			t.Errorf("with %s.dead of %v: %v; want an error that is %v and names it and %s", name, c.existing, err, backend.ErrInvalid, c.argument)
		}
	}
}

// runsOf returns a mux whose jobs tell that they run, and the channel on which
// they do.
func runsOf(kind string) (*queue.Mux, <-chan string) {
	runs := make(chan string, 1000)
	mux := new(queue.Mux)
	queue.RegisterOn(mux, kind, queue.HandlerFunc[string](func(_ context.Context, job *queue.Job[string]) error {
		runs <- job.Args
		return nil
	}))
	return mux, runs
}

func expectRun(t testing.TB, runs <-chan string, limit time.Duration, want string) {
	t.Helper()
	select {
	case got := <-runs:
		if got != want {
			t.Fatalf("job %s has run, want %s", got, want)
		}
	case <-time.After(limit):
		t.Fatalf("job %s has not run within %v", want, limit)
	}
}

func TestAQueueThatIsDeletedWhileWorkersRunIsMadeAgain(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	producer := faults.OpenQueue(t, address)
	mux, runs := runsOf("job")
	startQueue(t, address, mux)
	enqueue := func(name string) {
		t.Helper()
		if _, err := producer.Enqueue(t.Context(), "job", name); err != nil {
			t.Fatalf("Enqueue: %v", err)
		}
	}
	enqueue("before")
	expectRun(t, runs, faults.Patience, "before")
	for round := range 3 {
		foreign.remove("default")
		// Now the producer finds out first, whose message comes back to it, and
		// then the worker, whose consumer is cancelled.
		enqueue(fmt.Sprintf("at once %d", round))
		expectRun(t, runs, faults.Recovery, fmt.Sprintf("at once %d", round))
		foreign.awaitConsumers("default", 1)
		foreign.remove("default")
		foreign.awaitConsumers("default", 1)
		foreign.put("default", fmt.Sprintf(`{"job":"job","data":"foreign %d"}`, round))
		expectRun(t, runs, faults.Recovery, fmt.Sprintf("foreign %d", round))
		if _, err := producer.Enqueue(t.Context(), "job", "later", queue.In(time.Second)); err != nil {
			t.Fatalf("Enqueue: %v", err)
		}
		expectRun(t, runs, faults.Recovery, "later")
	}
}

func TestAQueueThatIsDeletedIsMadeAgainByAPush(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	b := faults.Open(t, address)
	faults.Push(t, b, "deleted")
	for round := range 3 {
		foreign.remove("default")
		faults.Push(t, b, numbered(100)...)
		foreign.awaitReady("default", 100)
		got := ids(faults.ReserveMany(t, b, 100, time.Minute, faults.Patience))
		if !slices.Equal(got, numbered(100)) {
			t.Errorf("in round %d the jobs are %q", round, got)
		}
	}
}

// A queue is known to the server a moment before it is there: who declares it
// too, or looks, may come in between.
func TestManyProcessesMayMeetAtANewQueue(t *testing.T) {
	t.Parallel()
	const processes, rounds = 8, 5
	address := place(t)
	backends := make([]backend.Backend, processes)
	for i := range backends {
		backends[i] = faults.Open(t, address)
	}
	for round := range rounds {
		name := fmt.Sprintf("queue-%d", round)
		var meeting sync.WaitGroup
		jobs := make([]*backend.Delivery, processes)
		for i, b := range backends {
			meeting.Go(func() {
				m := faults.Message(fmt.Sprint(i))
				m.Queue = name
				if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
					t.Errorf("Push: %v", err)
				}
			})
			meeting.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
				defer cancel()
				deliveries, err := b.Reserve(ctx, []string{name}, 1, time.Minute)
				if err != nil {
					t.Errorf("Reserve: %v", err)
					return
				}
				jobs[i] = deliveries[0]
			})
			meeting.Go(func() {
				list, _ := backend.As[backend.Lister](b)
				if _, err := list.Peek(t.Context(), name, backend.Dead, 0, 10); err != nil {
					t.Errorf("Peek: %v", err)
				}
				inspector, _ := backend.As[backend.Inspector](b)
				if _, err := inspector.Stats(t.Context(), name); err != nil {
					t.Errorf("Stats: %v", err)
				}
			})
		}
		meeting.Wait()
		if t.Failed() {
			return
		}
		got := make(map[string]bool)
		for i, d := range jobs {
			got[d.ID] = true
			if d.Deliveries != 1 {
				t.Errorf("job %s is in delivery %d, want 1", d.ID, d.Deliveries)
			}
			ack(t, backends[i], d)
		}
		if len(got) != processes {
			t.Errorf("%d jobs were handed out, want %d", len(got), processes)
		}
	}
}

func TestEverythingSurvivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := server(t)
			address := with(server.URL(), "type", kind, "timeout", "60s")
			foreign := plain(t, address)
			b := faults.Open(t, address)
			arguments := asOurs()
			if kind == "classic" {
				arguments = amqp.Table{"x-queue-type": "classic"}
			}
			foreign.declare("default", arguments)
			foreign.put("default", "no job")
			faults.Push(t, b, "dead", "held")
			deliveries := faults.ReserveMany(t, b, 3, time.Minute, faults.Patience)
			bury(t, b, deliveries[:2]...)
			faults.Push(t, b, "ready")
			const delay = 10 * time.Second
			m := faults.Message("scheduled")
			m.Delay = delay
			before := time.Now()
			push(t, b, m)

			server.Restart()
			notifier, _ := backend.As[backend.LossNotifier](b)
			if !notifier.Lost(deliveries[2]) {
				t.Error("what was held is not lost")
			}
			var got []*backend.Delivery
			for range 3 {
				d := reserve(t, b, "default", faults.Patience)
				want := 1
				if d.ID == "held" {
					want = 2
				}
				if d.Attempt != want || d.Deliveries != want {
					t.Errorf("%s is in attempt %d, delivery %d; want %d", d.ID, d.Attempt, d.Deliveries, want)
				}
				if took := time.Since(before); d.ID == "scheduled" && took < delay {
					t.Errorf("with a delay of %v it came after %v", delay, took)
				}
				got = append(got, d)
			}
			expectEachOnce(t, ids(got), []string{"ready", "held", "scheduled"})
			ack(t, b, got...)
			entries := faults.Dead(t, faults.Open(t, address))
			if len(entries) != 2 || entries[0].Malformed == nil || string(entries[0].Raw) != "no job" || entries[1].ID != "dead" {
				t.Errorf("dead are %+v; want what is no job and the job", entries)
			}
			inspector, _ := backend.As[backend.Inspector](b)
			if names, err := inspector.Queues(t.Context()); err != nil || !slices.Equal(names, []string{"default"}) {
				t.Errorf("Queues: %q, %v", names, err)
			}
		})
	}
}

func TestAJobFindsItsQueueWhateverItsName(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	b := faults.Open(t, address)
	names := []string{
		"a", "b", "a.b", "x.a.b", "a.b.c", "b.a", "A.b", "a:b/c+d", "a..b", ".a", "a.", ".", "1", "0.1", "1.1.a",
		"dead", "gofer", "a.dead.b", "goferx.y", "amqx.y", "delay",
		strings.Repeat("q", backend.MaxQueueName), strings.Repeat("q.", backend.MaxQueueName/2), strings.Repeat(".", backend.MaxQueueName),
	}
	for _, name := range names {
		now, later := faults.Message("now"), faults.Message("later")
		now.Queue, later.Queue, later.Delay = name, name, time.Second
		push(t, b, now, later)
	}
	for _, name := range names {
		foreign.awaitReady(name, 2)
		for _, id := range []string{"now", "later"} {
			d := reserve(t, b, name, faults.Patience)
			if d.ID != id || d.Queue != name {
				t.Errorf("queue %.30q has the job %s of %.30q, want %s of its own", name, d.ID, d.Queue, id)
			}
			if id == "now" {
				bury(t, b, d)
			} else {
				ack(t, b, d)
			}
		}
		list, _ := backend.As[backend.Lister](b)
		if entries, err := list.Peek(t.Context(), name, backend.Dead, 0, 10); err != nil || len(entries) != 1 || entries[0].ID != "now" {
			t.Errorf("the dead of %.30q: %v, %v", name, entries, err)
		}
	}
	inspector, _ := backend.As[backend.Inspector](b)
	slices.Sort(names)
	if got, err := inspector.Queues(t.Context()); err != nil || !slices.Equal(got, names) {
		t.Errorf("Queues: %q, %v; want %q", got, err, names)
	}
	foreign.awaitReady("gofer.undeliverable", 0)
}

func TestNamesOfQueuesThatTheDriverKeepsForItselfAreRefused(t *testing.T) {
	t.Parallel()
	b := faults.Open(t, place(t))
	for _, name := range []string{"a.dead", ".dead", "gofer.queues", "gofer.", "gofer.delay.00", "amq.direct", "amq.", "amq"} { // the dead of the last would be amq.dead
		for _, delay := range []time.Duration{0, time.Second} {
			reserved, other := faults.Message("a"), faults.Message("b")
			reserved.Queue, reserved.Delay = name, delay
			err := b.Push(t.Context(), []*backend.Message{reserved, other})
			if err := backend.ErrorAt(err, 0); !errors.Is(err, backend.ErrInvalid) {
				t.Errorf("Push to %s: %v; want %v", name, err, backend.ErrInvalid)
			}
			if err := backend.ErrorAt(err, 1); err != nil {
				t.Errorf("Push beside one to %s: %v", name, err)
			}
			ack(t, b, reserve(t, b, "default", faults.Patience))
		}
		ctx, cancel := context.WithTimeout(t.Context(), faults.Recovery)
		if _, err := b.Reserve(ctx, []string{"default", name}, 1, time.Minute); !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("Reserve from %s: %v; want %v", name, err, backend.ErrInvalid)
		}
		cancel()
	}
}
