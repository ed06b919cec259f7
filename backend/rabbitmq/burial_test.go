package rabbitmq

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

func TestAFailureComesBackAsItWas(t *testing.T) {
	for _, want := range []backend.Failure{aFailure(), {}, {Error: "é…😀\x00<&>\u2028"}, {Error: strings.Repeat("x", maxFailure/2)}} {
		got := failureOf(&amqp.Delivery{Headers: amqp.Table{headerFailure: failureHeader(want)}})
		if got == nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%.50v came back as %.50v", want, got)
		}
	}
}

func TestAFailureIsCutToTheRoomThereIs(t *testing.T) {
	frames := func(n, size int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = strings.Repeat("f", size)
		}
		return all
	}
	for what, change := range map[string]func(*backend.Failure){
		"an error of 1 MB":                        func(f *backend.Failure) { f.Error = strings.Repeat("x", 1<<20) },
		"an error of 1 MB of é":                   func(f *backend.Failure) { f.Error = strings.Repeat("é", 1<<19) },
		"one that begins within a character":      func(f *backend.Failure) { f.Error = "x" + strings.Repeat("😀", 1<<18) },
		"one of characters that JSON has to hide": func(f *backend.Failure) { f.Error = strings.Repeat("\x00<&>\"", 1<<16) },
		"one that is not text":                    func(f *backend.Failure) { f.Error = strings.Repeat("\xff", 1<<18) },
		"a backtrace of 10,000 frames":            func(f *backend.Failure) { f.Backtrace = frames(10_000, 20) },
		"a frame of 1 MB":                         func(f *backend.Failure) { f.Backtrace = frames(1, 1<<20) },
		"a few frames of 256 KB":                  func(f *backend.Failure) { f.Backtrace = frames(3, 1<<18) },
		"a type of 1 MB":                          func(f *backend.Failure) { f.Type = strings.Repeat("é", 1<<19) },
		"a worker of 1 MB":                        func(f *backend.Failure) { f.Worker = strings.Repeat("é", 1<<19) },
		"all of them": func(f *backend.Failure) {
			f.Error, f.Backtrace, f.Type, f.Worker = strings.Repeat("…", 1<<17), frames(500, 1000), strings.Repeat("t", 1<<18), strings.Repeat("w", 1<<18)
		},
	} {
		whole := aFailure()
		change(&whole)
		checkFailure(t, what, whole)
	}
}

// checkFailure fails the test unless what the dead set keeps of a failure has
// the size that it may, and is the beginning of it.
func checkFailure(t *testing.T, what string, whole backend.Failure) {
	t.Helper()
	text := failureHeader(whole)
	if len(text) > maxFailure || !json.Valid([]byte(text)) || !utf8.ValidString(text) {
		t.Fatalf("%s: the header has %d bytes and is %.100q", what, len(text), text)
	}
	got := failureOf(&amqp.Delivery{Headers: amqp.Table{headerFailure: text}})
	if got == nil || !got.At.Equal(whole.At) {
		t.Fatalf("%s: it came back as %+v", what, got)
	}
	begins := func(name, whole, got string) {
		// JSON has another character for each byte that is none.
		if whole = string([]rune(whole)); !strings.HasPrefix(whole, strings.TrimRight(got, "…\ufffd")) {
			t.Errorf("%s: the %s is %.50q, want the beginning of %.50q", what, name, got, whole)
		}
	}
	begins("error", whole.Error, got.Error)
	if begin := strings.TrimSuffix(got.Error, "…"); utf8.ValidString(whole.Error) && !strings.HasPrefix(whole.Error, begin) {
		t.Errorf("%s: the error is cut amid a character: %q", what, begin[max(0, len(begin)-9):])
	}
	begins("type", whole.Type, got.Type)
	begins("worker", whole.Worker, got.Worker)
	if whole.Error != "" && got.Error == "" || whole.Type != "" && got.Type == "" {
		t.Errorf("%s: nothing remains of the error, %q of type %q", what, got.Error, got.Type)
	}
	if len(got.Backtrace) > len(whole.Backtrace) {
		t.Fatalf("%s: the backtrace grew", what)
	}
	for i, frame := range got.Backtrace {
		begins("backtrace", whole.Backtrace[i], frame)
	}
}

func TestWhatIsNoFailureIsNone(t *testing.T) {
	for _, value := range []any{nil, "", "boom", "[]", `{"at":"yesterday"}`, `{"error":`, 7, []byte(`{"error":"boom"}`), amqp.Table{"error": "boom"}} {
		if got := failureOf(&amqp.Delivery{Headers: amqp.Table{headerFailure: value}}); got != nil {
			t.Errorf("%v is the failure %+v", value, got)
		}
	}
}

