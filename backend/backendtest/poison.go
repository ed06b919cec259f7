package backendtest

import (
	"bytes"
	"errors"
	"strings"

	"github.com/goferhq/queue/backend"
)

// shapes are bytes that were seen to bring down workers, or that a hostile
// producer would try. Which of them are messages after all, the harness says.
var shapes = []struct {
	name string
	raw  string
}{
	{"text", "hello"},
	{"nothing", ""},
	{"blanks", " \n"},
	{"null", "null"},
	{"a-list", "[1,2]"},
	{"a-number", "42"},
	{"a-string", `"text"`},
	{"an-empty-object", "{}"},
	{"an-object-of-others", `{"event":"signup","user":7}`},
	{"a-truncated-object", `{"job":"a","class":"a","data":{"n":`},
	{"two-objects", `{"job":"a","data":1}{"job":"b","data":2}`},
	{"a-lone-surrogate", `"\ud800"`},
	{"a-lone-surrogate-within", `{"job":"a","data":"\ud800"}`},
	{"a-number-beyond-all", `1e400`},
	{"a-number-beyond-all-within", `{"job":"a","data":1e400}`},
	{"invalid-utf8", "\xff\xfe\xfd"},
	{"invalid-utf8-within", "{\"job\":\"a\",\"data\":\"\xc3\x28\"}"},
	{"nul", "\x00"},
	{"nul-within", "{\"job\":\"a\x00\",\"data\":1}"},
	{"every-byte", everyByte()},
	{"line-breaks", "a\r\nb\r\n\r\n"},
	{"a-byte-order-mark", "\ufeff{\"job\":\"a\",\"data\":1}"},
	{"deep-nesting", strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)},
	{"deep-nesting-within", `{"job":"a","data":` + strings.Repeat(`{"a":`, 5_000) + "1" + strings.Repeat("}", 5_000) + "}"},
	{"deep-nesting-unclosed", strings.Repeat(`[{"a":`, 5_000)},
	{"a-key-twice", `{"job":"a","job":"b","data":1}`},
	{"a-kind-that-is-a-number", `{"job":42,"class":42,"data":1}`},
	{"a-kind-that-is-empty", `{"job":"","class":"","data":1}`},
	{"an-attempt-that-is-text", `{"job":"a","data":1,"attempt":"many"}`},
	{"an-attempt-below-zero", `{"job":"a","data":1,"attempt":-1}`},
	{"an-attempt-beyond-all", `{"job":"a","data":1,"attempt":9223372036854775807}`},
	{"headers-that-are-a-list", `{"job":"a","data":1,"headers":["a"]}`},
	{"a-time-that-is-none", `{"job":"a","data":1,"enqueued_at":"yesterday"}`},
	{"php-serialized", `O:8:"stdClass":1:{s:1:"a";i:1;}`},
	{"huge", strings.Repeat("x", 1<<20)},
}

func everyByte() string {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return string(all)
}

const whyPoison = "Anybody who reaches the broker can put any bytes there. They must neither stop the worker nor get lost nor hold up their neighbours: they are delivered as malformed, and buried with their raw bytes for a person to look at."

// poison returns a case for each shape, and some for all of them.
func poison() []Case {
	var cases []Case
	for _, shape := range shapes {
		cases = append(cases, Case{
			Name:  "of-" + shape.name,
			Needs: []Capability{ForeignProducers},
			Why:   whyPoison,
			check: func(b *bench) {
				raw := []byte(shape.raw)
				raw = raw[:min(len(raw), backend.LimitsOf(b.A.Backend).MaxBody-1<<10)]
				good := b.messagesFor(b.queue, 2)
				b.A.push(good[0])
				b.put(raw)
				b.A.push(good[1])
				bad, others := b.split(b.A.take(3))
				b.each(others, good...)
				b.delivered(bad, raw)
				b.A.ack(others...)
				if bad.Malformed == nil {
					b.A.ack(bad)
				} else {
					b.A.do(burying, bad)
					b.keptRaw(raw)
				}
				b.A.nothing(b.quiet())
			},
		})
	}
	return append(cases, whole...)
}

