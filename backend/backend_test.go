package backend_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

func TestNewBatchErrorOfNothingWrongIsNil(t *testing.T) {
	for _, errs := range [][]error{nil, {}, {nil, nil}} {
		if err := backend.NewBatchError(errs); err != nil {
			t.Errorf("NewBatchError(%v) = %v", errs, err)
		}
	}
}

func TestBatchErrorTellsHowManyFailedAndWhyTheFirstDid(t *testing.T) {
	err := backend.NewBatchError([]error{nil, backend.ErrLeaseLost, nil, backend.ErrTooLarge})
	if got, want := err.Error(), "2 of 4 failed, the first with: "+backend.ErrLeaseLost.Error(); got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	if !errors.Is(err, backend.ErrLeaseLost) || !errors.Is(err, backend.ErrTooLarge) || errors.Is(err, backend.ErrClosed) {
		t.Error("errors.Is does not find exactly the errors of the items")
	}
	alone := backend.NewBatchError([]error{backend.ErrTooLarge})
	if got, want := alone.Error(), backend.ErrTooLarge.Error(); got != want {
		t.Errorf("the error of a single item is %q, want %q", got, want)
	}
}

func TestErrorAtFindsTheErrorOfAnItem(t *testing.T) {
	batch := backend.NewBatchError([]error{nil, backend.ErrLeaseLost})
	wrapped := fmt.Errorf("settle: %w", batch)
	tests := []struct {
		err  error
		i    int
		want error
	}{
		{nil, 0, nil},
		{batch, 0, nil},
		{batch, 1, backend.ErrLeaseLost},
		{batch, 2, nil},
		{wrapped, 0, nil},
		{wrapped, 1, backend.ErrLeaseLost},
		{backend.ErrClosed, 0, backend.ErrClosed},
		{backend.ErrClosed, 5, backend.ErrClosed},
	}
	for _, tt := range tests {
		if got := backend.ErrorAt(tt.err, tt.i); got != tt.want {
			t.Errorf("ErrorAt(%v, %d) = %v, want %v", tt.err, tt.i, got, tt.want)
		}
	}
}

// limited is a backend with limits; wrapping adds nothing to one.
type (
	limited  struct{ backend.Backend }
	wrapping struct{ inner backend.Backend }
	wrapper  struct {
		backend.Backend
		wrapping
	}
)

func (limited) Limits() backend.Limits       { return backend.Limits{MaxBatch: 10} }
func (w wrapping) Unwrap() backend.Backend   { return w.inner }
func wrap(b backend.Backend) backend.Backend { return wrapper{wrapping: wrapping{b}} }

func TestAsLooksAlongUnwrap(t *testing.T) {
	for name, b := range map[string]backend.Backend{
		"itself":        limited{},
		"wrapped":       wrap(limited{}),
		"wrapped twice": wrap(wrap(limited{})),
	} {
		l, ok := backend.As[backend.Limiter](b)
		if !ok || l.Limits().MaxBatch != 10 {
			t.Errorf("%s: no Limiter found", name)
		}
		if _, ok := backend.As[backend.Pauser](b); ok {
			t.Errorf("%s: a Pauser found where none is", name)
		}
	}
	for name, b := range map[string]backend.Backend{"nil": nil, "without": fake{}, "around nil": wrap(nil)} {
		if l, ok := backend.As[backend.Limiter](b); ok || l != nil {
			t.Errorf("%s: As = %v, %t", name, l, ok)
		}
	}
}

func TestAsFindsTheOutermost(t *testing.T) {
	type outer struct {
		limited
		wrapping
	}
	b := outer{wrapping: wrapping{fake{}}}
	if got, ok := backend.As[interface{ Unwrap() backend.Backend }](b); !ok || got != any(b) {
		t.Errorf("As = %v, %t", got, ok)
	}
}

