package beanstalkd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// put stores a job as a producer does that knows nothing of this library.
func put(t *testing.T, client *beanstalk.Conn, body string, priority uint32, ttr time.Duration) uint64 {
	t.Helper()
	id, err := beanstalk.NewTube(client, "default").Put([]byte(body), priority, 0, ttr)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// foreignTTR is that of pheanstalk, when it is told no other.
const foreignTTR = 60 * time.Second

// startQueue runs a queue with the handlers of mux until the test ends.
func startQueue(t *testing.T, address string, mux *queue.Mux, options ...queue.OpenOption) *queue.Queue {
	t.Helper()
	q, err := queue.Open(t.Context(), address, append([]queue.OpenOption{
		queue.Handlers(mux), queue.Logger(slog.New(slog.DiscardHandler)),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, q.Close()); err != nil {
			t.Errorf("Run and Close: %v", err)
		}
	})
	return q
}

func TestAJobThatPHPPutRuns(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	type email struct{ To string }
	got := make(chan *queue.Job[email], 1)
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "send_email", queue.HandlerFunc[email](func(_ context.Context, job *queue.Job[email]) error {
		got <- job
		return nil
	}))
	startQueue(t, at("lease=30s", server), mux)
	put(t, client, `{"job":"send_email","data":{"to":"a@b.c"}}`, foreignPriority, foreignTTR)
	select {
	case job := <-got:
		if job.Args.To != "a@b.c" || job.Attempt != 1 || job.ID == "" || job.Kind != "send_email" || job.Queue != "default" {
			t.Errorf("the job is %+v", job)
		}
	case <-time.After(faults.Patience):
		t.Fatal("the job has not run")
	}
	settledCounts(t, client, faults.Patience, counts{})
}

func TestAForeignJobMaySayThatItsFirstFailureIsItsLast(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	var mu sync.Mutex
	runs := make(map[string]int)
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "charge", queue.HandlerFunc[string](func(_ context.Context, job *queue.Job[string]) error {
		mu.Lock()
		defer mu.Unlock()
		runs[job.Args]++
		return errors.New("no luck")
	}))
	q := startQueue(t, at("lease=30s", server), mux)
	put(t, client, `{"job":"charge","data":"once","error":{"bury":true}}`, foreignPriority, foreignTTR)
	put(t, client, `{"job":"charge","data":"again","error":{"bury":false}}`, foreignPriority, foreignTTR)
	settledCounts(t, client, faults.Patience, counts{buried: 1, delayed: 1})
	entries := faults.Dead(t, q.Backend())
	if len(entries) != 1 || string(entries[0].Args) != `"once"` || entries[0].Failure == nil || !strings.Contains(entries[0].Failure.Error, "no luck") {
		t.Errorf("buried: %+v; want the job that says so, with its failure", entries)
	}
	mu.Lock()
	defer mu.Unlock()
	if runs["once"] != 1 || runs["again"] != 1 {
		t.Errorf("the jobs have run as often as %v", runs)
	}
}

func TestJobsOfAllProducersRunInTheOrderOfTheirPriorities(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	b := faults.Open(t, at("lease=30s", server))
	foreign := func(id string, priority uint32) {
		put(t, client, fmt.Sprintf(`{"job":"job","data":1,"id":%q}`, id), priority, foreignTTR)
	}
	ours := func(id string, priority int) {
		m := faults.Message(id)
		m.Priority = priority
		if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
			t.Fatal(err)
		}
	}
	foreign("foreign last of all", 1<<32-1)
	ours("ours below", -1)
	foreign("foreign usual", 1024)
	ours("ours usual", 0)
	foreign("foreign urgent", 1)
	ours("ours most urgent", 1024)
	foreign("foreign most urgent", 0)
	ours("ours urgent", 1023)

	want := []string{
		"ours most urgent", "foreign most urgent", "foreign urgent", "ours urgent",
		"foreign usual", "ours usual", "ours below", "foreign last of all",
	}
	priorities := []int{1024, 1024, 1023, 1023, 0, 0, -1, 1024 - (1<<32 - 1)}
	for i, d := range faults.ReserveMany(t, b, len(want), 30*time.Second, faults.Patience) {
		if d.ID != want[i] || d.Priority != priorities[i] {
			t.Errorf("number %d is %q with priority %d, want %q with %d", i, d.ID, d.Priority, want[i], priorities[i])
		}
		// A retry does not lose it.
		m := d.Message
		if err := b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &m}}); err != nil {
			t.Error(err)
		}
	}
	for i, d := range faults.ReserveMany(t, b, len(want), 30*time.Second, faults.Patience) {
		if d.Priority != priorities[i] {
			t.Errorf("after a retry number %d is %q with priority %d, want %d", i, d.ID, d.Priority, priorities[i])
		}
		ack(t, b, d)
	}
}

