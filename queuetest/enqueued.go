package queuetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// AssertEnqueued fails the test unless a job of a kind, with these arguments,
// is waiting in q: ready or scheduled, in any queue. The failure shows what is
// waiting. Nothing is taken from the queue.
//
// args are compared by their JSON; nil stands for any arguments. Filters
// narrow what is asked for:
//
//	queuetest.AssertEnqueued(t, q, "send_email", Email{To: "a@b.c"}, queuetest.On("email.bulk"), queuetest.Times(1))
func AssertEnqueued(t testing.TB, q *Queue, kind string, args any, filters ...Filter) {
	t.Helper()
	check(t, q, kind, args, filters)
}

// RefuteEnqueued fails the test if a job that AssertEnqueued would find is
// waiting in q.
func RefuteEnqueued(t testing.TB, q *Queue, kind string, args any, filters ...Filter) {
	t.Helper()
	check(t, q, kind, args, append(slices.Clip(filters), Times(0)))
}

// Enqueued returns the jobs of a kind that are waiting in q, for a test that
// wants to look at them itself: by queue, and in each those that are ready, in
// their order, before the scheduled ones, by due time. They stay in the queue.
// It fails the test if arguments do not decode into a T; such a job is left
// out.
func Enqueued[T any](t testing.TB, q *Queue, kind string, filters ...Filter) []*queue.Job[T] {
	t.Helper()
	wanted := newQuery(kind, filters)
	var jobs []*queue.Job[T]
	for _, e := range waiting(t, q) {
		if wanted.refuse(e) != "" {
			continue
		}
		job := &queue.Job[T]{
			ID: e.ID, Kind: e.Kind, Queue: e.Queue,
			Attempt:     e.Attempt,
			MaxAttempts: e.MaxAttempts,
			Priority:    e.Priority,
			EnqueuedAt:  e.EnqueuedAt,
			Header:      maps.Clone(e.Header),
		}
		if err := json.Unmarshal(e.Args, &job.Args); err != nil {
			t.Errorf("queuetest: the args of a %q job do not decode into a %T: %v", kind, job.Args, err)
			continue
		}
		jobs = append(jobs, job)
	}
	return jobs
}

func check(t testing.TB, q *Queue, kind string, args any, filters []Filter) {
	t.Helper()
	if args != nil {
		data, err := json.Marshal(args)
		if err != nil {
			t.Errorf("queuetest: the wanted args of %q have no JSON: %v", kind, err)
			return
		}
		filters = append([]Filter{withArgs(data)}, filters...)
	}
	wanted := newQuery(kind, filters)
	entries := waiting(t, q)
	found := 0
	for _, e := range entries {
		if wanted.refuse(e) == "" {
			found++
		}
	}
	switch {
	case wanted.times == found, wanted.times < 0 && found > 0:
	case wanted.times < 0:
		t.Errorf("queuetest: no job %v is waiting%s", wanted, tableOf(entries, wanted))
	default:
		jobs, are := "jobs", "are"
		if found == 1 {
			jobs, are = "job", "is"
		}
		t.Errorf("queuetest: %d %s %v %s waiting, want %d%s", found, jobs, wanted, are, wanted.times, tableOf(entries, wanted))
	}
}

// waiting returns what is ready or scheduled.
func waiting(t testing.TB, q *Queue) []*backend.Entry {
	t.Helper()
	ctx := context.Background()
	var all []*backend.Entry
	queues, err := q.broker.Queues(ctx)
	for _, name := range queues {
		for _, state := range []backend.State{backend.Ready, backend.Scheduled} {
			entries, peekErr := q.broker.Peek(ctx, name, state, 0, math.MaxInt)
			err = cmp.Or(err, peekErr)
			all = append(all, entries...)
		}
	}
	if err != nil {
		t.Errorf("queuetest: cannot look into the queue: %v", err)
	}
	return all
}

// mostRows bounds the table of a failure.
const mostRows = 20

// tableOf shows entries, those of the wanted kind first.
func tableOf(entries []*backend.Entry, wanted *query) string {
	if len(entries) == 0 {
		return "; nothing is"
	}
	slices.SortStableFunc(entries, func(x, y *backend.Entry) int {
		return cmp.Compare(rank(x, wanted), rank(y, wanted))
	})
	rows := [][]string{{"KIND", "QUEUE", "DUE", "ATTEMPT", "ARGS", "HEADER", "DIFFERS IN"}}
	for _, e := range entries[:min(len(entries), mostRows)] {
		kind, args := cell(e.Kind), cell(string(e.Args))
		if e.Malformed != nil {
			kind, args = "(malformed)", cell(string(e.Raw))
		}
		rows = append(rows, []string{kind, e.Queue, due(e), fmt.Sprint(e.Attempt), args, header(e.Header), wanted.refuse(e)})
	}
	if !slices.ContainsFunc(entries, func(e *backend.Entry) bool { return len(e.Header) > 0 }) {
		for i := range rows {
			rows[i] = slices.Delete(rows[i], 5, 6)
		}
	}
	var s strings.Builder
	s.WriteString("; these are:\n")
	writeTable(&s, rows)
	if more := len(entries) - mostRows; more > 0 {
		fmt.Fprintf(&s, "  and %d more\n", more)
	}
	return strings.TrimSuffix(s.String(), "\n")
}

func rank(e *backend.Entry, wanted *query) int {
	if e.Kind == wanted.kind {
		return 0
	}
	return 1
}

func due(e *backend.Entry) string {
	if e.State == backend.Ready {
		return "now"
	}
	return "in " + rounded(max(time.Until(e.DueAt), 0))
}

func header(fields map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		pairs = append(pairs, name+"="+fields[name])
	}
	return cell(strings.Join(pairs, " "))
}
