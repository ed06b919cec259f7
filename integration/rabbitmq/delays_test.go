package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

const (
	// late is how late a delayed job may be, after its delay was rounded up to
	// the second.
	late = time.Second

	// On a machine that is busy with other tests all takes longer. A delayed job
	// makes up to usualSteps steps each of which takes as long as a job without a
	// delay does, and some wait at each behind others that are due with them.
	usualSteps, mostSteps = 6, 20
)

// waiting is a job that is delayed, and what becomes of it.
type waiting struct {
	delay         time.Duration
	before, after time.Time // when Push was called, and when it returned
	came          []time.Time
}

// Ten thousand random delays in one run, while nothing else of this package is
// going on.
func TestDelayedJobsComeOnceAndNeitherEarlyNorLate(t *testing.T) {
	const (
		random  = 10_000
		longest = 6 * time.Second
		seconds = 10 // jobs of one second
	)
	var delays []time.Duration
	for range seconds {
		delays = append(delays, time.Second)
	}
	for range random {
		delays = append(delays, time.Second+rand.N(longest-time.Second))
	}
	expectDelays(t, delays)
}

func TestJobsThatAreDelayedByAMinuteAreNotLateEither(t *testing.T) {
	t.Parallel()
	expectDelays(t, slices.Repeat([]time.Duration{59 * time.Second}, 10))
}

// expectDelays fails the test unless jobs with these delays come once each, when
// they are due.
func expectDelays(t *testing.T, delays []time.Duration) {
	t.Helper()
	patience := slices.Max(delays) + faults.Patience
	address := server(t).URL()
	layLadder(t, address)
	b := faults.Open(t, address)
	jobs := make(map[string]*waiting)
	var messages []*backend.Message
	for _, delay := range delays {
		m := faults.Message(fmt.Sprint(len(jobs)))
		m.Delay = delay
		messages = append(messages, m)
		jobs[m.ID] = &waiting{delay: delay}
	}

	var mu sync.Mutex // guards the jobs' times, and left
	left := len(jobs)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	collected := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			deliveries, err := b.Reserve(ctx, []string{"default"}, 500, time.Minute)
			now := time.Now()
			if err == nil {
				err = b.Ack(ctx, deliveries)
			}
			if err != nil {
				collected <- err
				return
			}
			mu.Lock()
			for _, d := range deliveries {
				w := jobs[d.ID]
				w.came = append(w.came, now)
				if len(w.came) == 1 {
					left--
				}
			}
			done := left == 0
			mu.Unlock()
			if done {
				break
			}
		}
		collected <- nil
	}()
	for batch := range slices.Chunk(messages, 500) {
		before := time.Now()
		push(t, b, batch...)
		after := time.Now()
		mu.Lock()
		for _, m := range batch {
			jobs[m.ID].before, jobs[m.ID].after = before, after
		}
		mu.Unlock()
	}
	usual := measureUsual(ctx, faults.Open(t, address))
	if err := <-collected; err != nil {
		t.Errorf("after all but %d of %d jobs: %v", left, len(jobs), err)
	}
	expectNothing(t, b, "default")

	var lateness []time.Duration
	for id, w := range jobs {
		switch {
		case len(w.came) == 0:
			t.Errorf("job %s with a delay of %v is lost", id, w.delay)
			continue
		case len(w.came) > 1:
			t.Errorf("job %s with a delay of %v came %d times", id, w.delay, len(w.came))
		}
		if early := w.before.Add(w.delay).Sub(w.came[0]); early > 0 {
			t.Errorf("job %s with a delay of %v came %v early", id, w.delay, early)
		}
		rounded := (w.delay + time.Second - 1).Truncate(time.Second)
		lateness = append(lateness, max(0, w.came[0].Sub(w.after.Add(rounded))))
	}
	slices.Sort(lateness)
	n := len(lateness)
	if n == 0 {
		t.Fatal("no job came")
	}
	cancel()
	step := <-usual
	p50, p99, most := lateness[n/2], lateness[n*99/100], lateness[n-1]
	t.Logf("late, after rounding up: p50 %v, p99 %v, most %v; jobs without a delay took up to %v", p50, p99, most, step)
	if limit := late + usualSteps*step; p99 > limit {
		t.Errorf("99 of 100 jobs came up to %v late, want at most %v", p99, limit)
	}
	if limit := late + mostSteps*step; most > limit {
		t.Errorf("a job came %v late, want at most %v", most, limit)
	}
}

// measureUsual has jobs without a delay go through a queue of their own, one after
// the other, until ctx ends, and then tells how long one took at most.
func measureUsual(ctx context.Context, b backend.Backend) <-chan time.Duration {
	longest := make(chan time.Duration, 1)
	go func() {
		var most time.Duration
		defer func() { longest <- most }()
		pause := time.NewTicker(100 * time.Millisecond)
		defer pause.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			m := faults.Message("usual")
			m.Queue = "usual"
			began := time.Now()
			if err := b.Push(ctx, []*backend.Message{m}); err != nil {
				return
			}
			deliveries, err := b.Reserve(ctx, []string{m.Queue}, 1, time.Minute)
			if err != nil || b.Ack(ctx, deliveries) != nil {
				return
			}
			if n > 0 { // the first has its queue declared
				most = max(most, time.Since(began))
			}
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}()
	return longest
}

