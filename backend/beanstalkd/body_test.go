package beanstalkd

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goferhq/queue/backend"
)

// aMessage is a message with a bit of everything.
func aMessage() *backend.Message {
	return &backend.Message{
		ID: "1", Kind: "send_email", Args: []byte(`{"to":"ann@example.org"}`), Attempt: 2, MaxAttempts: 5, Priority: -7,
		EnqueuedAt: time.Date(2026, 11, 21, 10, 15, 0, 5, time.UTC),
		Header:     map[string]string{"trace": "00-0a"},
		Extra:      map[string]json.RawMessage{"zone": []byte(`"eu"`)},
	}
}

// aFailure is a failure that is long in every way.
func aFailure() backend.Failure {
	return backend.Failure{
		At:        time.Date(2026, 11, 21, 10, 16, 0, 0, time.UTC),
		Error:     strings.Repeat("é", 500),
		Type:      "*errors.errorString",
		Backtrace: []string{"main.main", "runtime.main"},
		Worker:    "host:1",
	}
}

// buried is the burial of a delivery that came with priority; of raw when m is
// nil.
func buried(m *backend.Message, raw string, priority uint32, failure backend.Failure) backend.Burial {
	d := &backend.Delivery{Receipt: &receipt{raw: []byte(raw), priority: priority}}
	return backend.Burial{Delivery: d, Message: m, Failure: failure}
}

// without returns m without the driver's own member.
func without(m backend.Message) backend.Message {
	var kept map[string]json.RawMessage
	for name, value := range m.Extra {
		if name != own {
			if kept == nil {
				kept = make(map[string]json.RawMessage)
			}
			kept[name] = value
		}
	}
	m.Extra = kept
	return m
}

func TestABodyComesBackAsItsMessage(t *testing.T) {
	for _, lease := range []int{1, 30, maxSeconds} {
		m := aMessage()
		body, err := appendBody([]byte("before"), m, lease)
		if err != nil {
			t.Fatal(err)
		}
		got := decodeBody(body[len("before"):])
		if got.malformed != nil || got.lease != lease || !reflect.DeepEqual(got.message, *m) {
			t.Errorf("%s came back as %+v, with a TTR of %d (%v)", body, got.message, got.lease, got.malformed)
		}
		if got.failure != nil || got.attempt != 0 || !bytes.Equal(got.raw, body[len("before"):]) {
			t.Errorf("%s came back as the job of a burial: %+v", body, got)
		}
	}
}

func TestABodyHasOneMemberOfTheDriver(t *testing.T) {
	m := aMessage()
	m.Extra[own] = []byte(`{"somebody":"else"}`)
	body, err := appendBody(nil, m, 30)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(body, []byte(`"`+own+`"`)); n != 1 {
		t.Errorf("%s has %d of them", body, n)
	}
	if m.Extra[own] == nil {
		t.Error("the message of the caller was changed")
	}
}

func TestTheMemberOfTheDriverIsFoundWhereverItStands(t *testing.T) {
	for _, raw := range []string{
		`{"job":"k","data":1,"gofer":{"ttr":30}}`,
		`{"job":"k","gofer":{"ttr":30},"data":1}`,
		`{"gofer":{"ttr":30},"job":"k","data":1}`,
		`{"job":"k","data":1,"gofer":{"ttr":30} }`,
		`{"job":"k","data":1, "gofer" : { "ttr" : 30 } }`,
		`{"job":"k","data":1,"\u0067ofer":{"ttr":30}}`,
		`{"job":"k","data":1,"gofer":{"ttr":30,"attempt":0}}`,
	} {
		got := decodeBody([]byte(raw))
		if got.malformed != nil || got.lease != 30 || got.message.Kind != "k" || got.message.Extra != nil {
			t.Errorf("%s is %+v with a TTR of %d (%v)", raw, got.message, got.lease, got.malformed)
		}
	}
}

