package backend_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

func nested(depth int) []byte {
	return []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
}

func TestAppendEnvelopeRefusesWhatCouldNotBeDecoded(t *testing.T) {
	const notUTF8 = "\xff"
	tests := map[string]struct {
		message backend.Message
		want    error
	}{
		"no kind":           {backend.Message{Args: []byte("1")}, backend.ErrInvalid},
		"no args":           {backend.Message{Kind: "k"}, backend.ErrInvalid},
		"args of white":     {backend.Message{Kind: "k", Args: []byte(" ")}, backend.ErrInvalid},
		"args of two":       {backend.Message{Kind: "k", Args: []byte("1,2")}, backend.ErrInvalid},
		"args that escape":  {backend.Message{Kind: "k", Args: []byte(`1,"x":2`)}, backend.ErrInvalid},
		"args that close":   {backend.Message{Kind: "k", Args: []byte(`1}`)}, backend.ErrInvalid},
		"args in Latin-1":   {backend.Message{Kind: "k", Args: []byte("\"\xe9\"")}, backend.ErrInvalid},
		"deep args":         {backend.Message{Kind: "k", Args: nested(100)}, backend.ErrInvalid},
		"a kind":            {backend.Message{Kind: notUTF8, Args: []byte("1")}, backend.ErrInvalid},
		"an id":             {backend.Message{Kind: "k", Args: []byte("1"), ID: notUTF8}, backend.ErrInvalid},
		"a header":          {backend.Message{Kind: "k", Args: []byte("1"), Header: map[string]string{"a": notUTF8}}, backend.ErrInvalid},
		"a header's name":   {backend.Message{Kind: "k", Args: []byte("1"), Header: map[string]string{notUTF8: "a"}}, backend.ErrInvalid},
		"an extra name":     {backend.Message{Kind: "k", Args: []byte("1"), Extra: map[string]json.RawMessage{notUTF8: nested(1)}}, backend.ErrInvalid},
		"no extra":          {backend.Message{Kind: "k", Args: []byte("1"), Extra: map[string]json.RawMessage{"x": nil}}, backend.ErrInvalid},
		"deep extra":        {backend.Message{Kind: "k", Args: []byte("1"), Extra: map[string]json.RawMessage{"x": nested(100)}}, backend.ErrInvalid},
		"negative attempts": {backend.Message{Kind: "k", Args: []byte("1"), Attempt: -1}, backend.ErrInvalid},
		"too many attempts": {backend.Message{Kind: "k", Args: []byte("1"), MaxAttempts: math.MaxInt32}, backend.ErrInvalid},
		"the year 10000":    {backend.Message{Kind: "k", Args: []byte("1"), EnqueuedAt: time.Unix(1<<40, 0)}, backend.ErrInvalid},
		"large args":        {backend.Message{Kind: "k", Args: bytes.Repeat([]byte("1"), backend.MaxEnvelope+1)}, backend.ErrTooLarge},
		"a large id":        {backend.Message{Kind: "k", Args: []byte("1"), ID: strings.Repeat("i", backend.MaxEnvelope)}, backend.ErrTooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := backend.AppendEnvelope([]byte("before"), &tt.message)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if string(got) != "before" {
				t.Errorf("with its error it returned %.80q, want dst as it was", got)
			}
		})
	}
}

func TestEnvelopeDepthIsExact(t *testing.T) {
	m := backend.Message{Kind: "k", Args: nested(99), Extra: map[string]json.RawMessage{"x": nested(99)}}
	raw, err := backend.AppendEnvelope(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backend.DecodeEnvelope(raw); err != nil {
		t.Error(err)
	}
}

func TestBracesInStringsDoNotCountAsDepth(t *testing.T) {
	quoted, _ := json.Marshal(strings.Repeat(`\"[{`, 200))
	if _, err := backend.AppendEnvelope(nil, &backend.Message{Kind: "k", Args: quoted}); err != nil {
		t.Error(err)
	}
}

func TestEnvelopeSizeIsExact(t *testing.T) {
	m := backend.Message{Kind: "k", Args: []byte("1"), ID: "i"}
	raw, err := backend.AppendEnvelope(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	m.ID += strings.Repeat("i", backend.MaxEnvelope-len(raw))
	if raw, err = backend.AppendEnvelope(nil, &m); err != nil || len(raw) != backend.MaxEnvelope {
		t.Fatalf("%d bytes: %v", len(raw), err)
	}
	if _, err := backend.DecodeEnvelope(raw); err != nil {
		t.Error(err)
	}
	m.ID += "i"
	if _, err := backend.AppendEnvelope(nil, &m); !errors.Is(err, backend.ErrTooLarge) {
		t.Errorf("one byte more: %v, want ErrTooLarge", err)
	}
}

// Hostile bytes are refused before a decoder has built anything of them.
func TestHostileEnvelopesCostNoMemory(t *testing.T) {
	quoted := `"` + strings.Repeat("x", 1<<20) + `"`
	for name, raw := range map[string]string{
		"brackets":       strings.Repeat("[", backend.MaxEnvelope),
		"objects":        strings.Repeat(`{"":`, 1<<20),
		"quotes":         strings.Repeat(`"`, 1<<20),
		"backslashes":    strings.Repeat(`\`, 1<<20),
		"huge number":    `{"job":"k","data":1,"attempt":` + strings.Repeat("9", 1<<20) + `}`,
		"huge time":      `{"job":"k","data":1,"enqueued_at":` + quoted + `}`,
		"huge kind":      `{"job":` + quoted + `,"data":1,"job":1}`,
		"huge name":      `{` + quoted + `:1,` + quoted + `:1}`,
		"huge header":    `{"job":"k","data":1,"headers":{` + quoted + `:1}}`,
		"many fields":    `{` + strings.Repeat(`"id":null,`, 1<<16) + `"job":"k"}`,
		"huge and wrong": `{"job":"k","data":` + quoted + `,"id":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(raw)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := backend.DecodeEnvelope(body)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, backend.ErrMalformed) {
				t.Fatalf("error %.200v, want ErrMalformed", err)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if bytes := after.TotalAlloc - before.TotalAlloc; bytes > uint64(3*len(body)) {
				t.Errorf("%d bytes allocated for an envelope of %d", bytes, len(body))
			}
		})
	}
}

func TestManyUnknownFieldsTakeLinearTime(t *testing.T) {
	m := backend.Message{Kind: "k", Args: []byte("1"), Extra: map[string]json.RawMessage{}}
	for i := range 1 << 16 {
		m.Extra[string(rune(i+1))+"x"] = json.RawMessage("1")
	}
	delete(m.Extra, "\ufffdx") // what surrogates became
	raw, err := backend.AppendEnvelope(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := backend.DecodeEnvelope(raw)
	if err != nil || len(got.Extra) != len(m.Extra) {
		t.Errorf("%d fields, %v, want %d", len(got.Extra), err, len(m.Extra))
	}
}