// whole are the cases of malformed messages that need but one shape.
var whole = []Case{
	{
		Name:  "in-masses-does-not-hide-the-good-messages",
		Needs: []Capability{ForeignProducers},
		Why:   "A broken producer may leave thousands of bad messages. Whoever drains them one batch at a time must come through to the good ones.",
		check: func(b *bench) {
			var good []*backend.Message
			for range 10 {
				for range 10 {
					b.put([]byte(malformed))
				}
				m := b.message()
				good = append(good, m)
				b.A.push(m)
			}
			var others []*backend.Delivery
			for range 110 {
				d := b.A.one()
				if d.Malformed == nil {
					others = append(others, d)
					continue
				}
				b.A.do(burying, d)
			}
			b.each(others, good...)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "is-delivered-again-after-its-lease",
		Needs: []Capability{ForeignProducers, Leases},
		Why:   "A worker may die before it has buried what it cannot read. The bytes must not get lost with it, nor its lease hold up those of others.",
		check: func(b *bench) {
			b.put([]byte(malformed))
			b.A.push(b.message())
			b.A.takeFor(b.Lease, 2)
			bad, others := b.split(b.A.take(2))
			b.delivered(bad, []byte(malformed))
			b.attemptIs(2, others[0], "the neighbour of a malformed message after a lease")
			if bad.Deliveries == 1 {
				b.fail("a malformed message whose lease has ended has Deliveries 1, want 2, or 0 if unknown")
			}
		},
	},
	{
		Name:  "can-be-released",
		Needs: []Capability{ForeignProducers},
		Why:   "A worker that stops gives back everything that it holds, without looking at it.",
		check: func(b *bench) {
			b.put([]byte(malformed))
			b.A.release(0, b.A.one())
			b.delivered(b.A.one(), []byte(malformed))
		},
	},
	{
		Name:  "comes-back-from-the-dead-as-it-was",
		Needs: []Capability{ForeignProducers, DeadSet, Lister},
		Why:   "The bytes may be those of a newer version, and what could not be read yesterday can be read after a deploy.",
		check: func(b *bench) {
			b.put([]byte(malformed))
			b.A.do(burying, b.A.one())
			b.found("Requeue of a malformed message", 1)(b.deadSet().Requeue(b.ctx, b.queue, keys(b.buried(1))...))
			b.delivered(b.A.one(), []byte(malformed))
			b.buried(0)
		},
	},
}

// malformed is a message in no format, and text that every broker carries.
const malformed = "this is not a message"

// put stores raw as a foreign producer would.
func (b *bench) put(raw []byte) {
	s := b.begin("PutRaw(" + shown(raw) + ")")
	err := b.PutRaw(b.ctx, b.queue, raw)
	s.end(outcome(err))
	if errors.Is(err, backend.ErrUnsupported) {
		b.skip("the broker does not take %s", shown(raw))
	}
	b.A.must("PutRaw of the harness", err)
}

// split returns the one delivery that the suite has not pushed, and the
// others.
func (b *bench) split(deliveries []*backend.Delivery) (foreign *backend.Delivery, others []*backend.Delivery) {
	for _, d := range deliveries {
		if d.Malformed != nil || !strings.HasPrefix(d.ID, b.name) {
			foreign = d
		} else {
			others = append(others, d)
		}
	}
	if foreign == nil {
		b.fail("%s were delivered, want the foreign message among them", deliveryNames(deliveries))
	}
	return foreign, others
}

// delivered fails the case unless d is what the driver should make of raw.
func (b *bench) delivered(d *backend.Delivery, raw []byte) {
	if b.Accepts(raw) {
		if d.Malformed != nil {
			b.fail("%s is malformed (%v), but Harness.Accepts takes it for a message", shown(raw), d.Malformed)
		}
		return
	}
	if !errors.Is(d.Malformed, backend.ErrMalformed) {
		b.fail("%s was delivered with Malformed %v, want an error that is %q", shown(raw), d.Malformed, backend.ErrMalformed)
	}
	if !bytes.Equal(d.Raw, raw) {
		b.fail("Raw is %s, want %s", shown(d.Raw), shown(raw))
	}
	if d.Queue != b.queue {
		b.fail("the malformed message is of queue %q, want %q", d.Queue, b.queue)
	}
}

// keptRaw fails the case unless the dead set, where it can be seen, holds raw.
func (b *bench) keptRaw(raw []byte) {
	if !has(b.A, Lister) || !has(b.A, DeadSet) {
		return
	}
	entry := b.buried(1)[0]
	if !bytes.Equal(entry.Raw, raw) || !errors.Is(entry.Malformed, backend.ErrMalformed) {
		b.fail("the dead set has %s with Malformed %v, want the malformed %s", shown(entry.Raw), entry.Malformed, shown(raw))
	}
	if entry.Failure == nil || entry.Failure.Error == "" {
		b.fail("the dead set has no failure for the malformed message")
	}
}