func TestLimitsOfFillsInTheDefaults(t *testing.T) {
	want := backend.Limits{MaxBody: backend.MaxEnvelope}
	if got := backend.LimitsOf(fake{}); got != want {
		t.Errorf("without a Limiter: %+v", got)
	}
	want.MaxBatch = 10
	if got := backend.LimitsOf(wrap(limited{})); got != want {
		t.Errorf("with a Limiter: %+v", got)
	}
}

func TestStatesHaveNames(t *testing.T) {
	for state, want := range map[backend.State]string{
		backend.Ready: "ready", backend.Scheduled: "scheduled", backend.Reserved: "reserved", backend.Dead: "dead", -1: "invalid", 99: "invalid",
	} {
		if got := state.String(); got != want {
			t.Errorf("State(%d).String() = %q, want %q", int(state), got, want)
		}
	}
}

func TestQueueNames(t *testing.T) {
	longest := strings.Repeat("q", backend.MaxQueueName)
	for _, name := range []string{"q", "0", "email.priority", "a-b_c:d/e+F", "_", ".", longest} {
		if err := backend.CheckQueueName(name); err != nil {
			t.Errorf("CheckQueueName(%q) = %v", name, err)
		}
	}
	for name, part := range map[string]string{
		"":            "no name",
		"-q":          `may not have '-' at byte 0`,
		"a b":         `may not have ' ' at byte 1`,
		"q\n":         `may not have '\n' at byte 1`,
		"q\x00":       `may not have '\x00' at byte 1`,
		"qé":          `may not have 'é' at byte 1`,
		"*":           `may not have '*' at byte 0`,
		"a*":          `may not have '*' at byte 1`,
		longest + "q": "is 201 bytes long",
	} {
		wantError(t, backend.CheckQueueName(name), part)
	}
	if err := backend.CheckQueueName(strings.Repeat("x", 1<<20)); len(err.Error()) > 500 {
		t.Errorf("the error of a huge name has %d bytes", len(err.Error()))
	}
}

func TestQueuesOfAReserve(t *testing.T) {
	for _, tt := range []struct {
		queues []string
		all    bool
		want   error
	}{
		{[]string{"a"}, false, nil},
		{[]string{"a", "b", "a"}, false, nil},
		{[]string{"*"}, true, nil},
		{[]string{"a", "*"}, true, nil},
		{nil, true, backend.ErrInvalid},
		{[]string{"a", ""}, true, backend.ErrInvalid},
		{[]string{"a*"}, true, backend.ErrInvalid},
		{[]string{"*", "a"}, true, backend.ErrInvalid},
		{[]string{"*", "*"}, true, backend.ErrInvalid},
		{[]string{"*", "a"}, false, backend.ErrInvalid},
		{[]string{"*"}, false, backend.ErrUnsupported},
		{[]string{"a", "*"}, false, backend.ErrUnsupported},
	} {
		if err := backend.CheckQueues(tt.queues, tt.all); !errors.Is(err, tt.want) {
			t.Errorf("CheckQueues(%q, %t) = %v, want %v", tt.queues, tt.all, err, tt.want)
		}
	}
}

func TestFailureHasAStableJSONForm(t *testing.T) {
	f := backend.Failure{
		At:        time.Date(2026, 11, 21, 10, 15, 0, 0, time.UTC),
		Error:     "boom",
		Type:      "*queue.PanicError",
		Backtrace: []string{"main.go:1"},
		Worker:    "host:1",
	}
	const want = `{"at":"2026-11-21T10:15:00Z","error":"boom","type":"*queue.PanicError","backtrace":["main.go:1"],"worker":"host:1"}`
	got, err := json.Marshal(f)
	if err != nil || string(got) != want {
		t.Errorf("Marshal = %s, %v, want %s", got, err, want)
	}
	var back backend.Failure
	if err := json.Unmarshal([]byte(want), &back); err != nil || !back.At.Equal(f.At) || !slices.Equal(back.Backtrace, f.Backtrace) {
		t.Errorf("Unmarshal = %+v, %v", back, err)
	}
}
