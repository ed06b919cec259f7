package resque_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

type extra = map[string]json.RawMessage

var isTrue = json.RawMessage("true")

// What each producer writes is read as the same job, and written back.
func TestPayloadsOfEveryProducer(t *testing.T) {
	micros := enqueuedAt.Truncate(time.Microsecond)
	const phpID = "0af7651916cd43dd8448eb211c80319c"
	for name, tt := range map[string]struct {
		message    backend.Message
		deliveries int
		written    string // if not as it was
	}{
		"payload_go": {message: backend.Message{
			Kind: "send_email", ID: "01JD7Q4Z5M8X9W2V3T6R1KYNPC", Args: []byte(`{"to":"ann@example.org"}`), EnqueuedAt: enqueuedAt,
		}},
		"payload_go_retried": {deliveries: 1, message: backend.Message{
			Kind: "send_email", ID: "01JD7Q4Z5M8X9W2V3T6R1KYNPC", Args: []byte(`{"to":"ann@example.org"}`), EnqueuedAt: enqueuedAt,
			Attempt: 2, MaxAttempts: 5, Priority: -7,
			Header: map[string]string{"traceparent": "00-0a-b7-01", "a": "b\n"},
			Extra: extra{
				"resque.prefix": json.RawMessage(`"mail"`),
				"resque.locale": json.RawMessage(`"de"`),
				"resque.tags":   json.RawMessage(`[ 1.0, 12345678901234567 ]`),
				"errors":        json.RawMessage(`["boom"]`),
				"timeout":       json.RawMessage(`"30s"`),
			},
		}},
		"payload_ruby":      {message: backend.Message{Kind: "EchoJob", Args: []byte(`[1,"two",{"k":null}]`), Extra: extra{"positional": isTrue}}},
		"payload_ruby_none": {message: backend.Message{Kind: "EchoJob", Args: []byte(`[]`), Extra: extra{"positional": isTrue}}},
		"payload_php": {
			message: backend.Message{Kind: "EchoJob", ID: phpID, Args: []byte(`{"k":"\u00e9"}`), EnqueuedAt: micros},
			written: `{"class":"EchoJob","args":[{"k":"\u00e9"}],"id":"` + phpID + `","prefix":"","queue_time":1795225601.082353000}`,
		},
		"payload_php_chris": {
			message: backend.Message{Kind: "EchoJob", ID: phpID, Args: []byte(`{"k":"\u00e9"}`), EnqueuedAt: micros},
			written: `{"class":"EchoJob","args":[{"k":"\u00e9"}],"id":"` + phpID + `","prefix":"","queue_time":1795225601.082353000}`,
		},
		"payload_php_prefix": {
			message: backend.Message{Kind: "EchoJob", ID: phpID, Args: []byte(`null`), EnqueuedAt: micros, Extra: extra{"resque.prefix": json.RawMessage(`"mail"`)}},
			written: `{"class":"EchoJob","args":[null],"id":"` + phpID + `","prefix":"mail","queue_time":1795225601.082353000}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw := golden(t, name)
			m, deliveries, err := resque.DecodePayload(raw)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the message", m, tt.message)
			equal(t, "deliveries", deliveries, tt.deliveries)
			written, err := resque.AppendPayload([]byte("before"), &m, deliveries)
			if err != nil {
				t.Fatal(err)
			}
			if tt.written == "" {
				tt.written = string(raw)
			}
			equal(t, "what was written", string(written), "before"+tt.written)
		})
	}
}

func TestPayloadKeepsEveryField(t *testing.T) {
	want := backend.Message{
		ID:          "a\"\\\b\f\n\r\t\x00\x7f<>&\u2028é😀",
		Kind:        "é\n",
		Args:        []byte(`{ "n" : 12345678901234567, "f":1e308, "e":[ ], "s":"\ud83d\ude00\\ud800" }`),
		Attempt:     1 << 30,
		MaxAttempts: 25,
		Priority:    math.MinInt,
		EnqueuedAt:  enqueuedAt,
		Header:      map[string]string{"": "", "b": "2", "a\n": "é"},
		Extra:       extra{"": json.RawMessage(`null`), "z": json.RawMessage(`[1, 2]`), "resque.": isTrue, "resque.\x00": isTrue},
	}
	raw, err := resque.AppendPayload(nil, &want, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := unreadable(raw); err != nil {
		t.Errorf("%s: %v", raw, err)
	}
	got, deliveries, err := resque.DecodePayload(raw)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the message", got, want)
	equal(t, "deliveries", deliveries, 3)
}

func TestPayloadLeavesOutQueueAndDelay(t *testing.T) {
	raw, err := resque.AppendPayload(nil, &backend.Message{Kind: "K", Args: []byte("1"), Queue: "secretqueue", Delay: 77}, 0)
	if want := `{"class":"K","args":[1]}`; string(raw) != want || err != nil {
		t.Errorf("AppendPayload = %s, %v, want %s", raw, err, want)
	}
}

// A list of one argument is that argument. Any other list is Args as a whole,
// and "positional" says so; it is stored only where it does not follow.
func TestArgumentsInALine(t *testing.T) {
	for _, tt := range []struct{ payload, args, extra, written string }{
		{`{"class":"K","args":[1]}`, `1`, ``, ``},
		{`{"class":"K","args":[[1,2]]}`, `[1,2]`, ``, ``},
		{`{"class":"K","args":[[]]}`, `[]`, ``, ``},
		{`{"class":"K","args":[1,2]}`, `[1,2]`, `true`, ``},
		{`{"class":"K","args":[]}`, `[]`, `true`, ``},
		{`{"class":"K","args":[[1],[2]]}`, `[[1],[2]]`, `true`, ``},
		{`{"class":"K","args":[1],"go":{"positional":true}}`, `[1]`, `true`, ``},
		{`{"class":"K","args":[1],"go":{"positional":false}}`, `1`, `false`, ``},
		{`{"class":"K","args":[1],"go":{"positional":[true]}}`, `1`, `[true]`, ``},
		{`{"class":"K","args":[1,2],"go":{"positional":true}}`, `[1,2]`, `true`, `{"class":"K","args":[1,2]}`},
		{`{"class":"K","args":[1,2],"go":{"positional":false}}`, `[1,2]`, `true`, `{"class":"K","args":[1,2]}`},
		{`{"class":"K","args": [ 1 , 2 ] }`, `[ 1 , 2 ]`, `true`, `{"class":"K","args":[ 1 , 2 ]}`},
		{`{"class":"K","args":[ {"a" : 1} ]}`, `{"a" : 1}`, ``, `{"class":"K","args":[{"a" : 1}]}`},
		{`{"class":"K","args":null}`, `[]`, `true`, `{"class":"K","args":[]}`},
		{`{"class":"K"}`, `[]`, `true`, `{"class":"K","args":[]}`},
	} {
		m, _, err := resque.DecodePayload([]byte(tt.payload))
		if err != nil {
			t.Errorf("%s: %v", tt.payload, err)
			continue
		}
		if string(m.Args) != tt.args || string(m.Extra["positional"]) != tt.extra {
			t.Errorf("%s: args %s, positional %s, want %s and %s", tt.payload, m.Args, m.Extra["positional"], tt.args, tt.extra)
		}
		if tt.written == "" {
			tt.written = tt.payload
		}
		if written, err := resque.AppendPayload(nil, &m, 0); string(written) != tt.written || err != nil {
			t.Errorf("%s was written as %s, %v, want %s", tt.payload, written, err, tt.written)
		}
	}
}

func TestArgsThatAreNoListAreNotPositional(t *testing.T) {
	m := backend.Message{Kind: "K", Args: []byte(`{"a":1}`), Extra: extra{"positional": isTrue}}
	raw, err := resque.AppendPayload(nil, &m, 0)
	if want := `{"class":"K","args":[{"a":1}]}`; string(raw) != want || err != nil {
		t.Errorf("AppendPayload = %s, %v, want %s", raw, err, want)
	}
}

// Whatever another producer puts into a payload comes through a retry unharmed,
// in its place: beside class, or in "go".
func TestUnknownMembersSurviveByteForByte(t *testing.T) {
	for _, tt := range []struct{ payload, written string }{
		{`{"class":"K","args":[1],"at":1.50,"b":{ "c":[ ] }}`, ``},
		{`{"x":1,"class":"K","args":[1],"b":null}`, `{"class":"K","args":[1],"b":null,"x":1}`},
		{`{"class":"K","args":[1],"attempt":"x","headers":7,"positional":true}`, ``},
		{`{"class":"K","args":[1],"go":{"a":1.0,"class":null,"id":[ 1 ]}}`, ``},
		{`{"class":"K","args":[1],"x":1,"go":{"x":2}}`, ``},
		{`{"class":"K","args":[1],"resque.x":1}`, ``},
		{`{"class":"K","args":[1],"\u0078":1}`, `{"class":"K","args":[1],"x":1}`},
		{`{"class":"K","args":[1],"go":{}}`, `{"class":"K","args":[1]}`},
		{`{"class":"K","args":[1],"go":null,"id":null,"prefix":null,"queue_time":null}`, `{"class":"K","args":[1]}`},
		{`{"class":"K","args":[1],"go":{"attempt":0,"headers":[ ],"priority":null}}`, `{"class":"K","args":[1]}`},
		// ids and prefixes
		{`{"class":"K","args":[1],"id":"a","prefix":""}`, ``},
		{`{"class":"K","args":[1],"id":"a"}`, `{"class":"K","args":[1],"id":"a","prefix":""}`},
		{`{"class":"K","args":[1],"id":"a","prefix":"p"}`, ``},
		{`{"class":"K","args":[1],"id":"a","prefix":false}`, ``},
		{`{"class":"K","args":[1],"prefix":"p"}`, ``},
		{`{"class":"K","args":[1],"prefix":""}`, `{"class":"K","args":[1]}`},
		{`{"class":"K","args":[1],"id":7}`, ``},
		{`{"class":"K","args":[1],"id":{"a":1},"prefix":"p"}`, ``},
		{`{"class":"K","args":[1],"id":""}`, `{"class":"K","args":[1]}`},
	} {
		m, deliveries, err := resque.DecodePayload([]byte(tt.payload))
		if err != nil {
			t.Errorf("%s: %v", tt.payload, err)
			continue
		}
		if tt.written == "" {
			tt.written = tt.payload
		}
		if written, err := resque.AppendPayload(nil, &m, deliveries); string(written) != tt.written || err != nil {
			t.Errorf("%s was written as %s, %v, want %s", tt.payload, written, err, tt.written)
		}
	}
}

func TestAnIDTakesThePlaceOfOneThatIsNoString(t *testing.T) {
	m, _, err := resque.DecodePayload([]byte(`{"class":"K","args":[1],"id":7}`))
	if err != nil || m.ID != "" || string(m.Extra["resque.id"]) != "7" {
		t.Fatalf("%+v, %v", m, err)
	}
	m.ID = "new"
	raw, err := resque.AppendPayload(nil, &m, 0)
	if want := `{"class":"K","args":[1],"id":"new","prefix":""}`; string(raw) != want || err != nil {
		t.Errorf("AppendPayload = %s, %v, want %s", raw, err, want)
	}
}

// An Extra can neither hide a field nor write one twice.
func TestExtrasWithTheNameOfAFieldAreLeftOut(t *testing.T) {
	all := extra{}
	for _, name := range []string{"attempt", "max_attempts", "priority", "deliveries", "headers"} {
		all[name] = json.RawMessage("1")
	}
	for _, name := range []string{"class", "args", "queue_time", "go"} {
		all["resque."+name] = json.RawMessage("1")
	}
	raw, err := resque.AppendPayload(nil, &backend.Message{Kind: "K", Args: []byte("1"), Extra: all}, 0)
	if want := `{"class":"K","args":[1]}`; string(raw) != want || err != nil {
		t.Errorf("AppendPayload = %s, %v, want %s", raw, err, want)
	}
}

func TestTimesAreExact(t *testing.T) {
	for text, want := range map[string]time.Time{
		"1795225601.082353":           time.Date(2026, 11, 21, 1, 46, 41, 82353000, time.UTC), // PHP's microtime(true)
		"1795225601.0823":             time.Date(2026, 11, 21, 1, 46, 41, 82300000, time.UTC),
		"1795225601.082353123":        enqueuedAt,
		"1795225601.0823531239999":    enqueuedAt,
		"1795225601":                  enqueuedAt.Truncate(time.Second),
		"1795225601.0":                enqueuedAt.Truncate(time.Second),
		"1.795225601082353123e9":      enqueuedAt,
		"1.795225601082353123E+09":    enqueuedAt,
		"1795225601082353123e-9":      enqueuedAt,
		"0.001795225601082353123e12":  enqueuedAt,
		"17952256010823531230000e-13": enqueuedAt,
		"0":                           time.Unix(0, 0).UTC(),
		"-0":                          time.Unix(0, 0).UTC(),
		"0e99999999999999999999":      time.Unix(0, 0).UTC(),
		"0.0000e-9":                   time.Unix(0, 0).UTC(),
		"1e-9":                        time.Unix(0, 1).UTC(),
		"1e-10":                       time.Unix(0, 0).UTC(),
		"5e-99999999999999999999":     time.Unix(0, 0).UTC(),
		"0.05":                        time.Unix(0, 5e7).UTC(),
		"-0.5":                        time.Unix(0, -5e8).UTC(),
		"-1.25":                       time.Unix(-1, -25e7).UTC(),
		"-62167219200":                time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
		"253402300799.999999999":      time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
		"-62135596800":                {}, // which is what Go calls zero
		"0.1e1":                       time.Unix(1, 0).UTC(),
	} {
		m, _, err := resque.DecodePayload([]byte(`{"class":"K","args":[1],"queue_time":` + text + `}`))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		equal(t, text, m.EnqueuedAt, want)
		raw, err := resque.AppendPayload(nil, &m, 0)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		again, _, err := resque.DecodePayload(raw)
		if err != nil || !again.EnqueuedAt.Equal(want) {
			t.Errorf("%s was written as %s, and read as %v, %v", text, raw, again.EnqueuedAt, err)
		}
	}
}

func TestTimesAreWrittenWithNineDigits(t *testing.T) {
	for want, at := range map[string]time.Time{
		"1795225601.082353123":   enqueuedAt,
		"1795225601.000000000":   enqueuedAt.Truncate(time.Second).In(time.FixedZone("", 3600)),
		"0.000000001":            time.Unix(0, 1),
		"-0.000000001":           time.Unix(0, -1),
		"-1.000000000":           time.Unix(-1, 0),
		"-1.250000000":           time.Unix(-1, -25e7),
		"-62167219200.000000000": time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		raw, err := resque.AppendPayload(nil, &backend.Message{Kind: "K", Args: []byte("1"), EnqueuedAt: at}, 0)
		if want = `{"class":"K","args":[1],"queue_time":` + want + `}`; string(raw) != want || err != nil {
			t.Errorf("%v was written as %s, %v, want %s", at, raw, err, want)
		}
	}
}
