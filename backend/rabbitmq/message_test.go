package rabbitmq

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// aMessage is a message with a bit of everything.
func aMessage() *backend.Message {
	return &backend.Message{
		ID: "0a1b", Kind: "send_email", Queue: "mail", Args: []byte(`{"to":"ann@example.org"}`), Attempt: 2, MaxAttempts: 5, Priority: 7,
		EnqueuedAt: time.Date(2026, 11, 21, 10, 15, 0, 5, time.UTC),
		Header:     map[string]string{"trace": "00-0a"},
		Extra:      map[string]json.RawMessage{"zone": []byte(`"eu"`)},
	}
}

// aFailure is a failure with a bit of everything.
func aFailure() backend.Failure {
	return backend.Failure{
		At:        time.Date(2026, 11, 21, 10, 16, 0, 0, time.UTC),
		Error:     "no such mailbox",
		Type:      "*errors.errorString",
		Backtrace: []string{"main.main", "runtime.main"},
		Worker:    "host:1",
	}
}

// classic are settings with priorities.
var classic = &settings{classic: true, maxPriority: 10}

// published is m as it is stored.
func published(t *testing.T, m *backend.Message) amqp.Publishing {
	t.Helper()
	body, err := backend.AppendEnvelope(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return publishing(m, body)
}

// delivered is what comes of p. RabbitMQ knows of no headers that are empty, and
// of times only the seconds.
func delivered(p amqp.Publishing) *amqp.Delivery {
	if len(p.Headers) == 0 {
		p.Headers = nil
	}
	if !p.Timestamp.IsZero() {
		p.Timestamp = time.Unix(p.Timestamp.Unix(), 0)
	}
	return &amqp.Delivery{
		Headers: p.Headers, ContentType: p.ContentType, ContentEncoding: p.ContentEncoding, DeliveryMode: p.DeliveryMode,
		Priority: p.Priority, CorrelationId: p.CorrelationId, ReplyTo: p.ReplyTo, Expiration: p.Expiration, MessageId: p.MessageId,
		Timestamp: p.Timestamp, Type: p.Type, UserId: p.UserId, AppId: p.AppId, Body: p.Body,
	}
}

// frameBytes is how many bytes AMQP takes for the properties of p, which share one
// frame. It fails the test when they cannot be written at all.
func frameBytes(t *testing.T, p amqp.Publishing) int {
	t.Helper()
	if err := p.Headers.Validate(); err != nil {
		t.Errorf("headers that AMQP cannot have: %v", err)
	}
	size := 14 + 1 + 1 + 8 // what stands before them, the mode, the priority and the time
	for _, text := range []string{p.ContentType, p.ContentEncoding, p.CorrelationId, p.ReplyTo, p.Expiration, p.MessageId, p.Type, p.UserId, p.AppId} {
		if len(text) > 255 {
			t.Errorf("the property %.20q… has %d bytes", text, len(text))
		}
		size += 1 + len(text)
	}
	return size + tableBytes(t, p.Headers)
}

func tableBytes(t *testing.T, table amqp.Table) int {
	t.Helper()
	size := 4
	for name, value := range table {
		if len(name) > 255 {
			t.Errorf("the header %.20q… has a name of %d bytes", name, len(name))
		}
		size += 1 + len(name) + fieldBytes(t, value)
	}
	return size
}

func fieldBytes(t *testing.T, value any) int {
	switch v := value.(type) {
	case string:
		return 1 + 4 + len(v)
	case []byte:
		return 1 + 4 + len(v)
	case amqp.Table:
		return 1 + tableBytes(t, v)
	case []any:
		size := 1 + 4
		for _, one := range v {
			size += fieldBytes(t, one)
		}
		return size
	}
	return 1 + 8 // all others are smaller
}

// fits fails the test unless the properties fit into a frame: RabbitMQ closes
// the connection over which others come.
func fits(t *testing.T, p amqp.Publishing) {
	t.Helper()
	if size := frameBytes(t, p); size > frameSize-8 {
		t.Errorf("the properties have %d bytes, a frame has room for %d", size, frameSize-8)
	}
}

func TestAMessageComesBackAsItWas(t *testing.T) {
	m := aMessage()
	got, malformed := classic.decode("mail", delivered(published(t, m)))
	if malformed != nil || !reflect.DeepEqual(got, *m) {
		t.Errorf("got %+v, %v, want %+v", got, malformed, *m)
	}
}

func TestTheManagementPageShowsWhatTheBodySays(t *testing.T) {
	m := aMessage()
	got := published(t, m)
	want := amqp.Publishing{
		Headers:      amqp.Table{"trace": "00-0a", "attempt": int64(2)},
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		Priority:     7,
		MessageId:    "0a1b",
		Timestamp:    m.EnqueuedAt,
		Type:         "send_email",
		Body:         got.Body,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := published(t, &backend.Message{ID: "1", Kind: "k", Args: []byte("1")}); got.Headers != nil || !got.Timestamp.IsZero() {
		t.Errorf("a message that has neither has the headers %v and the time %v", got.Headers, got.Timestamp)
	}
}

func TestLongTextsAreCutBetweenCharacters(t *testing.T) {
	for shift := range 5 {
		for _, character := range []string{"x", "é", "…", "😀"} {
			m := aMessage()
			m.ID = strings.Repeat("x", shift) + strings.Repeat(character, 300)
			m.Kind = m.ID
			p := published(t, m)
			for _, shown := range []string{p.MessageId, p.Type} {
				if !utf8.ValidString(shown) || !strings.HasPrefix(m.ID, shown) || len(shown) > 255 || len(shown) < 252 {
					t.Errorf("%.9q… is shown as %d bytes, %q", m.ID, len(shown), shown)
				}
			}
			// What counts is the body.
			got, malformed := classic.decode("mail", delivered(p))
			if malformed != nil || !reflect.DeepEqual(got, *m) {
				t.Errorf("%.9q… came back as %+v (%v)", m.ID, got, malformed)
			}
		}
	}
	for _, text := range []string{"", "a", strings.Repeat("a", 255), strings.Repeat("é", 127)} {
		if got := short(text); got != text {
			t.Errorf("%.9q… of %d bytes was cut to %d", text, len(text), len(got))
		}
	}
	for _, text := range []string{strings.Repeat("\x80", 300), strings.Repeat("\xff", 300), strings.Repeat("a", 254) + "\xf0\x9f\x98\x80"} {
		if got := short(text); !strings.HasPrefix(text, got) || len(got) > 255 || len(got) < 250 {
			t.Errorf("%.9q… was cut to %d bytes", text, len(got))
		}
	}
}

// RabbitMQ sends a message also to whom CC and BCC name, and takes headers that
// begin with x- for its own.
func TestHeadersThatMeanSomethingAreNotShown(t *testing.T) {
	m := aMessage()
	m.Header = map[string]string{"": "nameless", strings.Repeat("n", 256): "long"}
	for _, name := range []string{"CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", "x-first-death-queue", "x-last-death-reason", headerDeliveries, headerFailure, headerKey, "gofer-other"} {
		m.Header[name] = "stop"
	}
	shown := map[string]string{"cc": "a", "Bcc": "b", "X-Request-Id": "c", "x": "d", "gofer": "e", strings.Repeat("n", 255): "f", "ä": "ö", "null": "\x00"}
	maps.Copy(m.Header, shown)
	p := published(t, m)
	want := amqp.Table{"attempt": int64(2)}
	for name, value := range shown {
		want[name] = value
	}
	if !reflect.DeepEqual(p.Headers, want) {
		t.Errorf("the headers are %q, want %q", p.Headers, want)
	}
	if got, malformed := classic.decode("mail", delivered(p)); malformed != nil || !maps.Equal(got.Header, m.Header) {
		t.Errorf("they came back as %q (%v), want all of %q", got.Header, malformed, m.Header)
	}
}

func TestNoMoreHeadersAreShownThanThereIsRoomFor(t *testing.T) {
	for what, header := range map[string]map[string]string{
		"one that is long":       {"long": strings.Repeat("x", 1<<20)},
		"many that are long":     headers(50, strings.Repeat("x", 4<<10)),
		"very many that are not": headers(10_000, ""),
	} {
		m := aMessage()
		m.Header = header
		p := published(t, m)
		size := 0
		for name, value := range p.Headers {
			if text, ok := value.(string); ok {
				size += len(name) + len(text)
			}
		}
		if size > maxShown {
			t.Errorf("%s: %d bytes are shown, want at most %d", what, size, maxShown)
		}
		// A failure that is as long as it can be stands beside them one day.
		p.Headers[headerFailure] = strings.Repeat("x", maxFailure)
		p.Headers[headerKey] = strings.Repeat("x", 64)
		fits(t, p)
		if len(p.Headers) > 8192 { // the client refuses to read more
			t.Errorf("%s: %d headers are shown", what, len(p.Headers))
		}
		if got, malformed := classic.decode("mail", delivered(p)); malformed != nil || !maps.Equal(got.Header, header) {
			t.Errorf("%s: %d of %d came back (%v)", what, len(got.Header), len(header), malformed)
		}
	}
}

// headers are n of the same value.
func headers(n int, value string) map[string]string {
	all := make(map[string]string, n)
	for i := range n {
		all[fmt.Sprintf("%x", i)] = value
	}
	return all
}

// foreign is a message with all that another producer, and RabbitMQ, may have
// put there.
func foreign() *amqp.Delivery {
	return &amqp.Delivery{
		Headers: amqp.Table{
			"tenant": "acme", "retries": int32(3), "deep": amqp.Table{"a": []any{"b", nil, 1.5}}, "x": true, "gofer": "kept", "cc": "kept",
			"CC": []any{"audit"}, "BCC": []any{"spy"},
			"x-death":                []any{amqp.Table{"queue": "gofer.delay.00", "count": int64(1)}},
			"x-first-death-queue":    "gofer.delay.00",
			"x-first-death-reason":   "expired",
			"x-first-death-exchange": "gofer.delay.00",
			"x-last-death-queue":     "gofer.delay.00",
			"x-delivery-count":       int64(4),
			"x-acquired-count":       int64(4),
			headerDeliveries:         int64(2),
			headerFailure:            `{"error":"boom"}`,
			headerKey:                "k1",
		},
		ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Transient, Priority: 5, CorrelationId: "c", ReplyTo: "r",
		Expiration: "60000", MessageId: "m", Timestamp: time.Unix(1795225601, 0), Type: "t", UserId: "u", AppId: "a",
		ConsumerTag: "1", MessageCount: 7, DeliveryTag: 9, Redelivered: true, Exchange: "e", RoutingKey: "mail",
		Body: []byte(`{"job":"k","data":1}`),
	}
}

func TestAMessageThatIsStoredOnceMoreIsTheSame(t *testing.T) {
	d := foreign()
	before := maps.Clone(d.Headers)
	got := again(d, amqp.Table{headerDeliveries: int64(6)})
	want := amqp.Publishing{
		Headers: amqp.Table{
			"tenant": "acme", "retries": int32(3), "deep": amqp.Table{"a": []any{"b", nil, 1.5}}, "x": true, "gofer": "kept", "cc": "kept",
			headerDeliveries: int64(6),
		},
		ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Priority: 5, CorrelationId: "c", ReplyTo: "r",
		MessageId: "m", Timestamp: time.Unix(1795225601, 0), Type: "t", AppId: "a",
		Body: d.Body,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !reflect.DeepEqual(d.Headers, before) {
		t.Errorf("the headers of the delivery became %v", d.Headers)
	}
	if got := again(d, nil).Headers; got[headerDeliveries] != nil || got["tenant"] != "acme" {
		t.Errorf("without headers of its own it has %v", got)
	}
	for _, headers := range []amqp.Table{nil, {}, {"x-death": []any{}}, {headerKey: "k1"}} {
		if got := again(&amqp.Delivery{Headers: headers}, nil).Headers; got != nil {
			t.Errorf("of the headers %v remain %v", headers, got)
		}
	}
}

// aLoan is a message as it was taken from the queue mail.
func aLoan(d *amqp.Delivery) *loan {
	return &loan{channel: &channel{line: &line{queue: "mail"}}, message: *d, count: countOf(d)}
}

func TestAJobThatIsGivenBackKeepsItsCountAndItsID(t *testing.T) {
	if got := aLoan(foreign()).again().Headers[headerDeliveries]; got != int64(6) {
		t.Errorf("the count is %v, want the 4 of RabbitMQ and the 2 of the driver", got)
	}
	if got := aLoan(&amqp.Delivery{}).again().Headers; got != nil {
		t.Errorf("one that was never handed out has %v", got)
	}
	l := aLoan(&amqp.Delivery{Body: []byte(`{"job":"k","data":1}`)})
	l.id = "given here"
	d := delivered(l.again())
	if m, malformed := classic.decode("mail", d); malformed != nil || m.ID != "given here" {
		t.Errorf("it came back as %+v (%v), want the ID that it was given here", m, malformed)
	}
}

func TestACountIsReadWhateverItIs(t *testing.T) {
	for _, c := range []struct {
		value any
		want  int
	}{
		{nil, 0}, {int64(3), 3}, {int32(3), 3}, {int16(3), 3}, {int8(3), 3}, {uint8(3), 3}, {3, 3},
		{int64(-1), 0}, {int8(-1), 0}, {int64(math.MaxInt64), 1 << 30}, {int64(math.MinInt64), 0},
		{"3", 0}, {3.5, 0}, {true, 0}, {[]byte("3"), 0}, {amqp.Table{"a": 1}, 0}, {[]any{3}, 0}, {time.Unix(3, 0), 0}, {amqp.Decimal{Value: 3}, 0},
	} {
		d := &amqp.Delivery{Headers: amqp.Table{headerCount: c.value}}
		if got := countOf(d); got != c.want {
			t.Errorf("%T %v is the count %d, want %d", c.value, c.value, got, c.want)
		}
	}
	most := &amqp.Delivery{Headers: amqp.Table{headerCount: int64(math.MaxInt64), headerDeliveries: int64(math.MaxInt64)}}
	if got := countOf(most); got < 0 {
		t.Errorf("the count is %d", got)
	}
}

// Whoever may publish may write what he likes into the attempts of the body and
// the header of the driver. Such a job must not become one that can neither be
// tried again nor be buried.
func TestAnAttemptIsNeverCountedHigherThanCanBeStored(t *testing.T) {
	b := newBackend(*classic)
	for _, d := range []*amqp.Delivery{
		{Body: []byte(`{"job":"k","data":1,"id":"1"}`), Headers: amqp.Table{headerDeliveries: int64(math.MaxInt64)}},
		{Body: []byte(`{"job":"k","data":1,"id":"1"}`), Headers: amqp.Table{headerDeliveries: int64(math.MaxInt64), headerCount: int64(math.MaxInt64)}},
		{Body: []byte(`{"job":"k","data":1,"id":"1","attempt":1073741824}`)},
	} {
		l := aLoan(d)
		delivery := b.deliver(l)
		if _, err := backend.AppendEnvelope(nil, &delivery.Message); err != nil {
			t.Errorf("attempt %d cannot be stored: %v", delivery.Attempt, err)
		}
		var p parcel
		p.fillDead(b, l, &backend.Burial{Delivery: delivery, Message: &delivery.Message})
		if p.err != nil {
			t.Errorf("it cannot be buried: %v", p.err)
		}
	}
}

func TestForeignBodiesAreRead(t *testing.T) {
	for what, c := range map[string]struct {
		delivery amqp.Delivery
		want     backend.Message
	}{
		"as in the example of the package": {
			amqp.Delivery{Body: []byte(`{"job":"send_email","data":{"to":"a@b.c"}}`), DeliveryMode: 2, MessageId: "m1"},
			backend.Message{ID: "m1", Kind: "send_email", Args: []byte(`{"to":"a@b.c"}`)},
		},
		"an ID in the body": {
			amqp.Delivery{Body: []byte(`{"id":"b1","job":"k","data":1}`), MessageId: "m1"},
			backend.Message{ID: "b1", Kind: "k", Args: []byte(`1`)},
		},
		"an ID that is null": {
			amqp.Delivery{Body: []byte(`{"id":null,"job":"k","data":1}`), MessageId: "m1"},
			backend.Message{ID: "m1", Kind: "k", Args: []byte(`1`)},
		},
		"a priority of the message": {
			amqp.Delivery{Body: []byte(`{"id":"1","job":"k","data":1}`), Priority: 9},
			backend.Message{ID: "1", Kind: "k", Args: []byte(`1`), Priority: 9},
		},
		"one that is above the highest": {
			amqp.Delivery{Body: []byte(`{"id":"1","job":"k","data":1}`), Priority: 255},
			backend.Message{ID: "1", Kind: "k", Args: []byte(`1`), Priority: 10},
		},
		"one of the body, which RabbitMQ has not seen": {
			amqp.Delivery{Body: []byte(`{"id":"1","job":"k","data":1,"priority":-70000}`)},
			backend.Message{ID: "1", Kind: "k", Args: []byte(`1`)},
		},
		"properties of another job": {
			amqp.Delivery{Body: []byte(`{"id":"1","job":"k","data":[ 1 ]}`), Type: "other", ContentType: "text/plain", Timestamp: time.Unix(1, 0), Headers: amqp.Table{"attempt": int64(9), "a": "b"}},
			backend.Message{ID: "1", Kind: "k", Args: []byte(`[ 1 ]`)},
		},
	} {
		c.want.Queue = "mail"
		got, malformed := classic.decode("mail", &c.delivery)
		if malformed != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", what, got, malformed, c.want)
		}
	}
	quorum := &settings{}
	if got, _ := quorum.decode("mail", &amqp.Delivery{Body: []byte(`{"job":"k","data":1}`), Priority: 9}); got.Priority != 0 {
		t.Errorf("a quorum queue, which has no priorities, hands out one of %d", got.Priority)
	}
}

func TestAJobWithoutAnIDIsGivenOne(t *testing.T) {
	seen := make(map[string]bool)
	for _, id := range []string{"", "", "\xff", "m\xe9"} { // what is not UTF-8 no envelope can have
		m, malformed := classic.decode("mail", &amqp.Delivery{Body: []byte(`{"job":"k","data":1}`), MessageId: id})
		if malformed != nil || m.ID == "" || seen[m.ID] || !utf8.ValidString(m.ID) {
			t.Errorf("with the message-id %q it was given %q (%v)", id, m.ID, malformed)
		}
		seen[m.ID] = true
	}
}

func TestWhatIsNoEnvelopeIsMalformed(t *testing.T) {
	for _, body := range []string{"", "null", "hello", `"k"`, "[]", "{}", `{"job":"k"}`, `{"data":1}`, `{"job":1,"data":1}`, "\x04\x08", "{\"job\":\"\xff\",\"data\":1}", `{"job":"k","data":1}x`} {
		d := foreign()
		d.Body = []byte(body)
		got, malformed := classic.decode("mail", d)
		if !errors.Is(malformed, backend.ErrMalformed) || !reflect.DeepEqual(got, backend.Message{Queue: "mail"}) {
			t.Errorf("%q: got %+v, %v, want ErrMalformed and the queue alone", body, got, malformed)
		}
		// It is kept as it is.
		if p := aLoan(d).again(); string(p.Body) != body {
			t.Errorf("%q is stored again as %q", body, p.Body)
		}
	}
}
