package resque_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// seed adds the golden files, and what breaks a worker.
func seed(f *testing.F) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if name, ok := strings.CutSuffix(file.Name(), ".json"); ok {
			f.Add(golden(f, name))
		}
	}
	for _, raw := range breaking {
		f.Add([]byte(raw))
	}
}

// FuzzDecodePayload gives any bytes to the decoder. It must not panic, and what
// it decodes must come back the same when it is appended again, as bytes that
// Ruby and PHP can read and that do not change any more.
func FuzzDecodePayload(f *testing.F) {
	seed(f)
	f.Add([]byte(`{"class":"K","args":[1],"id":7,"prefix":1,"queue_time":-1.5e-3,"x":[],"go":{"positional":true,"deliveries":1,"headers":{"a":null},"y":1.0}}`))
	f.Add([]byte(" {\t\"cl\\u0061ss\"\r:\n\"K\" , \"args\" : [ [ ] , { } ] , \"go\" : { } } "))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		m, deliveries, err := resque.DecodePayload(raw)
		if !bytes.Equal(raw, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if !errors.Is(err, backend.ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
			return
		}
		if err := unreadable(raw); err != nil {
			t.Errorf("%s was decoded: %v", raw, err)
		}
		again, err := resque.AppendPayload(nil, &m, deliveries)
		if err != nil {
			t.Fatalf("what was decoded cannot be appended: %v", err)
		}
		if err := unreadable(again); err != nil {
			t.Errorf("%s was written: %v", again, err)
		}
		got, gotDeliveries, err := resque.DecodePayload(again)
		if err != nil || !reflect.DeepEqual(got, m) || gotDeliveries != deliveries {
			t.Fatalf("%q came back as\n%+v, %d, %v, want\n%+v, %d", again, got, gotDeliveries, err, m, deliveries)
		}
		if third, err := resque.AppendPayload(nil, &got, deliveries); err != nil || !bytes.Equal(third, again) {
			t.Errorf("%q became %q, %v", again, third, err)
		}
	})
}

// FuzzAppendPayload gives any fields to the encoder: it refuses them, or they
// come back exactly, but for white space around what is JSON.
func FuzzAppendPayload(f *testing.F) {
	f.Add("id", "send_email", []byte(`{"to":"ann@example.org"}`), 1, 5, 0, 1, int64(1795225601), int64(82353000), "traceparent", "00-0a-b7-01", "error", []byte(`{"bury":true}`))
	f.Add("", "k\"\\\b\f\n\r\t\x00\x7f", []byte(" [ ] "), 0, 0, math.MinInt, 0, int64(0), int64(-1), "", "", "positional", []byte(" true"))
	f.Add("\xff", "\u2028\ufffd", []byte(`"\ud800"`), -1, 1<<31, math.MaxInt, 2, int64(1<<50), int64(-1), "\xff", "\xed\xa0\x80", "resque.foo", []byte(`1`))
	f.Add("é", "😀", []byte(`1],"x":[2`), 1<<30, 1<<30+1, 7, 3, int64(-62135596801), int64(1), "é", "<&>", "resque.prefix", []byte(`{`))
	f.Fuzz(func(t *testing.T, id, kind string, args []byte, attempt, maxAttempts, priority, deliveries int, sec, nsec int64, headerName, header, extraName string, value []byte) {
		m := backend.Message{
			ID: id, Kind: kind, Args: args, Attempt: attempt, MaxAttempts: maxAttempts, Priority: priority,
			EnqueuedAt: time.Unix(sec, nsec).UTC(),
			Header:     map[string]string{headerName: header},
			Extra:      extra{extraName: value},
		}
		raw, err := resque.AppendPayload(nil, &m, deliveries)
		if err != nil {
			if raw != nil {
				t.Errorf("returned %q with the error %v", raw, err)
			}
			return
		}
		if err := unreadable(raw); err != nil {
			t.Fatalf("%s was written: %v", raw, err)
		}
		got, gotDeliveries, err := resque.DecodePayload(raw)
		if err != nil {
			t.Fatalf("wrote %q, which does not decode: %v", raw, err)
		}
		const space = " \t\r\n"
		want := m
		want.Args = bytes.Trim(args, space)
		switch name, topLevel := strings.CutPrefix(extraName, "resque."); {
		case extraName == "positional", topLevel && (name == "id" || name == "prefix"):
			want.Extra, got.Extra = nil, nil // see the tests of these
			want.ID, got.ID = "", ""
		case topLevel && (name == "class" || name == "args" || name == "queue_time" || name == "go"):
			want.Extra = nil
		default:
			want.Extra = extra{extraName: bytes.Trim(value, space)}
			switch extraName {
			case "attempt", "max_attempts", "priority", "deliveries", "headers":
				want.Extra = nil
			}
		}
		if !reflect.DeepEqual(got, want) || gotDeliveries != deliveries {
			t.Errorf("%q came back as\n%+v, %d, want\n%+v, %d", raw, got, gotDeliveries, want, deliveries)
		}
	})
}

