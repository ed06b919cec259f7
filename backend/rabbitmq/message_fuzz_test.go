package rabbitmq

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// FuzzDecode gives any message to the decoder. It must not panic, must say the
// same of the body as the plain way to decode it, and what it decodes must come
// back the same when it is stored again.
func FuzzDecode(f *testing.F) {
	const body = `{"job":"send_email","data":{"to":"ann@example.org"}}`
	f.Add([]byte(body), "m1", "send_email", byte(0), "x-delivery-count", "", int64(2), byte(3), byte(0))
	f.Add([]byte(body), "\xff", "\xff", byte(255), "gofer-deliveries", "3", int64(-1), byte(0), byte(10))
	f.Add([]byte(`{"job":"k","data":[],"id":"1","attempt":1,"max_attempts":5,"priority":-7,"enqueued_at":"2026-11-21T10:15:00.5+01:00","headers":{"a":"b","CC":"c","x-death":"d"},"zone":"eu"}`),
		"", "", byte(9), "gofer-failure", `{"at":"2026-11-21T10:15:00Z","error":"boom"}`, int64(0), byte(0), byte(255))
	f.Add([]byte(`{"job":"`+strings.Repeat("é", 200)+`","data":1,"id":"`+strings.Repeat("😀", 100)+`"}`), "", "", byte(1), "gofer-key", "k", int64(1), byte(1), byte(1))
	f.Add([]byte(`{"job":"k","data":null,"headers":{"attempt":"1"},"attempt":1073741824}`), "m", "t", byte(1), "CC", "spy", int64(1<<62), byte(8), byte(1))
	f.Add([]byte(`{"job":"k","data":1,"enqueued_at":"0000-01-01T00:00:00Z"}`), "m", "t", byte(1), "", "", int64(1), byte(9), byte(1))
	f.Add([]byte(``), "", "", byte(0), "", "", int64(0), byte(6), byte(0))
	f.Add([]byte(`hello`), "", "", byte(0), "x", strings.Repeat("x", 100<<10), int64(0), byte(0), byte(0))
	f.Fuzz(func(t *testing.T, body []byte, id, kind string, priority byte, name, text string, number int64, of, most byte) {
		name = name[:min(len(name), maxShort)] // AMQP has no longer ones
		values := []any{
			text, []byte(text), nil, number, int32(number), int16(number), int8(number), uint8(number), []any{text, number},
			amqp.Table{name: text}, true, 1.5, time.Unix(number, 0), amqp.Decimal{Value: int32(number)},
		}
		s := &settings{classic: true, maxPriority: int(most)}
		d := &amqp.Delivery{
			Headers:  amqp.Table{name: values[int(of)%len(values)], "tenant": "acme"},
			Priority: priority, MessageId: short(id), Type: short(kind), Timestamp: time.Unix(number, 0), Body: bytes.Clone(body),
		}
		headers := maps.Clone(d.Headers)
		m, malformed := s.decode("mail", d)
		count, failure, key := countOf(d), failureOf(d), keyOf(d, make(map[string]int))
		if !bytes.Equal(d.Body, body) || !reflect.DeepEqual(d.Headers, headers) {
			t.Fatalf("%q with %v became %q with %v", body, headers, d.Body, d.Headers)
		}
		if count < 0 || key == "" || failure != nil && name != headerFailure {
			t.Errorf("%v is the count %d, the key %q and the failure %+v", headers, count, key, failure)
		}
		want, wantMalformed := backend.DecodeEnvelope(body)
		if (malformed == nil) != (wantMalformed == nil) {
			t.Fatalf("%q: the decoder says %v, the envelope's %v", body, malformed, wantMalformed)
		}
		checkAgain(t, s, d, m, malformed)
		checkBurial(t, s, d, m, malformed)
		if malformed != nil {
			if !reflect.DeepEqual(m, backend.Message{Queue: "mail"}) {
				t.Errorf("%q is malformed and %+v", body, m)
			}
			return
		}
		if m.ID == "" || want.ID != "" && m.ID != want.ID || m.Priority < 0 || m.Priority > int(most) {
			t.Errorf("%q with the message-id %q and priority %d has the ID %q and priority %d", body, id, priority, m.ID, m.Priority)
		}
		want.ID, want.Priority, want.Queue = m.ID, m.Priority, "mail"
		if !reflect.DeepEqual(m, want) {
			t.Errorf("%q: the decoder says %+v, the envelope's %+v", body, m, want)
		}
		checkStored(t, s, m)
	})
}

