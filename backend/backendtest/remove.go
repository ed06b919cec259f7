package backendtest

import (
	"fmt"
	"strings"

	"github.com/goferhq/queue/backend"
)

// remove are the cases of Remove. They belong to the group manage.
var remove = []Case{
	{
		Name:  "remove-by-id-takes-one",
		Needs: []Capability{Remover},
		Why:   "A user cancels one job, waiting or scheduled. It must not run, and all others must.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 4)
			messages[2].Delay, messages[3].Delay = b.delays(2), b.delays(2)
			b.A.push(messages...)
			for _, i := range []int{1, 2} {
				b.removed(1, backend.Filter{ID: messages[i].ID})
				b.removed(0, backend.Filter{ID: messages[i].ID})
			}
			b.each(b.A.take(2), messages[0], messages[3])
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "remove-by-kind-takes-all-of-it",
		Needs: []Capability{Remover},
		Why:   "A kind whose handler is broken is taken out of the line as a whole, and nothing else with it.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 6)
			for i := range 3 {
				messages[2*i].Kind = "broken"
			}
			messages[2].Delay = b.delays(2)
			b.A.push(messages...)
			b.removed(3, backend.Filter{Kind: "broken"})
			b.each(b.A.take(3), messages[1], messages[3], messages[5])
			b.A.nothing(b.delays(3))
		},
	},
	{
		Name:  "remove-takes-what-matches-every-field",
		Needs: []Capability{Remover},
		Why:   "A filter narrows with each field. One that widens removes what nobody asked for.",
		check: func(b *bench) {
			m := b.message()
			b.A.push(m, b.message())
			b.removed(0, backend.Filter{ID: m.ID, Kind: "another"})
			b.removed(0, backend.Filter{ID: "none", Kind: m.Kind})
			b.removed(0, backend.Filter{ID: m.ID, Args: []byte(`"another"`)})
			b.removed(0, backend.Filter{Kind: "another", Args: m.Args})
			b.removed(1, backend.Filter{ID: m.ID, Kind: m.Kind, Args: m.Args})
			b.A.ack(b.A.one())
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "remove-leaves-other-queues-alone",
		Needs: []Capability{Remover},
		Why:   "The same kind may be on several queues, and only one of them is meant.",
		check: func(b *bench) {
			m := b.messagesFor(b.queueNamed("other"), 1)[0]
			b.A.push(m)
			b.removed(0, backend.Filter{ID: m.ID})
			b.removed(0, backend.Filter{Kind: m.Kind})
			b.removed(0, backend.Filter{Args: m.Args})
			b.A.one(m.Queue)
		},
	},
	{
		Name:  "remove-leaves-reserved-and-dead-alone",
		Needs: []Capability{Remover},
		Why:   "A job that is being run cannot be taken back, and its worker is to settle it. The dead are for a person.",
		check: func(b *bench) {
			b.A.push(b.message())
			b.A.do(burying, b.A.one())
			b.A.push(b.message())
			d := b.A.one()
			b.removed(0, backend.Filter{Kind: d.Kind})
			b.removed(0, backend.Filter{ID: d.ID})
			b.removed(0, backend.Filter{Args: []byte(`{}`)})
			b.A.ack(d)
			b.stillBuried(1)
		},
	},
	{
		Name:  "remove-takes-what-matches-any-filter",
		Needs: []Capability{Remover},
		Why:   "Several jobs are taken back in one call, each by what its caller knows of it. One that two filters select is still one job.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 6)
			messages[1].Kind, messages[2].Kind = "broken", "broken"
			messages[3].Delay = b.delays(2)
			b.A.push(messages...)
			b.removed(4,
				backend.Filter{ID: messages[0].ID},
				backend.Filter{ID: "none"},
				backend.Filter{Kind: "broken"},
				backend.Filter{ID: messages[1].ID},
				backend.Filter{Args: messages[2].Args},
				backend.Filter{Args: messages[3].Args},
			)
			b.each(b.A.take(2), messages[4], messages[5])
			b.A.nothing(b.delays(3))
		},
	},
	{
		Name:  "remove-by-args-compares-values",
		Needs: []Capability{Remover},
		Why:   "A producer in another language takes a job back by its kind and arguments. Each language writes the same value in its own way.",
		check: func(b *bench) {
			messages := b.messagesWith(
				`{"user":7,"name":"é/","list":[1,{"a":null}],"ok":true}`,
				`{ "ok" : true, "list" : [ 1.0, { "a" : null } ], "name" : "\u00e9\/", "user" : 0.7e1 }`,
				`{"user":"7","name":"é/","list":[1,{"a":null}],"ok":true}`,
				`{"user":7,"name":"é/","list":[1,{"a":false}],"ok":true}`,
				`{"user":7,"name":"É/","list":[1,{"a":null}],"ok":true}`,
				`{"user":7,"name":"é/","list":[{"a":null},1],"ok":true}`,
				`{"user":7,"name":"é/","list":[1,{"a":null}],"ok":1}`,
				`{"user":7,"name":"é/","list":[1,{"a":null}],"ok":true}`,
			)
			messages[1].Delay = b.delays(2)
			messages[7].Kind = "another"
			b.A.push(messages...)
			b.removed(2, backend.Filter{Kind: messages[0].Kind, Args: messages[0].Args})
			b.each(b.A.take(6), messages[2:]...)
			b.A.nothing(b.delays(3))
		},
	},
	{
		Name:  "remove-by-args-tells-large-numbers-apart",
		Needs: []Capability{Remover},
		Why:   "IDs of 64 bits do not fit the numbers of many a JSON library. Two that are rounded to the same remove somebody else's job.",
		check: func(b *bench) {
			messages := b.messagesWith(`{"id":12345678901234567}`, `{"id":12345678901234568}`, `{"id":1e300}`, `{"id":1e301}`)
			b.A.push(messages...)
			b.removed(1, backend.Filter{Args: messages[0].Args})
			b.removed(1, backend.Filter{Args: []byte(`{"id":10e299}`)})
			b.removed(0, backend.Filter{Args: []byte(`{"id":1e999999999}`)})
			b.each(b.A.take(2), messages[1], messages[3])
		},
	},
	{
		Name:  "remove-by-args-needs-only-some-members-of-an-object",
		Needs: []Capability{Remover},
		Why:   "All jobs of one user are taken back by the user, whatever else they carry. Within a member everything counts.",
		check: func(b *bench) {
			messages := b.messagesWith(
				`{"user":{"id":7},"n":1}`, `{"n":2,"user":{"id":7}}`, `{"user":{"id":7}}`,
				`{"user":{"id":7,"name":"x"}}`, `{"user":{}}`, `{"n":1}`, `{}`, `[{"user":{"id":7}}]`, `"user"`, `null`,
			)
			b.A.push(messages...)
			b.removed(1, backend.Filter{Args: []byte(`{"n":1,"user":{"id":7}}`)})
			b.removed(2, backend.Filter{Args: []byte(`{"user":{"id":7}}`)})
			b.removed(0, backend.Filter{Args: []byte(`{"name":null}`)})
			b.removed(4, backend.Filter{Args: []byte(`{}`)})
			b.each(b.A.take(3), messages[7:]...)
		},
	},
	{
		Name:  "remove-by-args-takes-a-list-as-a-whole",
		Needs: []Capability{Remover},
		Why:   "Ruby and PHP take a job back by the list of its arguments. One that only begins like it is another job.",
		check: func(b *bench) {
			messages := b.messagesWith(`[7,"a"]`, `["a",7]`, `[7]`, `[7,"a",null]`, `[[7,"a"]]`, `[]`, `7`, `"a"`, `null`)
			b.A.push(messages...)
			for _, i := range []int{0, 2, 5, 7, 8} {
				b.removed(1, backend.Filter{Kind: messages[i].Kind, Args: messages[i].Args})
			}
			b.each(b.A.take(4), messages[1], messages[3], messages[4], messages[6])
		},
	},
	{
		Name:  "remove-by-an-empty-filter-is-invalid",
		Needs: []Capability{Remover},
		Why:   "A filter whose fields were forgotten matches everything. That is what Purge is for.",
		check: func(b *bench) {
			m := b.message()
			b.A.push(m)
			for what, filters := range map[string][]backend.Filter{
				"no filter":                      nil,
				"an empty filter":                {{}},
				"an empty filter behind another": {{ID: m.ID}, {}},
			} {
				_, err := b.tryRemove(filters...)
				b.wantError("Remove with "+what, err, backend.ErrInvalid)
			}
			b.A.one()
		},
	},
	{
		Name:  "remove-by-args-that-are-no-json-is-invalid",
		Needs: []Capability{Remover},
		Why:   "A mistake in the arguments must not look as if the job had already run, nor leave half of the work done.",
		check: func(b *bench) {
			m := b.message()
			b.A.push(m)
			for _, args := range []string{`{`, ` `, `x`, `{"n":1} {"n":1}`, `{"n":01}`, "\"\xff\""} {
				_, err := b.tryRemove(backend.Filter{ID: m.ID}, backend.Filter{Kind: m.Kind, Args: []byte(args)})
				b.wantError("Remove with the Args "+shown([]byte(args)), err, backend.ErrInvalid)
			}
			b.A.one()
		},
	},
}