func TestAMemberOfTheSameNameThatIsNotTheDriversIsKept(t *testing.T) {
	for _, value := range []string{
		`null`, `true`, `30`, `"30"`, `[]`, `{}`, `{"ttr":0}`, `{"ttr":-1}`, `{"ttr":"30"}`, `{"ttr":1.5}`, `{"ttr":null}`,
		`{"ttr":4294967296}`, `{"ttr":99999999999}`, `{"ttr":999999999999999999999}`,
		`{"ttr":30,"attempt":-1}`, `{"ttr":30,"failure":"boom"}`, `{"ttr":30,"failure":{"at":"yesterday"}}`,
	} {
		raw := `{"job":"k","data":1,"gofer":` + value + `}`
		got := decodeBody([]byte(raw))
		if got.malformed != nil || got.lease != 0 || string(got.message.Extra[own]) != value {
			t.Errorf("%s is %+v with a TTR of %d (%v)", raw, got.message, got.lease, got.malformed)
		}
	}
}

func TestAMemberDeepInAJobIsNotTheDrivers(t *testing.T) {
	for _, raw := range []string{
		`{"job":"k","data":{"a":1,"gofer":{"ttr":30}}}`,
		`{"job":"k","data":{"a":",\"gofer\":{\"ttr\":30}}"}}`,
		`{"job":"k","data":1,"zone":{"a":1,"gofer":{"ttr":30}}}`,
	} {
		got := decodeBody([]byte(raw))
		if got.malformed != nil || got.lease != 0 {
			t.Errorf("%s has a TTR of %d (%v)", raw, got.lease, got.malformed)
		}
	}
}

func TestWhatIsNoEnvelopeIsNoneWithTheMemberOfTheDriverEither(t *testing.T) {
	for _, raw := range []string{
		``, `}}`, `,"gofer":{"ttr":30}}`, `{,"gofer":{"ttr":30}}`, `{"job":"k","gofer":{"ttr":30}}`,
		`{"job":"k","data":1,"gofer":{"ttr":}}`, `{"job":"k","data":1,"gofer":{"ttr":+30}}`, `{"job":"k","data":1,"gofer":{"ttr":030}}`,
		`{"job":"k","data":1,"gofer":{"ttr":30},"gofer":{"ttr":30}}`, `{"job":"k","data":1,"gofer":1,"gofer":{"ttr":30}}`,
		`{"job":"k","data":1,,"gofer":{"ttr":30}}`, `{"job":"k","data":",","gofer":{"ttr":30}}}`,
	} {
		before := strings.Clone(raw)
		got := decodeBody([]byte(raw))
		if !errors.Is(got.malformed, backend.ErrMalformed) || got.lease != 0 || string(got.raw) != before {
			t.Errorf("%s is %+v with a TTR of %d (%v)", raw, got.message, got.lease, got.malformed)
		}
	}
}

func TestABuriedMessageComesBackWithItsFailure(t *testing.T) {
	m, failure := aMessage(), aFailure()
	body, ok := buriedBody(buried(m, "", 9, failure), 30, 1<<16)
	if !ok {
		t.Fatal("there is no room")
	}
	got := decodeBody(body)
	want := *m
	want.Attempt = 0 // a job that is kicked begins anew
	if got.malformed != nil || !reflect.DeepEqual(got.message, want) {
		t.Errorf("it came back as %+v (%v)", got.message, got.malformed)
	}
	if got.lease != 30 || got.attempt != 2 || got.priority != 9 || !reflect.DeepEqual(*got.failure, failure) {
		t.Errorf("it came back with a TTR of %d, attempt %d, priority %d and the failure %+v", got.lease, got.attempt, got.priority, got.failure)
	}
}

