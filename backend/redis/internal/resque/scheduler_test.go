package resque_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

func TestDelayedItemsOfEveryProducer(t *testing.T) {
	for name, payload := range map[string]string{
		"delayed_ruby": string(rubyPayload),
		"delayed_php":  `{"class":"EchoJob","args":[{"k":"\u00e9"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			raw := golden(t, name)
			queue, got, err := resque.DecodeDelayed(raw)
			if queue != "default" || string(got) != payload || err != nil {
				t.Fatalf("DecodeDelayed = %q, %s, %v", queue, got, err)
			}
			m, _, err := resque.DecodePayload(got)
			if err != nil {
				t.Fatal(err)
			}
			m.Queue = queue
			written, err := resque.AppendDelayed([]byte("before"), &m)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "what was written", string(written), "before"+string(raw))
		})
	}
}

func TestDelayedItemsHaveNoMoreThanRubyKeeps(t *testing.T) {
	m := typical()
	m.Queue = "default"
	m.Args = []byte(`{"n":1}`)
	raw, err := resque.AppendDelayed(nil, m)
	if want := `{"class":"send_email","args":[{"n":1}],"queue":"default"}`; string(raw) != want || err != nil {
		t.Errorf("AppendDelayed = %s, %v, want %s", raw, err, want)
	}
}

func TestDelayedItemsAreSplit(t *testing.T) {
	for raw, want := range map[string]string{
		`{"queue":"q","class":"K","args":[]}`:                 `{"class":"K","args":[]}`,
		` { "class" : "K" , "queue" : "q" , "x" : [ 1.0 ] } `: `{"class":"K","x":[ 1.0 ]}`,
		`{"class":"K","\u0071ueue":"q","\u0061":1}`:           `{"class":"K","\u0061":1}`,
		`{"queue":"q"}`: `{}`,
		`{"class":"K","custom":{"queue":"other"},"queue":"q"}`:   `{"class":"K","custom":{"queue":"other"}}`,
		`{"class":"K","args":["{\"queue\":\"x\"}"],"queue":"q"}`: `{"class":"K","args":["{\"queue\":\"x\"}"]}`,
	} {
		queue, payload, err := resque.DecodeDelayed([]byte(raw))
		if queue != "q" || string(payload) != want || err != nil {
			t.Errorf("DecodeDelayed(%s) = %q, %s, %v, want %s", raw, queue, payload, err, want)
		}
	}
	for raw, reason := range map[string]string{
		`{"class":"K","args":[]}`:               "no queue",
		`{"class":"K","queue":""}`:              "no queue",
		`{"class":"K","queue":null}`:            `member "queue": not a string`,
		`{"class":"K","queue":"a","queue":"b"}`: `member "queue" stands twice`,
		`["queue"]`:                             "not a JSON object",
		``:                                      "not valid JSON",
		strings.Repeat(" ", backend.MaxEnvelope) + `{"a":1}`: "at most 16777216 are decoded",
	} {
		queue, payload, err := resque.DecodeDelayed([]byte(raw))
		if queue != "" || payload != nil || !errors.Is(err, backend.ErrMalformed) || !strings.Contains(err.Error(), reason) {
			t.Errorf("DecodeDelayed(%.80s) = %q, %s, %v, want ErrMalformed with %q", raw, queue, payload, err, reason)
		}
	}
}

func TestDelayedItemsAreRefused(t *testing.T) {
	for name, m := range map[string]backend.Message{
		"no kind":  {Queue: "q", Args: []byte("1")},
		"no queue": {Kind: "K", Args: []byte("1")},
		"no args":  {Kind: "K", Queue: "q"},
		"a queue":  {Kind: "K", Queue: "\xff", Args: []byte("1")},
	} {
		if raw, err := resque.AppendDelayed([]byte("before"), &m); !errors.Is(err, backend.ErrInvalid) || string(raw) != "before" {
			t.Errorf("%s: AppendDelayed = %s, %v, want ErrInvalid", name, raw, err)
		}
	}
	large := backend.Message{Kind: "K", Queue: "q", Args: make([]byte, backend.MaxEnvelope+1)}
	if _, err := resque.AppendDelayed(nil, &large); !errors.Is(err, backend.ErrTooLarge) {
		t.Errorf("large args: %v, want ErrTooLarge", err)
	}
}

func TestSchedules(t *testing.T) {
	for name, want := range map[string]resque.Schedule{
		"schedule_cron": {Cron: "* * * * *", Class: "EchoJob", Queue: "default", Args: json.RawMessage(`[1,"two"]`)},
		"schedule_every": {
			Every: []json.RawMessage{json.RawMessage(`"2s"`), json.RawMessage(`{}`)},
			Class: "EchoJob", Queue: "default", Args: json.RawMessage(`{"n":1}`),
		},
	} {
		raw := golden(t, name)
		got, err := resque.DecodeSchedule(raw)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, got, want)
		written, err := resque.AppendSchedule([]byte("before"), &got)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, string(written), "before"+string(raw))
	}
}

func TestSchedulesAreReadLeniently(t *testing.T) {
	for raw, want := range map[string]resque.Schedule{
		`{"every":"15mins","class":"K","args":null}`:           {Every: []json.RawMessage{json.RawMessage(`"15mins"`)}, Class: "K"},
		`{"cron":["* * * * *",{"first_in":1}],"queue":"high"}`: {Cron: "* * * * *", Queue: "high"},
		`{"cron":[],"every":null,"description":"x"}`:           {},
	} {
		got, err := resque.DecodeSchedule([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		equal(t, raw, got, want)
	}
	if s, err := resque.DecodeSchedule([]byte(`"* * * * *"`)); !errors.Is(err, backend.ErrMalformed) {
		t.Errorf("DecodeSchedule = %+v, %v, want ErrMalformed", s, err)
	}
	for _, s := range []resque.Schedule{
		{}, {Class: "K"}, {Cron: "* * * * *"}, {Class: "K", Cron: "x", Every: []json.RawMessage{isTrue}},
		{Class: "K", Cron: "x", Args: json.RawMessage("1e400")}, {Class: "K", Every: []json.RawMessage{nil}},
	} {
		if raw, err := resque.AppendSchedule([]byte("before"), &s); !errors.Is(err, backend.ErrInvalid) || string(raw) != "before" {
			t.Errorf("AppendSchedule(%+v) = %s, %v, want ErrInvalid", s, raw, err)
		}
	}
}
