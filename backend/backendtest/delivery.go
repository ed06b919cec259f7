package backendtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/goferhq/queue/backend"
)

var delivery = []Case{
	{
		Name: "a-message-comes-back-as-it-was-pushed",
		Why:  "Everything that a producer says about a job must reach its handler: a driver that forgets a field, or parses and prints one, changes what is run.",
		check: func(b *bench) {
			m := b.full()
			m.Header, m.Extra, m.Args = nil, nil, []byte(`{"n":1}`) // have cases of their own
			b.A.push(m)
			b.sameMessage(b.A.one(), m)
		},
	},
	{
		Name: "a-message-with-the-least-comes-back-as-it-was-pushed",
		Why:  "A field that was left empty must come back empty, not as a default that the driver made up.",
		check: func(b *bench) {
			m := &backend.Message{ID: b.name, Kind: "backendtest", Queue: b.queue, Args: []byte(`null`)}
			b.A.push(m)
			b.sameMessage(b.A.one(), m)
		},
	},
	{
		Name: "args-come-back-byte-for-byte",
		Why:  "Arguments that are decoded and encoded again lose large numbers, empty lists, the order of keys and duplicates. A driver must carry them as bytes.",
		check: func(b *bench) {
			var messages []*backend.Message
			for _, args := range []string{
				`{}`, `[]`, `[{}]`, `null`, `true`, `""`, `0`, `-0`, `1e2`, `1.0`, `12345678901234567890123`,
				`{ "z" : 1 , "a" : [ 1 , 2 ] }`, "{\n\t\"a\": 1\r\n}", `{"a":1,"a":2}`, `{"":{"":[[]]}}`,
				`"\u00e9 é \/ \u003c < \" \\ \t \u0000 \u2028"`, "\"\u2028 \u007f \u0416\"", `"` + strings.Repeat("long ", 500) + `"`,
				`{"job":"other","data":1,"id":"x","attempt":9}`, `"%s %d {{.}} ${x}"`, "\"a\\r\\nb\"",
			} {
				m := b.message()
				m.Args = []byte(args)
				messages = append(messages, m)
			}
			b.comeBack(messages)
		},
	},
	{
		Name: "characters-of-four-bytes-come-back",
		Why:  "Users' texts have emoji in them; a broker that refuses or replaces them needs a driver that encodes them.",
		check: func(b *bench) {
			m := b.message()
			m.Args = []byte(`"🐹 \ud83d\udc39 𝄞"`)
			m.Header = map[string]string{"🐹": "𝄞"}
			b.comeBack([]*backend.Message{m})
		},
	},
	{
		Name: "headers-come-back",
		Why:  "Headers carry trace contexts, tenants and whatever else users' middleware put there.",
		check: func(b *bench) {
			m := b.message()
			m.Header = map[string]string{"trace": "00-4bf92f", "empty": "", "": "no name", "grüße": "größer \"als\"\r\n", "long": strings.Repeat("x", 2000)}
			b.comeBack([]*backend.Message{m})
		},
	},
	{
		Name: "extra-fields-come-back-byte-for-byte",
		Why:  "Extra holds the fields that a newer version wrote. An older worker that drops them in passing breaks the newer one in a rolling deploy.",
		check: func(b *bench) {
			m := b.message()
			m.Extra = b.full().Extra
			b.comeBack([]*backend.Message{m})
		},
	},
	{
		Name: "kinds-are-any-text",
		Why:  "A kind is the name of a class in other languages: with backslashes in PHP, colons in Ruby.",
		check: func(b *bench) {
			var messages []*backend.Message
			for _, kind := range []string{`App\Jobs\Email`, "Mail::Send", "größe", "a b", `"quoted"`, "a/b?c=d#e", strings.Repeat("k", 300)} {
				m := b.message()
				m.Kind = kind
				messages = append(messages, m)
			}
			b.comeBack(messages)
		},
	},
	{
		Name: "queue-names-are-kept-apart",
		Why:  "A name of up to 80 letters, digits, - and _ must work on every broker. Others that backend.CheckQueueName accepts work or are invalid; a driver that maps what its broker does not take must not map two names to one.",
		check: func(b *bench) {
			var messages []*backend.Message
			for _, label := range []string{"a_b", "a-b", "A-B", "a-b-", "2", "_", "a_2e_b", "a--b", strings.Repeat("q", 80)} {
				name := b.queueNamed(label)
				messages = append(messages, b.messagesFor(name[:min(len(name), 80)], 1)...)
			}
			b.A.push(messages...)
			for _, label := range []string{"a.b", "a:b", "a/b", "a+b", strings.Repeat("q", backend.MaxQueueName)} {
				name := b.queueNamed(label)
				m := b.messagesFor(name[:min(len(name), backend.MaxQueueName)], 1)[0]
				err := backend.ErrorAt(b.A.tryPush(m), 0)
				if errors.Is(err, backend.ErrInvalid) {
					continue
				}
				b.A.must("Push to "+m.Queue, err)
				messages = append(messages, m)
			}
			for _, m := range messages {
				d := b.A.one(m.Queue)
				b.sameMessage(d, m)
				b.A.ack(d)
			}
		},
	},
	{
		Name: "a-message-reaches-another-connection",
		Why:  "Producers and workers are different processes.",
		check: func(b *bench) {
			m := b.full()
			b.A.push(m)
			b.sameMessage(b.open().one(), m)
		},
	},
	{
		Name: "a-push-of-500-arrives-whole",
		Why:  "A batch that is larger than the broker takes is split by the driver, and no part of it may get lost on the way.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 500)
			b.A.push(messages...)
			deliveries := b.A.take(len(messages))
			b.each(deliveries, messages...)
			b.A.ack(deliveries...)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name: "a-push-to-several-queues-reaches-each",
		Why:  "One batch may hold messages for different queues; each goes where it says.",
		check: func(b *bench) {
			first, second := b.queueNamed("first"), b.queueNamed("second")
			var messages []*backend.Message
			for i := range 6 {
				messages = append(messages, b.messagesFor([]string{first, second}[i%2], 1)...)
			}
			b.A.push(messages...)
			b.each(b.A.take(3, first), messages[0], messages[2], messages[4])
			b.each(b.A.take(3, second), messages[1], messages[3], messages[5])
		},
	},
	{
		Name: "a-pushed-message-belongs-to-the-caller-again",
		Why:  "The queue uses a Message again as soon as Push returns. A driver that keeps the pointer stores what was written there later.",
		check: func(b *bench) {
			m := b.message()
			pushed := *m
			b.A.must("Push", b.A.Push(b.ctx, []*backend.Message{&pushed}))
			pushed = backend.Message{ID: "changed", Kind: "changed", Queue: "changed", Attempt: 99, Priority: 1}
			b.sameMessage(b.A.one(), m)
		},
	},
	{
		Name: "a-changed-delivery-changes-nothing-in-the-broker",
		Why:  "Middleware may write to the Delivery that it was given. What the broker holds must not change with it, and it is still found by its Receipt.",
		check: func(b *bench) {
			m := b.full()
			b.A.push(m)
			d := b.A.one()
			changed := backend.Delivery{Receipt: d.Receipt}
			changed.Queue, changed.ID = d.Queue, "changed"
			d.Message = backend.Message{Queue: d.Queue, ID: "changed", Kind: "changed", Args: []byte(`"changed"`), Attempt: 99}
			b.A.release(0, &changed)
			again := b.A.one()
			b.sameMessage(again, m)
			b.A.ack(again)
		},
	},
	{
		Name: "an-empty-batch-is-a-no-op",
		Why:  "Batches are collected and may end up empty; that is no reason for an error or a request to the broker.",
		check: func(b *bench) {
			b.A.push()
			for _, v := range settling {
				b.A.do(v)
			}
			if has(b.A, Extender) {
				b.A.do(extending)
			}
		},
	},
}

// comeBack fails the case unless the messages, pushed as a batch, come back as
// they were.
func (b *bench) comeBack(messages []*backend.Message) {
	b.A.push(messages...)
	deliveries := b.A.take(len(messages))
	b.each(deliveries, messages...)
	byID := make(map[string]*backend.Message)
	for _, m := range messages {
		byID[m.ID] = m
	}
	for _, d := range deliveries {
		b.sameMessage(d, byID[d.ID])
	}
}

// numbered returns args that are told apart by n.
func numbered(n int) json.RawMessage { return fmt.Appendf(nil, `{"n":%d}`, n) }
