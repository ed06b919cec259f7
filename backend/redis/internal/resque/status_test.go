package resque_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

func TestStatus(t *testing.T) {
	second := enqueuedAt.Truncate(time.Second)
	for name, want := range map[string]resque.Status{
		"status_php":       {State: resque.StatusWaiting, Updated: second, Started: second},
		"status_php_chris": {State: resque.StatusComplete, Updated: second},
	} {
		got, err := resque.DecodeStatus(golden(t, name))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, got, want)
	}
	got, err := resque.AppendStatus([]byte("before"), &resque.Status{State: resque.StatusWaiting, Updated: enqueuedAt, Started: enqueuedAt})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the status", string(got), "before"+string(golden(t, "status_php")))

	got, err = resque.AppendStatus(nil, &resque.Status{State: resque.StatusFailed, Result: json.RawMessage(`{"a": 1}`)})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the status", string(got), `{"status":3,"updated":null,"started":null,"result":{"a": 1}}`)
}

func TestStatusIsReadLeniently(t *testing.T) {
	for raw, want := range map[string]resque.Status{
		`{"status":"2","updated":"1795225601","started":" 1795225601.5 ","result":"x"}`: {
			State: 2, Updated: time.Unix(1795225601, 0).UTC(), Started: time.Unix(1795225601, 5e8).UTC(), Result: json.RawMessage(`"x"`),
		},
		`{"status":3,"updated":null,"started":false,"result":false}`: {State: 3, Result: json.RawMessage(`false`)},
		`{"status":1,"updated":"","started":"soon"}`:                 {State: 1},
		`{"status":1,"updated":"1 ","started":"[1]"}`:                {State: 1, Updated: time.Unix(1, 0).UTC()},
	} {
		got, err := resque.DecodeStatus([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		equal(t, raw, got, want)
	}
	for _, raw := range []string{"", "[]", "{}", `{"status":null}`, `{"status":"x"}`, `{"status":1.5}`} {
		if s, err := resque.DecodeStatus([]byte(raw)); !errors.Is(err, backend.ErrMalformed) {
			t.Errorf("DecodeStatus(%s) = %+v, %v, want ErrMalformed", raw, s, err)
		}
	}
}

func TestStatusRefusesWhatPHPCannotRead(t *testing.T) {
	for _, result := range []string{"", "x", `"\ud800"`, "1e400"} {
		s := resque.Status{State: 4, Result: json.RawMessage(result)}
		if got, err := resque.AppendStatus([]byte("before"), &s); !errors.Is(err, backend.ErrInvalid) || string(got) != "before" {
			t.Errorf("AppendStatus(%s) = %s, %v, want ErrInvalid", result, got, err)
		}
	}
}

func TestStatusKey(t *testing.T) {
	equal(t, "the key", resque.StatusKey("", "7"), "job:7:status")
	equal(t, "the key", resque.StatusKey("mail", "7"), "job:mail_7:status")
}