// buried is what the dead set is given of a burial.
func buried(t *testing.T, d *amqp.Delivery, m *backend.Message, failure backend.Failure) amqp.Publishing {
	t.Helper()
	b := newBackend(*classic)
	var p parcel
	p.fillDead(b, aLoan(d), &backend.Burial{Message: m, Failure: failure})
	if p.err != nil {
		t.Fatal(p.err)
	}
	if p.exchange != "" || p.key != "mail.dead" || p.queue != "mail" {
		t.Errorf("it goes to %q by %q, for queue %q", p.key, p.exchange, p.queue)
	}
	return p.message
}

func TestABuriedMessageComesBackWithItsFailure(t *testing.T) {
	for what, m := range map[string]*backend.Message{"a message": aMessage(), "what is none": nil} {
		d := foreign()
		if m == nil {
			d.Body = []byte("hello")
		}
		p := buried(t, d, m, aFailure())
		fits(t, p)
		if p.DeliveryMode != amqp.Persistent || p.Expiration != "" || p.Headers["x-death"] != nil || p.Headers["CC"] != nil || p.Headers[headerDeliveries] != nil {
			t.Errorf("%s is buried as %+v", what, p)
		}
		e := newBackend(*classic).entry("mail", "key", delivered(p))
		if e.Failure == nil || !reflect.DeepEqual(*e.Failure, aFailure()) || e.State != backend.Dead || e.Key != "key" {
			t.Errorf("%s came back as %+v", what, e)
		}
		if m != nil && (e.Malformed != nil || !reflect.DeepEqual(e.Message, *m)) {
			t.Errorf("%s came back as %+v (%v), want %+v", what, e.Message, e.Malformed, *m)
		}
		if m == nil && (!errors.Is(e.Malformed, backend.ErrMalformed) || string(e.Raw) != "hello" || p.Headers["tenant"] != "acme") {
			t.Errorf("%s came back as %q with %v (%v)", what, e.Raw, p.Headers, e.Malformed)
		}
		if key, ok := p.Headers[headerKey].(string); !ok || keyOf(delivered(p), nil) != key {
			t.Errorf("%s has the key %v", what, p.Headers[headerKey])
		}
	}
}

// A producer's headers may fill a frame by themselves. Were its message to be
// buried with a failure besides, RabbitMQ would close the connection each time.
func TestABurialFitsIntoAFrame(t *testing.T) {
	failure := aFailure()
	for range 600 { // about as much as is kept of a failure
		failure.Backtrace = append(failure.Backtrace, strings.Repeat("f", 100))
	}
	d := foreign()
	d.Body = []byte("hello")
	d.Headers["large"] = strings.Repeat("x", 110<<10)
	p := buried(t, d, nil, failure)
	fits(t, p)
	if failureOf(delivered(p)) == nil {
		t.Error("nothing remains of the failure")
	}
}

func TestTheKeysOfTheDeadDiffer(t *testing.T) {
	same := make(map[string]int)
	seen := make(map[string]bool)
	for _, d := range []*amqp.Delivery{
		{Headers: amqp.Table{headerKey: "k1"}}, {Headers: amqp.Table{headerKey: "k2"}},
		{Body: []byte("a")}, {Body: []byte("a")}, {Body: []byte("b")}, {},
		{Headers: amqp.Table{headerKey: ""}, Body: []byte("c")}, {Headers: amqp.Table{headerKey: int64(1)}, Body: []byte("d")},
	} {
		key := keyOf(d, same)
		if key == "" || seen[key] {
			t.Errorf("%+v has the key %q", d, key)
		}
		seen[key] = true
	}
	if again := keyOf(&amqp.Delivery{Body: []byte("b")}, make(map[string]int)); !seen[again] {
		t.Errorf("with the next look at them, b has the key %q", again)
	}
}

func TestNamesThatADriverKeepsForItselfAreRefused(t *testing.T) {
	for _, name := range []string{"", "-a", "a b", "grün", "a*", "#", "gofer.", "gofer.delay.00", "gofer.mail", "amq", "amq.", "amq.topic", ".dead", "mail.dead", strings.Repeat("a", 201)} {
		if err := checkQueue(name); !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("%.20q: got %v, want ErrInvalid", name, err)
		}
	}
	for _, name := range []string{"mail", "a-b_c.d/e+f:g", "gofer", "gofers.a", "amqp.a", "dead", "dead.a", "mail.deadly", strings.Repeat("a", 200)} {
		if err := checkQueue(name); err != nil {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}
