package resque_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

func nested(depth int) []byte {
	return []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
}

func TestAppendPayloadRefusesWhatCouldNotBeDecoded(t *testing.T) {
	const notUTF8 = "\xff"
	header := func(name, value string) backend.Message {
		return backend.Message{Kind: "K", Args: []byte("1"), Header: map[string]string{name: value}}
	}
	extras := func(name string, value []byte) backend.Message {
		return backend.Message{Kind: "K", Args: []byte("1"), Extra: extra{name: value}}
	}
	tests := map[string]struct {
		message    backend.Message
		deliveries int
		want       error
	}{
		"no kind":             {backend.Message{Args: []byte("1")}, 0, backend.ErrInvalid},
		"no args":             {backend.Message{Kind: "K"}, 0, backend.ErrInvalid},
		"args of white":       {backend.Message{Kind: "K", Args: []byte(" ")}, 0, backend.ErrInvalid},
		"args of two":         {backend.Message{Kind: "K", Args: []byte("1,2")}, 0, backend.ErrInvalid},
		"args that close":     {backend.Message{Kind: "K", Args: []byte("1]")}, 0, backend.ErrInvalid},
		"args that escape":    {backend.Message{Kind: "K", Args: []byte(`1],"id":[1`)}, 0, backend.ErrInvalid},
		"args in Latin-1":     {backend.Message{Kind: "K", Args: []byte("\"\xe9\"")}, 0, backend.ErrInvalid},
		"deep args":           {backend.Message{Kind: "K", Args: nested(98)}, 0, backend.ErrInvalid},
		"deep list":           {backend.Message{Kind: "K", Args: nested(99), Extra: extra{"positional": isTrue}}, 0, backend.ErrInvalid},
		"broken list":         {backend.Message{Kind: "K", Args: []byte("[1,"), Extra: extra{"positional": isTrue}}, 0, backend.ErrInvalid},
		"a kind":              {backend.Message{Kind: notUTF8, Args: []byte("1")}, 0, backend.ErrInvalid},
		"an id":               {backend.Message{Kind: "K", Args: []byte("1"), ID: notUTF8}, 0, backend.ErrInvalid},
		"a header":            {header("a", notUTF8), 0, backend.ErrInvalid},
		"a header's name":     {header(notUTF8, "a"), 0, backend.ErrInvalid},
		"an extra name":       {extras(notUTF8, nested(1)), 0, backend.ErrInvalid},
		"another extra name":  {extras("resque."+notUTF8, nested(1)), 0, backend.ErrInvalid},
		"no extra":            {extras("x", nil), 0, backend.ErrInvalid},
		"no member":           {extras("resque.x", nil), 0, backend.ErrInvalid},
		"an empty prefix":     {extras("resque.prefix", []byte{}), 0, backend.ErrInvalid},
		"an id that is none":  {extras("resque.id", []byte("{")), 0, backend.ErrInvalid},
		"a flag that is none": {extras("positional", []byte("yes")), 0, backend.ErrInvalid},
		"deep extra":          {extras("x", nested(98)), 0, backend.ErrInvalid},
		"deep member":         {extras("resque.x", nested(99)), 0, backend.ErrInvalid},
		"negative attempts":   {backend.Message{Kind: "K", Args: []byte("1"), Attempt: -1}, 0, backend.ErrInvalid},
		"too many attempts":   {backend.Message{Kind: "K", Args: []byte("1"), MaxAttempts: math.MaxInt32}, 0, backend.ErrInvalid},
		"negative deliveries": {backend.Message{Kind: "K", Args: []byte("1")}, -1, backend.ErrInvalid},
		"the year 10000":      {backend.Message{Kind: "K", Args: []byte("1"), EnqueuedAt: time.Unix(253402300800, 0)}, 0, backend.ErrInvalid},
		"the year -1":         {backend.Message{Kind: "K", Args: []byte("1"), EnqueuedAt: time.Unix(-62167219200, -1)}, 0, backend.ErrInvalid},
		"a time far off":      {backend.Message{Kind: "K", Args: []byte("1"), EnqueuedAt: time.Unix(math.MaxInt64, 0)}, 0, backend.ErrInvalid},
		"large args":          {backend.Message{Kind: "K", Args: bytes.Repeat([]byte("1"), backend.MaxEnvelope+1)}, 0, backend.ErrTooLarge},
		"a large id":          {backend.Message{Kind: "K", Args: []byte("1"), ID: strings.Repeat("i", backend.MaxEnvelope)}, 0, backend.ErrTooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := resque.AppendPayload([]byte("before"), &tt.message, tt.deliveries)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if string(got) != "before" {
				t.Errorf("with its error it returned %.80q, want dst as it was", got)
			}
		})
	}
}