// FuzzDecodeFailed gives any bytes to the decoder. What it decodes can be
// appended, as bytes that resque-web can show, and comes back the same; the
// queue by itself is the same.
func FuzzDecodeFailed(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		entry, err := resque.DecodeFailed(raw)
		queue, ok := resque.FailedQueue(raw)
		if err != nil {
			if !errors.Is(err, backend.ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
			return
		}
		if ok && queue != entry.Queue {
			t.Errorf("FailedQueue is %q, but the entry's is %q", queue, entry.Queue)
		}
		entry.Queue = "default"
		entry.RetriedAt = ""
		again, err := resque.AppendFailed(nil, &entry)
		if err != nil {
			t.Fatalf("what was decoded cannot be appended: %v", err)
		}
		checkEntry(t, again)
		if queue, ok := resque.FailedQueue(again); queue != "default" || !ok {
			t.Errorf("FailedQueue(%s) = %q, %v", again, queue, ok)
		}
		got, err := resque.DecodeFailed(again)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Payload)+len(entry.Payload) == 0 {
			got.Payload, entry.Payload = nil, nil
		}
		equal(t, "the entry", got, entry)
	})
}

// FuzzAppendFailed buries any bytes for any reason: they come back exactly, and
// resque-web can show the entry.
func FuzzAppendFailed(f *testing.F) {
	for _, raw := range breaking {
		f.Add([]byte(raw), "boom", "*T", "a frame", "vm:1", int64(1795224513), int64(7))
	}
	f.Add(rubyPayload, "\xff", "", "\x00", "", int64(1<<60), int64(0))
	f.Fuzz(func(t *testing.T, payload []byte, text, kind, frame, worker string, sec, nsec int64) {
		entry := resque.Failed{Queue: "q", Payload: payload, Worker: "vm-go-x:1:q", Key: "k", Failure: backend.Failure{
			At: time.Unix(sec, nsec).UTC(), Error: text, Type: kind, Backtrace: []string{frame}, Worker: worker,
		}}
		raw, err := resque.AppendFailed(nil, &entry)
		if err != nil {
			t.Fatal(err)
		}
		checkEntry(t, raw)
		got, err := resque.DecodeFailed(raw)
		if err != nil || !bytes.Equal(got.Payload, payload) {
			t.Fatalf("%q came back as %q, %v", payload, got.Payload, err)
		}
		want := entry
		want.Payload = got.Payload
		for _, s := range []*string{&want.Failure.Error, &want.Failure.Type, &want.Failure.Backtrace[0], &want.Failure.Worker} {
			*s = strings.ToValidUTF8(*s, "\ufffd")
		}
		if year := entry.Failure.At.Year(); year < 0 || year > 9999 {
			want.Failure.At = time.Time{}
		}
		equal(t, "the entry", got, want)
		if err := unreadable(resque.AppendWorking(nil, text, entry.Failure.At, payload)); err != nil {
			t.Error(err)
		}
	})
}

// FuzzDecodeOthers gives any bytes to the other decoders. None may panic, and
// what they decode can be appended if it is complete.
func FuzzDecodeOthers(f *testing.F) {
	seed(f)
	f.Add([]byte(`{"status":"1","updated":"1 ","started":" ","result":[1e400]}`))
	f.Add([]byte("vm-go-n:1:a,b"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if queue, payload, err := resque.DecodeDelayed(raw); err == nil {
			if err := unreadable(payload); err != nil {
				t.Errorf("%s came of %s: %v", payload, raw, err)
			}
			if m, _, err := resque.DecodePayload(payload); err == nil {
				m.Queue = queue
				item, err := resque.AppendDelayed(nil, &m)
				if err != nil {
					t.Fatal(err)
				}
				again, payload, err := resque.DecodeDelayed(item)
				if err != nil || again != queue || !json.Valid(payload) {
					t.Errorf("%s is read as %q, %s, %v", item, again, payload, err)
				}
			}
		}
		if s, err := resque.DecodeStatus(raw); err == nil {
			if written, err := resque.AppendStatus(nil, &s); err == nil {
				s.Updated, s.Started = s.Updated.Truncate(time.Second), s.Started.Truncate(time.Second)
				got, err := resque.DecodeStatus(written)
				if err != nil || !got.Updated.Equal(s.Updated) || !got.Started.Equal(s.Started) || got.State != s.State {
					t.Errorf("%s is read as %+v, %v, want %+v", written, got, err, s)
				}
			}
		}
		if s, err := resque.DecodeSchedule(raw); err == nil {
			if written, err := resque.AppendSchedule(nil, &s); err == nil {
				got, err := resque.DecodeSchedule(written)
				if err != nil {
					t.Fatal(err)
				}
				equal(t, string(written), got, s)
			}
		}
		if w, ok := resque.ParseWorkerID(string(raw)); ok {
			id := resque.WorkerID(w.Host, w.PID, w.Queues, w.Nonce)
			if _, ok := resque.ParseWorkerID(id); !ok {
				t.Errorf("%q became %q", raw, id)
			}
		}
	})
}