func TestPriorityAndHeadersSurviveADelay(t *testing.T) {
	t.Parallel()
	address := with(place(t), "type", "classic", "max-priority", "10")
	foreign := plain(t, address)
	b := faults.Open(t, address)
	var want []string
	for priority := range 11 {
		m := faults.Message(fmt.Sprint(priority))
		m.Priority = priority
		m.Delay = time.Second
		m.Header = map[string]string{"trace": m.ID, "": "no name", "long": strings.Repeat("x", 1000)}
		push(t, b, m)
		want = append(want, m.ID)
	}
	slices.Reverse(want)
	foreign.awaitReady("default", len(want))
	var got []string
	for range want {
		d := reserve(t, b, "default", faults.Patience)
		got = append(got, d.ID)
		header := map[string]string{"trace": d.ID, "": "no name", "long": strings.Repeat("x", 1000)}
		if fmt.Sprint(d.Priority) != d.ID || !maps.Equal(d.Header, header) {
			t.Errorf("job %s has the priority %d and the headers %.200q", d.ID, d.Priority, d.Header)
		}
		ack(t, b, d)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the order is %v, want %v", got, want)
	}
}

// The server takes a message that comes by where it was before for one that
// goes in circles, and drops it.
func TestAJobMayBeDelayedAgainAndAgain(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	foreign.declare("default", asOurs())
	b := faults.Open(t, address)
	m := faults.Message("ours")
	m.Delay = time.Second
	push(t, b, m)
	foreign.put("default", "no job")
	const times = 3
	for range times {
		for range 2 { // at its own time each
			d := reserve(t, b, "default", faults.Patience)
			if d.Malformed != nil {
				if err := b.Release(t.Context(), []*backend.Delivery{d}, time.Second); err != nil {
					t.Fatal(err)
				}
				continue
			}
			m := d.Message
			m.Delay = time.Second
			if err := b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &m}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		d := reserve(t, b, "default", faults.Patience)
		switch {
		case d.Deliveries != 1:
			t.Errorf("this is delivery %d, want 1", d.Deliveries)
		case d.Malformed == nil && d.Attempt != times+1:
			t.Errorf("this is attempt %d, want %d", d.Attempt, times+1)
		}
		ack(t, b, d)
	}
	expectNothing(t, b, "default")
}

func TestADelayedJobWhoseQueueWasDeletedIsKeptAndToldOf(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	b := faults.Open(t, address)
	checker, _ := backend.As[backend.Checker](b)
	warned := func(when string) []string {
		t.Helper()
		warnings, err := checker.Check(t.Context())
		if err != nil {
			t.Fatalf("Check %s: %v", when, err)
		}
		return slices.DeleteFunc(warnings, func(text string) bool { return !strings.Contains(text, "gofer.undeliverable") })
	}
	m := faults.Message("a")
	m.Queue, m.Delay = "abandoned", 2*time.Second
	m.Header = map[string]string{"trace": "t1"}
	push(t, b, m)
	if text := warned("before"); len(text) != 0 {
		t.Errorf("before, Check warns %q", text)
	}
	foreign.remove("abandoned")
	foreign.awaitReady("gofer.undeliverable", 1)
	if text := warned("then"); len(text) != 1 {
		t.Errorf("Check warns %q, want one warning of gofer.undeliverable", text)
	}
	got := foreign.get("gofer.undeliverable")
	kept, err := backend.DecodeEnvelope(got.Body)
	if err != nil || kept.ID != "a" || kept.Kind != m.Kind || kept.Header["trace"] != "t1" {
		t.Errorf("it is kept as %s, %v", got.Body, err)
	}
	if text := warned("at last"); len(text) != 0 {
		t.Errorf("once it was taken, Check warns %q", text)
	}
}

// A queue for each delay, or for each queue, would be a queue too many.
func TestDelaysOfAllQueuesShareFewQueues(t *testing.T) {
	t.Parallel()
	const most = 32
	address := place(t)
	b := faults.Open(t, address)
	longest := backend.LimitsOf(b).MaxDelay
	if want := (1<<25 - 1) * time.Second; longest != want {
		t.Errorf("the longest delay is %v, want %v", longest, want)
	}
	own := make(map[string]bool)
	for i := range 8 {
		name := fmt.Sprintf("queue-%d", i)
		own[name], own[name+".dead"] = true, true
		m := faults.Message("dead")
		m.Queue = name
		push(t, b, m)
		bury(t, b, reserve(t, b, name, faults.Patience))
		delays := []time.Duration{longest, 24 * time.Hour, 365 * 24 * time.Hour}
		for range 50 {
			delays = append(delays, time.Minute+rand.N(time.Hour))
		}
		var messages []*backend.Message
		for j, delay := range delays {
			m := faults.Message(fmt.Sprint(j))
			m.Queue, m.Delay = name, delay
			messages = append(messages, m)
		}
		push(t, b, messages...)
	}
	tooLong := faults.Message("too long")
	tooLong.Delay = longest + 1
	if err := backend.ErrorAt(b.Push(t.Context(), []*backend.Message{tooLong}), 0); !errors.Is(err, backend.ErrInvalid) && !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("Push with a delay that is too long: %v", err)
	}
	var beside []string
	for _, name := range strings.Fields(shared.control("list_queues", "-p", hostOf(address), "name")) {
		if !own[name] {
			beside = append(beside, name)
		}
		delete(own, name)
	}
	if len(beside) > most {
		t.Errorf("there are %d queues beside those of jobs, want at most %d: %q", len(beside), most, beside)
	}
	for _, name := range beside {
		if !strings.HasPrefix(name, "gofer.") {
			t.Errorf("there is a queue %q", name)
		}
	}
	if len(own) > 0 {
		t.Errorf("the queues %q are missing", slices.Sorted(maps.Keys(own)))
	}
}