func TestDecodePayloadRefusesWhatIsNone(t *testing.T) {
	with := func(members string) string { return `{"class":"K","args":[1],` + members + `}` }
	own := func(members string) string { return with(`"go":{` + members + `}`) }
	tests := map[string]struct{ raw, reason string }{
		"nothing":                     {``, "not valid JSON"},
		"text":                        {`hello`, "not valid JSON"},
		"two objects":                 {`{"class":"K","args":[1]}{}`, "not valid JSON"},
		"an array":                    {`[1,2]`, "not a JSON object"},
		"a number":                    {` 42 `, "not a JSON object"},
		"no class":                    {`{"args":[1]}`, `no member "class"`},
		"a null class":                {`{"class":null,"args":[1]}`, `no member "class"`},
		"an empty class":              {`{"class":"","args":[1]}`, `no member "class"`},
		"a numeric class":             {`{"class":1,"args":[1]}`, `member "class": not a string`},
		"an envelope":                 {`{"job":"k","data":1}`, `no member "class"`},
		"args that are an object":     {`{"class":"K","args":{"a":1}}`, `member "args": not a list`},
		"args that are a string":      {`{"class":"K","args":"[1]"}`, `member "args": not a list`},
		"args that are a number":      {`{"class":"K","args":1}`, `member "args": not a list`},
		"args twice":                  {with(`"args":[1]`), `member "args" stands twice`},
		"a class twice, once null":    {with(`"class":null`), `member "class" stands twice`},
		"a class twice, escaped":      {with(`"cl\u0061ss":"K"`), `member "class" stands twice`},
		"go twice":                    {with(`"go":{},"go":{}`), `member "go" stands twice`},
		"an unknown member twice":     {with(`"x":1,"x":1`), `member "x" stands twice`},
		"a queue_time in quotes":      {with(`"queue_time":"1795225601.08"`), `member "queue_time": not a number of seconds`},
		"a queue_time of true":        {with(`"queue_time":true`), `member "queue_time": not a number of seconds`},
		"a queue_time in the year -1": {with(`"queue_time":-62167219200.000000001`), `member "queue_time": not a time between the years`},
		"a queue_time far ahead":      {with(`"queue_time":253402300800`), `member "queue_time": not a time between the years`},
		"a queue_time far off":        {with(`"queue_time":-1e300`), `member "queue_time": not a time between the years`},
		"go that is a list":           {with(`"go":[]`), `member "go": not an object`},
		"go that is a string":         {with(`"go":"x"`), `member "go": not an object`},
		"an attempt in quotes":        {own(`"attempt":"1"`), `member "go": member "attempt": not an integer between 0 and`},
		"a fraction":                  {own(`"attempt":1.0`), `member "go": member "attempt": not an integer between 0 and`},
		"a negative count":            {own(`"max_attempts":-1`), `member "go": member "max_attempts": not an integer between 0 and`},
		"a count above 1<<30":         {own(`"deliveries":1073741825`), `member "go": member "deliveries": not an integer between 0 and`},
		"a priority above 64 bits":    {own(`"priority":9223372036854775808`), `member "go": member "priority": not an integer of`},
		"an attempt twice":            {own(`"attempt":1,"attempt":1`), `member "go": member "attempt" stands twice`},
		"an unknown of go twice":      {own(`"x":1,"x":1`), `member "go": member "x" stands twice`},
		"a top-level name in go":      {own(`"resque.x":1`), `member "go": member "resque.x": not a name to stand here`},
		"headers that are a list":     {own(`"headers":["a"]`), `member "headers": not an object of strings`},
		"a number as header":          {own(`"headers":{"a":1}`), `member "headers": header "a": not a string`},
		"a header twice":              {own(`"headers":{"a":"1","a":"2"}`), `header "a" stands twice`},
		"deep args":                   {`{"class":"K","args":` + string(nested(99)) + `}`, "nested deeper than 100 levels"},
		"too large":                   {with(`"x":"` + strings.Repeat("x", backend.MaxEnvelope) + `"`), "at most 16777216 are decoded"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, deliveries, err := resque.DecodePayload([]byte(tt.raw))
			if !errors.Is(err, backend.ErrMalformed) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("DecodePayload(%.80s): %v, want ErrMalformed with %q", tt.raw, err, tt.reason)
			}
			if !reflect.DeepEqual(m, backend.Message{}) || deliveries != 0 {
				t.Errorf("DecodePayload(%.80s) returned a message with its error: %+v", tt.raw, m)
			}
		})
	}
}

