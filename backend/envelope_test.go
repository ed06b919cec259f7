package backend_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

func ExampleAppendEnvelope() {
	body, err := backend.AppendEnvelope(nil, &backend.Message{
		ID:          "01JD7Q4Z5M8X9W2V3T6R1KYNPC",
		Kind:        "send_email",
		Args:        []byte(`{"to":"ann@example.org"}`),
		MaxAttempts: 5,
		EnqueuedAt:  time.Date(2026, 11, 21, 10, 15, 0, 0, time.UTC),
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(body))
	// Output:
	// {"job":"send_email","data":{"to":"ann@example.org"},"id":"01JD7Q4Z5M8X9W2V3T6R1KYNPC","max_attempts":5,"enqueued_at":"2026-11-21T10:15:00Z"}
}

func ExampleDecodeEnvelope() {
	// What PHP's json_encode(["job" => "send_email", "data" => […]]) writes.
	m, err := backend.DecodeEnvelope([]byte(`{"job":"send_email","data":{"to":"ann@example.org"}}`))
	fmt.Println(m.Kind, string(m.Args), err)

	_, err = backend.DecodeEnvelope([]byte(`send_email ann@example.org`))
	fmt.Println(errors.Is(err, backend.ErrMalformed), err)
	// Output:
	// send_email {"to":"ann@example.org"} <nil>
	// true queue: malformed message: not valid JSON
}

func TestEnvelopeKeepsEveryField(t *testing.T) {
	want := backend.Message{
		ID:          "a\"\\\b\f\n\r\t\x00\x7f<>&\u2028é😀",
		Kind:        "send_email",
		Args:        []byte(`{ "n" : 12345678901234567, "f":1e400, "e":[ ], "s":"\ud800" }`),
		Attempt:     1 << 30,
		MaxAttempts: 25,
		Priority:    math.MinInt,
		EnqueuedAt:  time.Date(2026, 11, 21, 10, 15, 0, 123456789, time.UTC),
		Header:      map[string]string{"": "", "b": "2", "a\n": "é"},
		Extra:       map[string]json.RawMessage{"": json.RawMessage(`null`), "z": json.RawMessage(`[1, 2]`)},
	}
	raw, err := backend.AppendEnvelope([]byte("before"), &want)
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := bytes.CutPrefix(raw, []byte("before"))
	if !ok || !json.Valid(raw) {
		t.Fatalf("AppendEnvelope wrote %q", raw)
	}
	got, err := backend.DecodeEnvelope(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("decoded\n%+v, want\n%+v", got, want)
	}
}

func TestEnvelopeLeavesOutQueueAndDelay(t *testing.T) {
	raw, err := backend.AppendEnvelope(nil, &backend.Message{Kind: "k", Args: []byte("1"), Queue: "secretqueue", Delay: 77})
	if want := `{"job":"k","data":1}`; string(raw) != want || err != nil {
		t.Errorf("AppendEnvelope = %s, %v, want %s", raw, err, want)
	}
}

// Whatever a newer version, or another language, puts into the envelope comes
// through a retry unharmed.
func TestUnknownFieldsSurviveByteForByte(t *testing.T) {
	unknown := map[string]string{
		"error":      `{ "bury" : true }`,
		"nothing":    `null`,
		"huge":       `12345678901234567890123456789e-0`,
		"php_float":  `1795225601.082353`,
		"escaped":    `"\u00e9\/\ud83d\ude00"`,
		"lone":       `"\ud800"`,
		"nested":     `{"a":[{"b":[]} , {}],"a":"twice"}`,
		"trickyText": `"}],{[\"\\"`,
		"é\n":        `"name"`,
		"":           `0`,
	}
	var b bytes.Buffer
	b.WriteString(`{"job":"k","data":[]`)
	for name, value := range unknown {
		quoted, _ := json.Marshal(name)
		fmt.Fprintf(&b, " ,\r\n\t%s : %s", quoted, value)
	}
	b.WriteString("\n}\n")
	raw := b.Bytes()
	for round := range 3 {
		m, err := backend.DecodeEnvelope(raw)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range unknown {
			if string(m.Extra[name]) != value {
				t.Errorf("round %d: field %q = %s, want %s", round, name, m.Extra[name], value)
			}
		}
		if len(m.Extra) != len(unknown) {
			t.Errorf("round %d: %d unknown fields, want %d", round, len(m.Extra), len(unknown))
		}
		m.Attempt++
		if raw, err = backend.AppendEnvelope(nil, &m); err != nil {
			t.Fatal(err)
		}
	}
}

func TestForeignEnvelopesAreUnderstood(t *testing.T) {
	args := func(s string) backend.Message { return backend.Message{Kind: "k", Args: []byte(s)} }
	tests := map[string]struct {
		raw  string
		want backend.Message
	}{
		"a minimal one":             {`{"job":"k","data":{}}`, args(`{}`)},
		"the other way round":       {`{"data":{},"job":"k"}`, args(`{}`)},
		"PHP's empty array":         {`{"job":"k","data":[],"headers":[]}`, args(`[]`)},
		"PHP's spaced empty array":  {`{"job":"k","data":1,"headers":[ ` + "\n" + ` ]}`, args(`1`)},
		"PHP's escapes":             {`{"job":"k\/\u00e9","data":"\u00e9"}`, backend.Message{Kind: "k/é", Args: []byte(`"\u00e9"`)}},
		"a surrogate pair":          {`{"job":"\ud83d\ude00","data":1}`, backend.Message{Kind: "😀", Args: []byte("1")}},
		"an escaped backslash":      {`{"job":"\\ud800","data":1}`, backend.Message{Kind: `\ud800`, Args: []byte("1")}},
		"the replacement character": {`{"job":"\ufffd","data":1}`, backend.Message{Kind: "\ufffd", Args: []byte("1")}},
		"null as data":              {`{"job":"k","data":null}`, args(`null`)},
		"a lone surrogate in data":  {`{"job":"k","data":["\ud800"]}`, args(`["\ud800"]`)},
		"white space":               {" \t\r\n{ \"job\" : \"k\" , \"data\" : 1 } \n", args(`1`)},
		"an escaped name":           {`{"\u006aob":"k","d\u0061ta":1}`, args(`1`)},
		"null fields": {
			`{"job":"k","data":1,"id":null,"attempt":null,"max_attempts":null,"priority":null,"enqueued_at":null,"headers":null}`, args(`1`)},
		"a null header": {`{"job":"k","data":1,"headers":{"a":null,"b":"x"}}`, backend.Message{Kind: "k", Args: []byte("1"), Header: map[string]string{"b": "x"}}},
		"minus zero":    {`{"job":"k","data":1,"attempt":-0,"priority":-0}`, args(`1`)},
		"a time with a zone": {`{"job":"k","data":1,"enqueued_at":"2026-11-21T11:15:00+01:00"}`,
			backend.Message{Kind: "k", Args: []byte("1"), EnqueuedAt: time.Date(2026, 11, 21, 10, 15, 0, 0, time.UTC)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := backend.DecodeEnvelope([]byte(tt.raw))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("DecodeEnvelope(%s) =\n%+v, %v, want\n%+v", tt.raw, got, err, tt.want)
			}
		})
	}
}

