package status_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

func TestDoneDeadAndCancelledAreFinished(t *testing.T) {
	for state, want := range map[status.State]bool{
		status.Scheduled: false, status.Ready: false, status.Running: false, status.Retrying: false,
		status.Done: true, status.Dead: true, status.Cancelled: true, "": false, "newer": false,
	} {
		if got := state.Finished(); got != want {
			t.Errorf("%q.Finished() is %v", state, got)
		}
	}
}

func TestTheStoredJSONIsStable(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC) }
	full := status.Record{
		ID: "1", Kind: "send_email", Queue: "email", State: status.Retrying, Attempt: 2, MaxAttempts: 5,
		CreatedAt: at(1), UpdatedAt: at(2), StartedAt: at(3), FinishedAt: at(4), DueAt: at(5),
		Error:    "timeout",
		Errors:   []status.Failure{{Attempt: 1, At: at(6), Error: "refused"}},
		Progress: status.Progress{Done: 3, Total: 10},
		Result:   json.RawMessage(`{"sent":true}`),
	}
	for want, record := range map[string]status.Record{
		`{"id":"1","kind":"send_email","queue":"email","state":"retrying","attempt":2,"max_attempts":5,` +
			`"created_at":"2026-01-02T03:04:01Z","updated_at":"2026-01-02T03:04:02Z","started_at":"2026-01-02T03:04:03Z",` +
			`"finished_at":"2026-01-02T03:04:04Z","due_at":"2026-01-02T03:04:05Z","error":"timeout",` +
			`"errors":[{"attempt":1,"at":"2026-01-02T03:04:06Z","error":"refused"}],` +
			`"progress":{"done":3,"total":10},"result":{"sent":true}}`: full,
		`{"id":"2","state":"ready","attempt":0}`: {ID: "2", State: status.Ready},
	} {
		if got, err := json.Marshal(record); err != nil || string(got) != want {
			t.Errorf("got %s, %v\nwant %s", got, err, want)
		}
	}
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	tracker := status.New(store.NewMemory())
	want := status.Record{
		ID: "1", Kind: "send_email", State: status.Done, Attempt: 1,
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
		Result:    json.RawMessage(`{"sent":true}`),
	}
	must(t, tracker.Create(t.Context(), want))
	got := get(t, tracker, "1")
	want.UpdatedAt = got.UpdatedAt
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestALongHistoryKeepsTheFirstFailureAndTheLast24(t *testing.T) {
	tracker := status.New(store.NewMemory())
	for attempt := 1; attempt <= 40; attempt++ {
		tracker.Update("1", attempt, func(r *status.Record) {
			r.AddFailure(status.Failure{Attempt: attempt, Error: fmt.Sprint("error ", attempt)})
		})
		must(t, tracker.Flush(t.Context()))
	}
	record := get(t, tracker, "1")
	var attempts []int
	for _, failure := range record.Errors {
		attempts = append(attempts, failure.Attempt)
	}
	if got := fmt.Sprint(attempts); got != "[1 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40]" {
		t.Errorf("the failures of these attempts are kept: %s", got)
	}
	if record.Error != "error 40" {
		t.Errorf("the latest error is %q", record.Error)
	}
}

func TestErrorTextsAreCutTo4KiBOnARuneBoundary(t *testing.T) {
	tracker := status.New(store.NewMemory())
	for shift := range 4 {
		text := strings.Repeat("x", shift) + strings.Repeat("日", 4096)
		failures := []status.Failure{{Attempt: 1, Error: text}}
		must(t, tracker.Create(t.Context(), status.Record{ID: "1", State: status.Dead, Error: text, Errors: failures}))
		record := get(t, tracker, "1")
		for _, got := range []string{record.Error, record.Errors[0].Error} {
			if len(got) > 4096 || len(got) < 4090 || !utf8.ValidString(got) || strings.ContainsRune(got, utf8.RuneError) || !strings.HasSuffix(got, "日…") {
				t.Errorf("the text was cut to %d bytes that end in %q", len(got), got[len(got)-8:])
			}
		}
		if failures[0].Error != text {
			t.Error("Create changed what it was given")
		}
	}
	short := strings.Repeat("x", 4096)
	must(t, tracker.Create(t.Context(), status.Record{ID: "1", Error: short}))
	if got := get(t, tracker, "1").Error; got != short {
		t.Errorf("a text of 4096 bytes was cut to %d", len(got))
	}
	must(t, tracker.Create(t.Context(), status.Record{ID: "1", Error: strings.Repeat("\x80", 5000)}))
}