// A payload as deep as one can be is still within Ruby's limit of 100 levels
// when it is a member of a failed entry or of what a worker works on.
func TestPayloadDepthIsExact(t *testing.T) {
	for name, m := range map[string]backend.Message{
		"one argument": {Kind: "K", Args: nested(97), Extra: extra{"x": nested(97), "resque.x": nested(98)}},
		"a list":       {Kind: "K", Args: nested(98), Extra: extra{"positional": isTrue}},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := resque.AppendPayload(nil, &m, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := resque.DecodePayload(raw); err != nil {
				t.Error(err)
			}
			entry, err := resque.AppendFailed(nil, &resque.Failed{Queue: "q", Payload: raw})
			if err != nil || !bytes.Contains(entry, raw) {
				t.Errorf("%s, %v does not show the payload", entry, err)
			}
			for _, shown := range [][]byte{entry, resque.AppendWorking(nil, "q", failedAt, raw)} {
				if err := unreadable(shown); err != nil {
					t.Errorf("%s: %v", shown, err)
				}
			}
		})
	}
}

func TestPayloadSizeIsExact(t *testing.T) {
	m := backend.Message{Kind: "K", Args: []byte("1"), ID: "i"}
	raw, err := resque.AppendPayload(nil, &m, 0)
	if err != nil {
		t.Fatal(err)
	}
	m.ID += strings.Repeat("i", backend.MaxEnvelope-len(raw))
	if raw, err = resque.AppendPayload(nil, &m, 0); err != nil || len(raw) != backend.MaxEnvelope {
		t.Fatalf("%d bytes: %v", len(raw), err)
	}
	if _, _, err := resque.DecodePayload(raw); err != nil {
		t.Error(err)
	}
	m.ID += "i"
	if _, err := resque.AppendPayload(nil, &m, 0); !errors.Is(err, backend.ErrTooLarge) {
		t.Errorf("one byte more: %v, want ErrTooLarge", err)
	}
}

// Hostile bytes are refused before a decoder has built anything of them.
func TestHostilePayloadsCostNoMemory(t *testing.T) {
	quoted := `"` + strings.Repeat("x", 1<<20) + `"`
	digits := strings.Repeat("9", 1<<20)
	for name, raw := range map[string]string{
		"brackets":       strings.Repeat("[", backend.MaxEnvelope),
		"objects":        strings.Repeat(`{"":`, 1<<20),
		"quotes":         strings.Repeat(`"`, 1<<20),
		"backslashes":    strings.Repeat(`\`, 1<<20),
		"huge number":    `{"class":"K","args":[` + digits + `]}`,
		"huge exponent":  `{"class":"K","args":[1e` + digits + `]}`,
		"huge time":      `{"class":"K","args":[1],"queue_time":` + digits[:300] + `}`,
		"huge class":     `{"class":` + quoted + `,"args":[],"class":1}`,
		"huge name":      `{` + quoted + `:1,` + quoted + `:1}`,
		"huge header":    `{"class":"K","go":{"headers":{` + quoted + `:1}}}`,
		"many members":   `{` + strings.Repeat(`"id":null,`, 1<<16) + `"class":"K"}`,
		"huge and wrong": `{"class":"K","args":[` + quoted + `],"go":{"attempt":"x"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(raw)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := resque.DecodePayload(body)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, backend.ErrMalformed) {
				t.Fatalf("error %.200v, want ErrMalformed", err)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if bytes := after.TotalAlloc - before.TotalAlloc; bytes > uint64(3*len(body))+1<<16 {
				t.Errorf("%d bytes allocated for a payload of %d", bytes, len(body))
			}
		})
	}
}

func TestManyUnknownMembersTakeLinearTime(t *testing.T) {
	m := backend.Message{Kind: "K", Args: []byte("1"), Extra: map[string]json.RawMessage{}}
	for i := range 1 << 15 {
		m.Extra[string(rune(i+1))+"x"] = json.RawMessage("1")
		m.Extra["resque."+string(rune(i+1))] = json.RawMessage("1")
	}
	raw, err := resque.AppendPayload(nil, &m, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := resque.DecodePayload(raw)
	if err != nil || len(got.Extra) != len(m.Extra) {
		t.Errorf("%d members, %v, want %d", len(got.Extra), err, len(m.Extra))
	}
}