// checkStored stores what was decoded, and decodes that.
func checkStored(t *testing.T, s *settings, m backend.Message) {
	t.Helper()
	p := published(t, &m)
	fits(t, p)
	for name := range p.Headers {
		if isReserved(name) {
			t.Errorf("the header %q is shown", name)
		}
	}
	if !strings.HasPrefix(m.ID, p.MessageId) || !strings.HasPrefix(m.Kind, p.Type) || !utf8.ValidString(p.MessageId) || !utf8.ValidString(p.Type) {
		t.Errorf("%q of kind %q is shown as %q of %q", m.ID, m.Kind, p.MessageId, p.Type)
	}
	if got, malformed := s.decode("mail", delivered(p)); malformed != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%q came back as %+v (%v), want %+v", p.Body, got, malformed, m)
	}
}

// checkAgain stores the message as it is, and decodes that.
func checkAgain(t *testing.T, s *settings, d *amqp.Delivery, m backend.Message, malformed error) {
	t.Helper()
	l := aLoan(d)
	l.id = m.ID
	p := l.again()
	fits(t, p)
	if !bytes.Equal(p.Body, d.Body) || p.Headers["tenant"] != "acme" && frameBytes(t, amqp.Publishing{Headers: d.Headers}) < 32<<10 {
		t.Errorf("%q with %v was stored again as %q with %v", d.Body, d.Headers, p.Body, p.Headers)
	}
	stored := delivered(p)
	if got := countOf(stored); got != countOf(d) {
		t.Errorf("the count of %v came back as %d, want %d", d.Headers, got, countOf(d))
	}
	got, err := s.decode("mail", stored)
	if (err == nil) != (malformed == nil) {
		t.Fatalf("%q came back as %+v (%v), want %+v (%v)", d.Body, got, err, m, malformed)
	}
	if p.MessageId != m.ID { // only the beginning of it, or what is no ID
		got.ID = m.ID
	}
	if !reflect.DeepEqual(got, m) {
		t.Errorf("%q came back as %+v, want %+v", d.Body, got, m)
	}
}

// checkBurial buries the message, and looks at the dead.
func checkBurial(t *testing.T, s *settings, d *amqp.Delivery, m backend.Message, malformed error) {
	t.Helper()
	var message *backend.Message
	if malformed == nil {
		message = &m
	}
	p := buried(t, d, message, aFailure())
	fits(t, p)
	e := newBackend(*s).entry("mail", "key", delivered(p))
	if e.Failure == nil || !reflect.DeepEqual(*e.Failure, aFailure()) || !bytes.Equal(e.Raw, p.Body) || !reflect.DeepEqual(e.Message, m) {
		t.Errorf("%q was buried and came back as %+v, want %+v", d.Body, e, m)
	}
	if malformed != nil && !bytes.Equal(p.Body, d.Body) {
		t.Errorf("%q was buried as %q", d.Body, p.Body)
	}
}

// FuzzFailure gives any failure to the dead set. What is kept of it has its
// size, and a failure that has already comes back as it was.
func FuzzFailure(f *testing.F) {
	f.Add(int64(1795225601), "boom", "*errors.errorString", "host:1", "main.main", 1, 2)
	f.Add(int64(0), "", "", "", "", 0, 0)
	f.Add(int64(-1), "é…😀\x00<&>\u2028", "\xff", "\x80", "\n\r\"\\", 10_000, 3)
	f.Add(int64(1), "\xf0\x9f\x98", "t", "w", "f", 100_000, 100_000)
	f.Add(int64(1), "\x80", "\x80", "\x80", "\x80", 100_000, 1)
	f.Fuzz(func(t *testing.T, seconds int64, text, kind, worker, frame string, times, frames int) {
		const year9999 = 253402300799 // no later time has a form in JSON
		whole := backend.Failure{At: time.Unix(seconds%year9999%(1<<35), 0).UTC(), Type: kind, Worker: worker}
		whole.Error = strings.Repeat(text, clamp(times, 2*maxFailure, text))
		for range clamp(frames, 2*maxFailure, frame) {
			whole.Backtrace = append(whole.Backtrace, frame)
		}
		checkFailure(t, "it", whole)
		plain, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		if header := failureHeader(whole); len(plain) <= maxFailure && header != string(plain) {
			t.Errorf("%q is kept as %q", plain, header)
		}
	})
}

// clamp returns how often something may be repeated to have at most so many
// bytes, and never more than times.
func clamp(times, most int, text string) int {
	return min(max(times, 0), most/(len(text)+16))
}