// A TTR of one second is always within the second by which the server warns.
func TestAForeignJobWithAShortTTRIsKeptForAsLongAsItsHandlerRuns(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	const takes = 3500 * time.Millisecond
	var mu sync.Mutex
	runs := 0
	done := make(chan error, 1)
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "slow", queue.HandlerFunc[int](func(ctx context.Context, _ *queue.Job[int]) error {
		mu.Lock()
		runs++
		mu.Unlock()
		select {
		case <-time.After(takes):
		case <-ctx.Done():
		}
		done <- context.Cause(ctx)
		return nil
	}))
	address := at("lease=30s", server)
	startQueue(t, address, mux)
	startQueue(t, address, mux) // which would run it too
	awaitWaiting(t, client, 2)
	before, err := commands(client)
	if err != nil {
		t.Fatal(err)
	}
	id := put(t, client, `{"job":"slow","data":1}`, foreignPriority, time.Second)
	select {
	case cause := <-done:
		if cause != nil {
			t.Errorf("the handler was told %v", cause)
		}
	case <-time.After(faults.Patience):
		t.Fatal("the handler has not returned")
	}
	after, err := commands(client)
	if err != nil {
		t.Fatal(err)
	}
	// Three touches in a second, and what it takes to reserve and settle.
	if most := int64(takes/time.Second+1)*4 + 20; after-before > most {
		t.Errorf("it took %d commands, want at most %d", after-before, most)
	}
	settledCounts(t, client, faults.Patience, counts{})
	mu.Lock()
	defer mu.Unlock()
	if runs != 1 {
		t.Errorf("job %d has run %d times, want 1", id, runs)
	}
	if n := statistic(t, client, "job-timeouts"); n != 0 {
		t.Errorf("%d TTRs have ended", n)
	}
}

func TestWhatAPlainClientReservesOfOursIsTheEnvelope(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	q := faults.OpenQueue(t, at("lease=90s", server))
	args := map[string]string{"to": "ä@b.c"}
	if _, err := q.Enqueue(t.Context(), "send_email", args, queue.ID("an-id"), queue.MaxAttempts(5), queue.Priority(24), queue.Header("trace", "t1"), queue.In(time.Second)); err != nil {
		t.Fatal(err)
	}
	id, body, err := client.Reserve(faults.Recovery)
	if err != nil {
		t.Fatal(err)
	}
	var job struct {
		Job         string            `json:"job"`
		Data        map[string]string `json:"data"`
		ID          string            `json:"id"`
		MaxAttempts int               `json:"max_attempts"`
		Priority    int               `json:"priority"`
		EnqueuedAt  time.Time         `json:"enqueued_at"`
		Headers     map[string]string `json:"headers"`
	}
	if err := json.Unmarshal(body, &job); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if job.Job != "send_email" || job.Data["to"] != args["to"] || job.ID != "an-id" || job.MaxAttempts != 5 || job.Priority != 24 ||
		time.Since(job.EnqueuedAt).Abs() > time.Minute || job.Headers["trace"] != "t1" {
		t.Errorf("the body is %s", body)
	}
	if _, err := backend.DecodeEnvelope(body); err != nil {
		t.Errorf("the body is %s: %v", body, err)
	}
	stats, err := client.StatsJob(id)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"tube": "default", "pri": "1000", "delay": "1", "ttr": "90"} {
		if stats[name] != want {
			t.Errorf("its %s is %s, want %s", name, stats[name], want)
		}
	}
}

func TestJobsOfOursAndOfOthersAreListedInOneLine(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	b := faults.Open(t, at("lease=30s", server))
	faults.Push(t, b, "ours")
	put(t, client, `{"job":"job","data":1,"id":"theirs"}`, foreignPriority, foreignTTR)
	put(t, client, `no envelope`, foreignPriority, foreignTTR)
	put(t, client, `{"job":"job","data":1,"id":"urgent"}`, 0, foreignTTR)
	list, _ := backend.As[backend.Lister](b)
	entries, err := list.Peek(t.Context(), "default", backend.Ready, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Malformed != nil {
			got = append(got, string(e.Raw))
			continue
		}
		got = append(got, e.ID)
	}
	if want := []string{"urgent", "ours", "theirs", "no envelope"}; !slices.Equal(got, want) {
		t.Errorf("the line is %q, want %q", got, want)
	}
	settledCounts(t, client, faults.Patience, counts{ready: 4})
}