// messagesWith returns a new message for each of args.
func (b *bench) messagesWith(args ...string) []*backend.Message {
	messages := b.messagesFor(b.queue, len(args))
	for i := range args {
		messages[i].Args = []byte(args[i])
	}
	return messages
}

func (b *bench) tryRemove(filters ...backend.Filter) (int, error) {
	remover, _ := backend.As[backend.Remover](b.A.Backend)
	s := b.A.begin("Remove", b.queue+", "+filterNames(filters))
	n, err := remover.Remove(b.ctx, b.queue, filters...)
	if err != nil {
		s.end(outcome(err))
	} else {
		s.end(fmt.Sprintf("%d removed", n))
	}
	return n, err
}

func (b *bench) removed(want int, filters ...backend.Filter) {
	n, err := b.tryRemove(filters...)
	b.A.must("Remove of "+filterNames(filters), err)
	if n != want {
		b.fail("Remove of %s removed %d, want %d", filterNames(filters), n, want)
	}
}

func filterNames(filters []backend.Filter) string {
	var names []string
	for _, f := range filters {
		var fields []string
		if f.ID != "" {
			fields = append(fields, "ID "+f.ID)
		}
		if f.Kind != "" {
			fields = append(fields, "kind "+f.Kind)
		}
		if len(f.Args) > 0 {
			fields = append(fields, "args "+shown(f.Args))
		}
		names = append(names, "{"+strings.Join(fields, ", ")+"}")
	}
	return few(names)
}
