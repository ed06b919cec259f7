package backendtest

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

var limits = []Case{
	{
		Name: "are-sane",
		Why:  "The queue checks jobs and options against the limits, before it asks the broker. Limits that contradict themselves refuse everything.",
		check: func(b *bench) {
			l := backend.LimitsOf(b.A.Backend)
			switch {
			case l.MaxBody < 1<<10 || l.MaxBody > backend.MaxEnvelope:
				b.fail("MaxBody is %d, want from 1024 to %d", l.MaxBody, backend.MaxEnvelope)
			case l.MaxBatch < 0:
				b.fail("MaxBatch is %d, want 0 or more", l.MaxBatch)
			case l.MaxDelay < 0:
				b.fail("MaxDelay is %v, want 0 or more", l.MaxDelay)
			case l.MinPriority > 0 || l.MaxPriority < 0:
				b.fail("priorities are from %d to %d, want 0, the default, among them", l.MinPriority, l.MaxPriority)
			case l.MinLease < 0 || l.MinLease > b.Lease || l.MaxLease != 0 && l.MaxLease < b.Lease:
				b.fail("leases are from %v to %v, want the harness's lease of %v among them", l.MinLease, l.MaxLease, b.Lease)
			}
		},
	},
	{
		Name: "let-a-large-message-through-whole",
		Why:  "What is within the limit must arrive, to the last byte. Some brokers cut, or fail only when they restart.",
		check: func(b *bench) {
			// 1 KiB is for the envelope; above 2 MiB nothing new is learnt.
			size := min(backend.LimitsOf(b.A.Backend).MaxBody-1<<10, 2<<20)
			m := b.message()
			m.Args = argsOf(size)
			b.A.push(m)
			d := b.A.one()
			b.sameMessage(d, m)
			b.A.ack(d)
		},
	},
	{
		Name: "refuse-a-message-that-is-too-large",
		Why:  "A message that the broker does not take must be an error that the producer can tell from a broken connection: trying again does not help.",
		check: func(b *bench) {
			m := b.message()
			m.Args = argsOf(backend.LimitsOf(b.A.Backend).MaxBody + 1)
			b.wantError("Push of a message above MaxBody", backend.ErrorAt(b.A.tryPush(m), 0), backend.ErrTooLarge)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "let-the-neighbours-of-a-too-large-message-through",
		Why:  "The queue collects the jobs of many callers into one Push. One of them must not fail the others.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 3)
			messages[1].Args = argsOf(backend.LimitsOf(b.A.Backend).MaxBody + 1)
			err := b.A.tryPush(messages...)
			b.wantError("Push of a batch with a message above MaxBody", backend.ErrorAt(err, 1), backend.ErrTooLarge)
			for _, i := range []int{0, 2} {
				if err := backend.ErrorAt(err, i); err != nil {
					b.fail("Push failed number %d of a batch in which number 2 is too large: %v", i+1, err)
				}
			}
			b.each(b.A.take(2), messages[0], messages[2])
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "refuse-a-replacement-that-is-too-large",
		Why:  "A message that has grown too large is not stored; then its old self must not be gone. The worker still holds it, and buries it.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			m := d.Message
			m.Args = argsOf(backend.LimitsOf(b.A.Backend).MaxBody + 1)
			b.wantError("Retry with a message above MaxBody", backend.ErrorAt(b.A.tryRetry(d, &m), 0), backend.ErrTooLarge)
			b.A.nothing(b.quiet())
			b.A.ack(d)
		},
	},
	{
		Name: "refuse-a-delay-that-is-too-long",
		Why:  "A broker that cannot wait that long must say so. A delay that is cut runs the job days early.",
		check: func(b *bench) {
			longest := backend.LimitsOf(b.A.Backend).MaxDelay
			if longest == 0 {
				b.skip("the limits have no MaxDelay")
			}
			m := b.message()
			m.Delay = longest + max(b.DelayUnit, time.Second)
			if backend.ErrorAt(b.A.tryPush(m), 0) == nil {
				b.fail("Push with a delay of %v succeeded, want an error: MaxDelay is %v", m.Delay, longest)
			}
			m = b.message()
			m.Delay = longest
			b.A.push(m)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "refuse-a-priority-that-is-too-high",
		Why:  "A priority that is cut, or ignored by a broker that has none, puts a job where its producer did not want it.",
		check: func(b *bench) {
			l := backend.LimitsOf(b.A.Backend)
			for _, priority := range []int{l.MaxPriority + 1, l.MinPriority - 1} {
				m := b.message()
				m.Priority = priority
				if backend.ErrorAt(b.A.tryPush(m), 0) == nil {
					b.fail("Push with priority %d succeeded, want an error: the limits are %d and %d", priority, l.MinPriority, l.MaxPriority)
				}
			}
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "refuse-an-invalid-message",
		Why:  "What no broker takes is an error of the caller, and one that can be told from a failure of the broker.",
		check: func(b *bench) {
			wrong := map[string]func(m *backend.Message){
				"no kind": func(m *backend.Message) { m.Kind = "" },
			}
			for _, name := range []string{"", " ", "*", "a b", "-a", "a\r\nb", "ü", "a\x00b", strings.Repeat("q", backend.MaxQueueName+1)} {
				wrong["queue "+shown([]byte(name))] = func(m *backend.Message) { m.Queue = name }
			}
			for what, change := range wrong {
				m := b.message()
				change(m)
				began := time.Now()
				b.wantError("Push with "+what, backend.ErrorAt(b.A.tryPush(m), 0), backend.ErrInvalid)
				b.took("Push with "+what, time.Since(began), b.prompt())
			}
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "are-told-item-by-item",
		Why:  "A producer pushes again what failed. When Push says of a message that it failed and it was stored, or the other way round, jobs run twice or never.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 4)
			messages[1].Kind = ""
			messages[2].Queue = "not valid"
			err := b.A.tryPush(messages...)
			var stored []*backend.Message
			for i, m := range messages {
				if backend.ErrorAt(err, i) == nil {
					stored = append(stored, m)
				}
			}
			for _, i := range []int{1, 2} {
				if !errors.Is(backend.ErrorAt(err, i), backend.ErrInvalid) {
					b.fail("Push returned for the invalid number %d %s, want an error that is %q", i+1, outcome(backend.ErrorAt(err, i)), backend.ErrInvalid)
				}
			}
			b.each(b.A.take(len(stored)), stored...)
			b.A.nothing(b.quiet())
		},
	},
}

// argsOf returns a JSON text of size bytes.
func argsOf(size int) []byte {
	args := bytes.Repeat([]byte("x"), size)
	args[0], args[size-1] = '"', '"'
	return args
}