func TestMalformedEnvelopesAreRefusedWithTheReason(t *testing.T) {
	with := func(field string) string { return `{"job":"k","data":1,` + field + `}` }
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := map[string]struct{ raw, reason string }{
		"nothing":                    {``, "not valid JSON"},
		"white space":                {" \n", "not valid JSON"},
		"text":                       {`send_email`, "not valid JSON"},
		"a truncated one":            {`{"job":"k","data":`, "not valid JSON"},
		"two":                        {`{"job":"k","data":1}{}`, "not valid JSON"},
		"a NUL at the end":           {"{\"job\":\"k\",\"data\":1}\x00", "not valid JSON"},
		"a NUL in a string":          {"{\"job\":\"k\x00\",\"data\":1}", "not valid JSON"},
		"a byte order mark":          {"\ufeff{\"job\":\"k\",\"data\":1}", "not valid JSON"},
		"a serialized PHP value":     {`a:2:{s:3:"job";s:1:"k";}`, "not valid JSON"},
		"invalid UTF-8":              {"{\"job\":\"k\",\"data\":\"\xff\"}", "not valid UTF-8"},
		"an encoded surrogate":       {"{\"job\":\"k\",\"data\":\"\xed\xa0\x80\"}", "not valid UTF-8"},
		"an array":                   {`[1,2]`, "not a JSON object"},
		"a number":                   {` 42 `, "not a JSON object"},
		"null":                       {`null`, "not a JSON object"},
		"a string":                   {`"{}"`, "not a JSON object"},
		"an empty object":            {`{ }`, `no field "job"`},
		"no job":                     {`{"data":1}`, `no field "job"`},
		"a null job":                 {`{"job":null,"data":1}`, `no field "job"`},
		"an empty job":               {`{"job":"","data":1}`, `no field "job"`},
		"Resque's class":             {`{"class":"EchoJob","args":[1]}`, `no field "job"`},
		"another case":               {`{"Job":"k","data":1}`, `no field "job"`},
		"no data":                    {`{"job":"k"}`, `no field "data"`},
		"a numeric job":              {`{"job":1,"data":1}`, `field "job": not a string`},
		"a job with half a pair":     {`{"job":"\ud800","data":1}`, `field "job": half a surrogate pair`},
		"a pair the wrong way round": {`{"job":"\ude00\ud83d","data":1}`, `field "job": half a surrogate pair`},
		"half a pair, then text":     {`{"job":"\ud83dude00","data":1}`, `field "job": half a surrogate pair`},
		"half a pair, then a letter": {`{"job":"\ud83d\u0041","data":1}`, `field "job": half a surrogate pair`},
		"a name with half a pair":    {with(`"\udfff":1`), `the name of a field: half a surrogate pair`},
		"a job twice":                {`{"job":"k","data":1,"job":"k"}`, `field "job" stands twice`},
		"a job twice, once escaped":  {`{"job":"k","data":1,"\u006aob":"x"}`, `field "job" stands twice`},
		"an id twice, once null":     {with(`"id":null,"id":"x"`), `field "id" stands twice`},
		"data twice":                 {with(`"data":2`), `field "data" stands twice`},
		"an unknown field twice":     {with(`"x":1,"x":1`), `field "x" stands twice`},
		"an object as id":            {with(`"id":{}`), `field "id": not a string`},
		"a string as attempt":        {with(`"attempt":"1"`), `field "attempt": not an integer between 0 and`},
		"a fraction":                 {with(`"attempt":1.0`), `field "attempt": not an integer between 0 and`},
		"an exponent":                {with(`"max_attempts":1e1`), `field "max_attempts": not an integer between 0 and`},
		"a negative count":           {with(`"attempt":-1`), `field "attempt": not an integer between 0 and`},
		"a count above 1<<30":        {with(`"attempt":1073741825`), `field "attempt": not an integer between 0 and`},
		"a count above 64 bits":      {with(`"attempt":18446744073709551617`), `field "attempt": not an integer between 0 and`},
		"a priority above 64 bits":   {with(`"priority":9223372036854775808`), `field "priority": not an integer of`},
		"true as priority":           {with(`"priority":true`), `field "priority": not an integer of`},
		"a Unix time":                {with(`"enqueued_at":1795225601.08`), `field "enqueued_at": not an RFC 3339 time`},
		"a Ruby time":                {with(`"enqueued_at":"2026-11-21 01:28:33 +0000"`), `field "enqueued_at": not an RFC 3339 time`},
		"a time before year 0":       {with(`"enqueued_at":"0000-01-01T00:00:00+01:00"`), `field "enqueued_at": not an RFC 3339 time`},
		"a time after year 9999":     {with(`"enqueued_at":"9999-12-31T23:59:59-01:00"`), `field "enqueued_at": not an RFC 3339 time`},
		"a list as headers":          {with(`"headers":["a"]`), `field "headers": not an object of strings`},
		"nested lists as headers":    {with(`"headers":[[]]`), `field "headers": not an object of strings`},
		"a string as headers":        {with(`"headers":"a"`), `field "headers": not an object of strings`},
		"a number as header":         {with(`"headers":{"a":1}`), `field "headers": header "a": not a string`},
		"a header twice":             {with(`"headers":{"a":"1","a":"2"}`), `field "headers": header "a" stands twice`},
		"half a pair as header":      {with(`"headers":{"a":"\ud800"}`), `field "headers": header "a": half a surrogate pair`},
		"half a pair as its name":    {with(`"headers":{"\ud800":"a"}`), `field "headers": the name of a header: half a surrogate pair`},
		"deep data":                  {`{"job":"k","data":` + deep(100) + `}`, "nested deeper than 100 levels"},
		"a deep unknown field":       {with(`"x":` + deep(100)), "nested deeper than 100 levels"},
		"too large":                  {with(`"x":"` + strings.Repeat("x", backend.MaxEnvelope) + `"`), "at most 16777216 are decoded"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := backend.DecodeEnvelope([]byte(tt.raw))
			if !errors.Is(err, backend.ErrMalformed) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("DecodeEnvelope(%.80s): %v, want ErrMalformed with %q", tt.raw, err, tt.reason)
			}
			if !reflect.DeepEqual(m, backend.Message{}) {
				t.Errorf("DecodeEnvelope(%.80s) returned a message with its error: %+v", tt.raw, m)
			}
		})
	}
}
