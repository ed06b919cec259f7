package resque_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// breaking are items of a list that were seen to end a Ruby worker, and to be
// lost by it and by PHP's.
var breaking = map[string]string{
	"not JSON":                "hello",
	"empty":                   "",
	"blank":                   " ",
	"null":                    "null",
	"a list":                  "[1,2]",
	"a number":                "42",
	"a string":                `"text"`,
	"a lone high surrogate":   `{"class":"K","args":["\ud800"]}`,
	"a lone low surrogate":    `{"class":"K","args":["\uDC00"]}`,
	"two high surrogates":     `{"class":"K","args":["\ud83d\ud83d\ude00"]}`,
	"a surrogate as a name":   `{"class":"K","args":[{"\ud800":1}]}`,
	"a surrogate elsewhere":   `{"class":"K","args":[],"x":"\ud800"}`,
	"a surrogate as class":    `{"class":"\ud800","args":[]}`,
	"a surrogate in go":       `{"class":"K","args":[],"go":{"headers":{"a":"\udfff"}}}`,
	"a number beyond all":     `{"class":"K","args":[1e400]}`,
	"a number below all":      `{"class":"K","args":[{"a":[-1E+400]}]}`,
	"a number with no end":    `{"class":"K","args":[` + strings.Repeat("9", 400) + `]}`,
	"a number beyond by one":  `{"class":"K","args":[17976931348623159e292]}`,
	"a number elsewhere":      `{"class":"K","args":[],"x":1e309}`,
	"invalid UTF-8":           "{\"class\":\"K\",\"args\":[\"\xff\"]}",
	"a surrogate in UTF-8":    "{\"class\":\"K\",\"args\":[\"\xed\xa0\x80\"]}",
	"101 levels when working": `{"class":"K","args":` + string(nested(99)) + `}`,
}

func TestItemsThatBreakAWorkerAreMalformed(t *testing.T) {
	for name, raw := range breaking {
		t.Run(name, func(t *testing.T) {
			if _, _, err := resque.DecodePayload([]byte(raw)); !errors.Is(err, backend.ErrMalformed) {
				t.Errorf("DecodePayload: %v, want ErrMalformed", err)
			}
			delayed := strings.Replace(raw, "{", `{"queue":"default",`, 1)
			if _, _, err := resque.DecodeDelayed([]byte(delayed)); !errors.Is(err, backend.ErrMalformed) {
				t.Errorf("DecodeDelayed: %v, want ErrMalformed", err)
			}
		})
	}
}

// Wherever a message has a value of its own, one that breaks a worker is
// refused.
func TestValuesThatBreakAWorkerAreNotWritten(t *testing.T) {
	for name, value := range map[string]string{
		"nothing": "", "text": "hello", "an open list": "[1", "a lone surrogate": `"\ud800"`, "a name": `{"\udfff":1}`,
		"a number beyond all": "1e400", "a long one": strings.Repeat("9", 400), "invalid UTF-8": "\"\xff\"",
		"a surrogate in UTF-8": "\"\xed\xa0\x80\"", "two values": "1 2", "NaN": "NaN", "Infinity": "-Infinity",
	} {
		for where, m := range map[string]backend.Message{
			"args":   {Args: []byte(value)},
			"list":   {Args: []byte("[1," + value + "]"), Extra: extra{"positional": isTrue}},
			"go":     {Args: []byte("1"), Extra: extra{"x": json.RawMessage(value)}},
			"member": {Args: []byte("1"), Extra: extra{"resque.x": json.RawMessage(value)}},
			"id":     {Args: []byte("1"), Extra: extra{"resque.id": json.RawMessage(value)}},
			"prefix": {Args: []byte("1"), Extra: extra{"resque.prefix": json.RawMessage(value)}},
		} {
			t.Run(name+" in "+where, func(t *testing.T) {
				m.Kind, m.Queue = "K", "default"
				if raw, err := resque.AppendPayload(nil, &m, 0); !errors.Is(err, backend.ErrInvalid) {
					t.Errorf("AppendPayload = %s, %v, want ErrInvalid", raw, err)
				}
				if where != "args" && where != "list" {
					return // a delayed item has none of the others
				}
				if raw, err := resque.AppendDelayed(nil, &m); !errors.Is(err, backend.ErrInvalid) {
					t.Errorf("AppendDelayed = %s, %v, want ErrInvalid", raw, err)
				}
			})
		}
	}
}

// What broke a worker is kept where a person can see it, and neither resque-web
// nor a worker's start is stopped by it.
func TestWhatBreaksAWorkerIsShownHarmlessly(t *testing.T) {
	for name, raw := range breaking {
		t.Run(name, func(t *testing.T) {
			want := resque.Failed{
				Queue: "default", Payload: []byte(raw), Worker: "vm-go-x:1:default", Key: "k",
				Failure: backend.Failure{At: failedAt, Error: "malformed", Type: "T", Worker: "vm:1"},
			}
			entry, err := resque.AppendFailed(nil, &want)
			if err != nil {
				t.Fatal(err)
			}
			checkEntry(t, entry)
			got, err := resque.DecodeFailed(entry)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the entry", got, want)

			working := resque.AppendWorking(nil, "default", failedAt, []byte(raw))
			if err := unreadable(working); err != nil {
				t.Errorf("a worker's key would be %s: %v", working, err)
			}
		})
	}
}