func TestMalformedBytesComeBackAsTheyWere(t *testing.T) {
	failure := aFailure()
	failure.Error = "}\n{\"gofer\":"
	for _, raw := range []string{"", "\n", "}\n", "\xff\x00", `{"job":`, `{"gofer":{"ttr":1}}`, `{"gofer":{"ttr":1}}` + "\n", `{"gofer":{"failure":{}}}` + "\nx"} {
		body, ok := buriedBody(buried(nil, raw, 9, failure), 30, 1<<16)
		if !ok {
			t.Fatal("there is no room")
		}
		got := decodeBody(body)
		if string(got.raw) != raw || !errors.Is(got.malformed, backend.ErrMalformed) {
			t.Errorf("%q came back as %q (%v)", raw, got.raw, got.malformed)
		}
		if got.lease != 30 || got.priority != 9 || got.failure == nil || !reflect.DeepEqual(*got.failure, failure) {
			t.Errorf("%q came back with a TTR of %d, priority %d and the failure %+v", raw, got.lease, got.priority, got.failure)
		}
	}
}

func TestAFailureIsCutToTheRoomThereIs(t *testing.T) {
	for name, m := range map[string]*backend.Message{"a message": aMessage(), "malformed bytes": nil} {
		burial := buried(m, "raw", 9, aFailure())
		whole, ok := buriedBody(burial, 30, 1<<16)
		if !ok {
			t.Fatal("there is no room")
		}
		cuts := map[string]bool{}
		for limit := len(whole); limit >= 0; limit-- {
			body, ok := buriedBody(burial, 30, limit)
			if !ok {
				cuts["nothing"] = true
				continue
			}
			if len(body) > limit || cuts["nothing"] {
				t.Fatalf("%s took %d bytes of %d", name, len(body), limit)
			}
			got := decodeBody(body).failure
			cut := "both"
			switch {
			case got.Backtrace != nil && got.Error == burial.Failure.Error:
				cut = "none"
			case got.Backtrace == nil && got.Error == burial.Failure.Error:
				cut = "backtrace"
			case got.Backtrace != nil:
				t.Fatalf("%s lost the error before the backtrace", name)
			default:
				begin, found := strings.CutSuffix(got.Error, "…")
				if !found || begin == "" || !strings.HasPrefix(burial.Failure.Error, begin) || !utf8.ValidString(begin) {
					t.Fatalf("%s lost more than the end of the error: %q", name, got.Error)
				}
			}
			cuts[cut] = true
		}
		if len(cuts) != 4 {
			t.Errorf("%s was cut as %v, want each of the four ways", name, cuts)
		}
	}
}

func TestAnErrorIsCutBetweenCharacters(t *testing.T) {
	for shift := range 4 {
		for _, character := range []string{"é", "…", "😀", "\xff", "\x80"} {
			failure := aFailure()
			failure.Error = strings.Repeat("x", shift) + strings.Repeat(character, 3000)
			body, ok := buriedBody(buried(aMessage(), "", 9, failure), 30, 2000)
			if !ok {
				t.Fatalf("there is no room for %.8q", failure.Error)
			}
			got := strings.TrimSuffix(decodeBody(body).failure.Error, "…")
			if utf8.ValidString(failure.Error) && !strings.HasPrefix(failure.Error, got) {
				t.Errorf("%.20q was cut amid a character: %q", failure.Error, got)
			}
		}
	}
}

func TestABuriedMessageIsNeverTooLargeToBeDecoded(t *testing.T) {
	m := aMessage()
	m.Args = []byte(`"` + strings.Repeat("x", backend.MaxEnvelope-400) + `"`)
	body, ok := buriedBody(buried(m, "", 9, aFailure()), 30, 1<<30)
	if !ok {
		return // the job is buried as it is
	}
	if got := decodeBody(body); got.malformed != nil {
		t.Errorf("it came back malformed: %v", got.malformed)
	}
}