func TestAResultThatIsNotJSONCostsTheResultAndNotTheState(t *testing.T) {
	tracker := status.New(store.NewMemory())
	tracker.Update("1", 1, func(r *status.Record) {
		r.State = status.Done
		r.Result = json.RawMessage(`{"unclosed`)
	})
	must(t, tracker.Flush(t.Context()))
	if got := get(t, tracker, "1"); got.State != status.Done || got.Result != nil || got.Error == "" {
		t.Errorf("got %+v, want the job done, without a result, and an error that says why", got)
	}
	expectDropped(t, tracker, 0)
}

func TestARecordThatCannotBeEncodedIsRefusedOrCounted(t *testing.T) {
	tracker := status.New(store.NewMemory())
	farAway := time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := tracker.Create(t.Context(), status.Record{ID: "1", DueAt: farAway}); err == nil {
		t.Error("Create of a record due in the year 12026 succeeded, which JSON cannot hold")
	}
	tracker.Update("1", 1, func(r *status.Record) { r.DueAt = farAway })
	tracker.Update("2", 1, setState(status.Done))
	must(t, tracker.Flush(t.Context()))
	expectDropped(t, tracker, 1)
	expectState(t, tracker, "2", status.Done)
}

func TestRecordsLiveAsLongAsTheirStateAsksFor(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		record  func() status.Record
		options []status.Option
		lives   time.Duration
	}{
		"finished":              {record: inState(status.Done, 0), lives: day},
		"finished, with Keep":   {record: inState(status.Dead, 0), options: []status.Option{status.Keep(time.Hour)}, lives: time.Hour},
		"finished, with Keep 0": {record: inState(status.Cancelled, 0), options: []status.Option{status.Keep(0)}, lives: day},
		"finished, once due":    {record: inState(status.Done, 50*day), lives: day},
		"ready":                 {record: inState(status.Ready, 0), lives: 30 * day},
		"running, past its due": {record: inState(status.Running, -50*day), lives: 30 * day},
		"scheduled":             {record: inState(status.Scheduled, 50*day), lives: 80 * day},
		"retrying":              {record: inState(status.Retrying, time.Hour), lives: 30*day + time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tracker := status.New(store.NewMemory(), test.options...)
				must(t, tracker.Create(t.Context(), test.record()))
				time.Sleep(test.lives - time.Millisecond)
				if _, err := tracker.Get(t.Context(), "1"); err != nil {
					t.Errorf("a millisecond before its end: %v", err)
				}
				time.Sleep(time.Millisecond)
				if _, err := tracker.Get(t.Context(), "1"); !errors.Is(err, status.ErrNotFound) {
					t.Errorf("at its end: got the error %v, want ErrNotFound", err)
				}
			})
		})
	}
}

// inState returns a constructor, since the clock is that of the bubble.
func inState(state status.State, due time.Duration) func() status.Record {
	return func() status.Record {
		return status.Record{ID: "1", State: state, DueAt: time.Now().Add(due)}
	}
}

func TestARecordDueInAThousandYearsIsKept(t *testing.T) {
	tracker := status.New(store.NewMemory())
	must(t, tracker.Create(t.Context(), status.Record{ID: "1", State: status.Scheduled, DueAt: time.Now().AddDate(1000, 0, 0)}))
	expectState(t, tracker, "1", status.Scheduled)
}