// checkEntry complains about an entry that resque-web cannot show: one that
// is not JSON, or has no failed_at that can be parsed, no worker, a string
// as backtrace, or no object as payload.
func checkEntry(t *testing.T, raw []byte) {
	t.Helper()
	if err := unreadable(raw); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	var entry struct {
		FailedAt  string   `json:"failed_at"`
		Worker    *string  `json:"worker"`
		Backtrace []string `json:"backtrace"`
		Payload   struct {
			Class string `json:"class"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(raw, &entry); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if _, err := time.Parse("2006/01/02 15:04:05 UTC", entry.FailedAt); err != nil {
		t.Error(err)
	}
	switch {
	case entry.Worker == nil:
		t.Errorf("%s has no worker", raw)
	case entry.Backtrace == nil:
		t.Errorf("%s has a null as backtrace", raw)
	case entry.Payload.Class == "":
		t.Errorf("%s has a payload without a class", raw)
	}
}

// Entries that break resque-web are read as far as they can be.
func TestEntriesThatBreakTheWebAreRead(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		want resque.Failed
	}{
		{`{"payload":{"class":"K"},"worker":"vm:1:q","queue":"q"}`,
			resque.Failed{Queue: "q", Payload: []byte(`{"class":"K"}`), Worker: "vm:1:q", Failure: backend.Failure{Worker: "vm:1"}}},
		{`{"failed_at":"yesterday","error":"boom","queue":"q"}`,
			resque.Failed{Queue: "q", Failure: backend.Failure{Error: "boom"}}},
		{`{"failed_at":"2026/11/21 01:28:33 UTC","backtrace":"a string","queue":"q"}`,
			resque.Failed{Queue: "q", Failure: backend.Failure{At: failedAt, Backtrace: []string{"a string"}}}},
		{`{"payload":"text","exception":null,"error":{"a":1},"backtrace":[1,null],"worker":7,"go":[]}`,
			resque.Failed{Payload: []byte(`"text"`), Worker: "7", Failure: backend.Failure{Error: `{"a":1}`, Worker: "7", Backtrace: []string{"1", ""}}}},
		{`{"error":"half \ud800 a pair","queue":"q"}`,
			resque.Failed{Queue: "q", Failure: backend.Failure{Error: "half \ufffd a pair"}}},
		{`{"payload":{"class":"K","args":[1e400,"\ud800"]},"queue":"q"}`,
			resque.Failed{Queue: "q", Payload: []byte(`{"class":"K","args":[1e400,"\ud800"]}`)}},
		{`{"go":{"key":1,"at":"x","raw":"?","worker":null,"type":[]}}`,
			resque.Failed{Key: "1", Failure: backend.Failure{Type: "[]"}}},
		{` {} `, resque.Failed{}},
	} {
		got, err := resque.DecodeFailed([]byte(tt.raw))
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
		}
		equal(t, tt.raw, got, tt.want)
	}
	for _, raw := range []string{"", "hello", "null", "[]", `"x"`, "{", "{\"queue\":\"\xff\"}", `{"payload":` + string(nested(100)) + `}`} {
		if f, err := resque.DecodeFailed([]byte(raw)); !errors.Is(err, backend.ErrMalformed) {
			t.Errorf("DecodeFailed(%q) = %+v, %v, want ErrMalformed", raw, f, err)
		}
	}
}

func TestWorkersAreWrittenSoThatRubyStarts(t *testing.T) {
	for _, id := range []string{
		resque.WorkerID("vm", 17146, []string{"high", "default"}, "7Q4Z"),
		resque.WorkerID("", 0, nil, ""),
		resque.WorkerID("::1", 1, []string{""}, "a:b"),
		resque.WorkerID("vm", 1, []string{":x"}, "n"),
		resque.WorkerID("vm", 1, []string{"", ":"}, "n"),
		resque.WorkerID("\xff", 1, []string{"\xff"}, "n"),
	} {
		// As lib/resque/worker.rb does it, of version 1 and of later ones.
		parts := strings.Split(strings.TrimRight(id, ":"), ":")
		if len(parts) < 3 || strings.Trim(parts[2], ",") == "" {
			t.Errorf("the id %q has not three parts", id)
		}
		if _, ok := resque.ParseWorkerID(id); !ok || !bytes.Equal([]byte(id), bytes.ToValidUTF8([]byte(id), nil)) {
			t.Errorf("the id %q is none", id)
		}
	}
	if _, err := time.Parse(time.RFC3339, resque.Heartbeat(time.Now())); err != nil {
		t.Error(err)
	}
}