// FuzzBody gives any bytes to the decoder, which must agree with the plain way
// to do it, and buries what came out.
func FuzzBody(f *testing.F) {
	for _, raw := range []string{
		`{"job":"k","data":1,"gofer":{"ttr":30}}`,
		`{"job":"k","data":1,"gofer":{"ttr":030}}`,
		`{"gofer":{"ttr":30},"job":"k","data":{"a":1,"gofer":{"ttr":30}}}`,
		`{"job":"k","data":[],"id":"1","attempt":1,"x":{},"gofer":{"ttr":30,"attempt":5,"failure":{"at":"2026-11-21T10:15:00Z","error":"boom"},"priority":7}}`,
		`{"gofer":{"ttr":30,"failure":{"at":"2026-11-21T10:15:00Z","error":"boom"}}}` + "\nwhat it was",
		`{"gofer":{"ttr":30,"failure":{}}}` + "\n" + `{"job":"k","data":1,"gofer":{"ttr":30}}`,
		`{"job":"k","data":1,"gofer":{}}`, `{"job":"k","data":1,"gofer":null}`, `{"job":"k","data":1}`,
		`{,"gofer":{"ttr":30}}`, `{"job":"k","data":1,"gofer":1,"gofer":{"ttr":30}}`, `{"gofer":`, `}}`, `",`, ``,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		got := decodeBody(raw)
		if !bytes.Equal(raw, before) {
			t.Fatalf("%q became %q", before, raw)
		}
		if !bytes.HasSuffix(raw, got.raw) {
			t.Fatalf("the bytes %q are not the producer's of %q", got.raw, raw)
		}
		wrapped := len(got.raw) < len(raw)
		message, malformed := backend.DecodeEnvelope(got.raw)
		if (malformed == nil) != (got.malformed == nil) {
			t.Fatalf("%q: the decoder says %v, the envelope's %v", raw, got.malformed, malformed)
		}
		if got.lease > 0 && !wrapped {
			message = without(message)
		}
		if !reflect.DeepEqual(got.message, message) {
			t.Errorf("%q: the decoder says %+v, the envelope's %+v", raw, got.message, message)
		}
		if got.lease < 0 || got.lease > maxSeconds || got.attempt < 0 || wrapped && got.failure == nil || got.failure != nil && got.lease == 0 {
			t.Errorf("%q is %+v", raw, got)
		}
		rebury(t, got)
		if got.malformed != nil {
			return
		}
		want := without(got.message)
		body, err := appendBody(nil, &got.message, 30)
		if err != nil {
			t.Fatalf("%q cannot be written again: %v", raw, err)
		}
		if again := decodeBody(body); again.malformed != nil || again.lease != 30 || !reflect.DeepEqual(again.message, want) {
			t.Errorf("%q came back as %+v with a TTR of %d (%v), want %+v", body, again.message, again.lease, again.malformed, want)
		}
	})
}

// rebury buries what was decoded, and decodes that.
func rebury(t *testing.T, held stored) {
	failure := aFailure()
	failure.Error = string(held.raw)
	burial := buried(nil, string(held.raw), 9, failure)
	if held.malformed == nil {
		burial.Message = &held.message
	}
	limit := 2*len(held.raw) + 800
	body, ok := buriedBody(burial, 30, limit)
	if !ok {
		return
	}
	again := decodeBody(body)
	if len(body) > limit || again.lease != 30 || again.failure == nil || again.priority != 9 {
		t.Fatalf("%q was buried as %q", held.raw, body)
	}
	if held.malformed != nil {
		if !bytes.Equal(again.raw, held.raw) || again.malformed == nil {
			t.Errorf("%q was buried as %q, of which %q came back", held.raw, body, again.raw)
		}
		return
	}
	want := without(held.message)
	want.Attempt = 0
	if again.malformed != nil || again.attempt != held.message.Attempt || !reflect.DeepEqual(again.message, want) {
		t.Errorf("%q was buried as %q and came back as %+v (%v)", held.raw, body, again.message, again.malformed)
	}
}
