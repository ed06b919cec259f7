package backend_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

// FuzzDecodeEnvelope gives any bytes to the decoder. It must not panic, must
// agree with encoding/json about what the members are, and what it decodes
// must come back the same, and no longer, when it is appended again.
func FuzzDecodeEnvelope(f *testing.F) {
	for _, raw := range []string{
		`{"job":"send_email","data":{"to":"ann@example.org"}}`,
		`{"job":"k","data":[],"id":"1","attempt":1,"max_attempts":5,"priority":-7,"enqueued_at":"2026-11-21T10:15:00.5+01:00","headers":{"a":"b","c":null},"error":{"bury":true}}`,
		`{"job":"k","data":null,"headers":[ ],"id":null}`,
		`{"class":"EchoJob","args":[{"k":"\u00e9"}],"id":"0af7651916cd43dd8448eb211c80319c","prefix":"","queue_time":1795225601.082353}`,
		`{"class":"EchoJob","args":[1,"two",{"k":null}],"go":{"attempt":1,"max_attempts":5,"headers":{}}}`,
		`{"failed_at":"2026/11/21 01:28:33 UTC","payload":{},"exception":"ArgumentError","error":"boom","backtrace":["…"],"queue":"default"}`,
		`{"job":"\ud83d\ude00\ud800","data":"\"}],\\"}`,
		`{"job":"k","data":1e400,"data":12345678901234567890}`,
		" {\t\"\\u006aob\"\r:\n\"k\" , \"data\" : [ { \"a\" : [ ] } , { } ] } ",
		`[1,2]`, `42`, `null`, `""`, `{`, "\"\xff\"", "{\"job\":\"\x00\"}", `[[[[[[[[[[[[`, `{"":{"":{"":`,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		m, err := backend.DecodeEnvelope(raw)
		if !bytes.Equal(raw, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatalf("decoded what encoding/json does not: %v", err)
		}
		if !bytes.Equal(m.Args, members["data"]) {
			t.Errorf("data is %q, want %q", m.Args, members["data"])
		}
		for _, name := range []string{"job", "data", "id", "attempt", "max_attempts", "priority", "enqueued_at", "headers"} {
			delete(members, name)
		}
		if len(m.Extra) != len(members) {
			t.Errorf("%d unknown fields, want %d", len(m.Extra), len(members))
		}
		for name, value := range members {
			if !bytes.Equal(m.Extra[name], value) {
				t.Errorf("field %q is %q, want %q", name, m.Extra[name], value)
			}
		}
		again, err := backend.AppendEnvelope(nil, &m)
		if err != nil {
			t.Fatalf("what was decoded cannot be appended: %v", err)
		}
		if len(again) > len(raw) {
			t.Errorf("%q grew to %q", raw, again)
		}
		if got, err := backend.DecodeEnvelope(again); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%q came back as\n%+v, %v, want\n%+v", again, got, err, m)
		}
	})
}

// FuzzAppendEnvelope gives any fields to the encoder: it refuses them, or they
// come back exactly, but for white space around the args.
func FuzzAppendEnvelope(f *testing.F) {
	f.Add("id", "send_email", []byte(`{"to":"ann@example.org"}`), 1, 5, 0, int64(1795225601), int64(82353000), "traceparent", "00-0a-b7-01", "error", []byte(`{"bury":true}`))
	f.Add("", "k\"\\\b\f\n\r\t\x00\x7f", []byte(" [ ] "), 0, 0, -1<<63, int64(0), int64(0), "", "", "", []byte("null"))
	f.Add("\xff", "\u2028\ufffd", []byte(`"\ud800"`), -1, 1<<31, 1<<62, int64(1<<50), int64(-1), "\xff", "\xed\xa0\x80", "job", []byte(`1`))
	f.Add("é", "😀", []byte(`1,"x":2`), 1<<30, 1<<30+1, 7, int64(-62135596801), int64(1), "é", "<&>", "data", []byte(`{`))
	f.Fuzz(func(t *testing.T, id, kind string, args []byte, attempt, maxAttempts, priority int, sec, nsec int64, headerName, header, extraName string, extra []byte) {
		m := backend.Message{
			ID: id, Kind: kind, Args: args, Attempt: attempt, MaxAttempts: maxAttempts, Priority: priority,
			EnqueuedAt: time.Unix(sec, nsec).UTC(),
			Header:     map[string]string{headerName: header},
			Extra:      map[string]json.RawMessage{extraName: extra},
		}
		raw, err := backend.AppendEnvelope(nil, &m)
		if err != nil {
			if raw != nil {
				t.Errorf("returned %q with the error %v", raw, err)
			}
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("wrote %q, which is not JSON", raw)
		}
		got, err := backend.DecodeEnvelope(raw)
		if err != nil {
			t.Fatalf("wrote %q, which does not decode: %v", raw, err)
		}
		const space = " \t\r\n"
		want := m
		want.Args = bytes.Trim(args, space)
		want.Extra = map[string]json.RawMessage{extraName: bytes.Trim(extra, space)}
		switch extraName {
		case "job", "data", "id", "attempt", "max_attempts", "priority", "enqueued_at", "headers":
			want.Extra = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q came back as\n%+v, want\n%+v", raw, got, want)
		}
	})
}
