package backendtest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goferhq/queue/backend"
)

var inspect = []Case{
	{
		Name:  "stats-count-each-state",
		Needs: []Capability{Inspector},
		Why:   "Operators watch the counts, and autoscalers act on them.",
		check: func(b *bench) {
			b.inEachState()
			b.counts(backend.Stats{Queue: b.queue, Ready: 3, Scheduled: 2, Reserved: 1, Dead: 1})
		},
	},
	{
		Name:  "stats-follow-what-is-settled",
		Needs: []Capability{Inspector},
		Why:   "A count that only grows, or forgets what is given back, shows load where there is none.",
		check: func(b *bench) {
			b.A.push(b.messagesFor(b.queue, 3)...)
			deliveries := b.A.take(3)
			b.counts(backend.Stats{Queue: b.queue, Reserved: 3})
			b.A.ack(deliveries[0])
			b.A.release(0, deliveries[1])
			m := deliveries[2].Message
			m.Delay = b.delays(80)
			b.A.retry(deliveries[2], &m)
			b.counts(backend.Stats{Queue: b.queue, Ready: 1, Scheduled: 1})
		},
	},
	{
		Name:  "stats-of-an-unknown-queue-are-empty",
		Needs: []Capability{Inspector},
		Why:   "A queue comes into being with its first message. Before, it is empty and no error.",
		check: func(b *bench) {
			b.counts(backend.Stats{Queue: b.queue})
		},
	},
	{
		Name:  "queues-lists-what-has-messages",
		Needs: []Capability{Inspector},
		Why:   "A person looks for the queue that nobody works on. It must be listed whatever state its messages are in.",
		check: func(b *bench) {
			var want []string
			for _, label := range []string{"b", "a", "scheduled", "c-d"} {
				m := b.messagesFor(b.queueNamed(label), 1)[0]
				if label == "scheduled" {
					m.Delay = b.delays(80)
				}
				b.A.push(m)
				want = append(want, m.Queue)
			}
			inspector, _ := backend.As[backend.Inspector](b.A.Backend)
			names, err := inspector.Queues(b.ctx)
			b.A.must("Queues", err)
			for _, name := range want {
				if !slices.Contains(names, name) {
					b.fail("Queues returned %d names without %s, which holds a message", len(names), name)
				}
			}
			if !slices.IsSorted(names) {
				b.fail("Queues returned names that are not sorted: %s", few(names))
			}
		},
	},
	{
		Name:  "peek-takes-nothing",
		Needs: []Capability{Lister},
		Why:   "Who looks at a queue must not change it: no lease, no attempt, no place in the line.",
		check: func(b *bench) {
			m := b.full()
			b.A.push(m)
			for range 3 {
				entries := b.peek(b.queue, backend.Ready, 0, 10)
				if len(entries) != 1 {
					b.fail("Peek of ready messages returned %d entries, want 1", len(entries))
				}
				b.same("the ready entry", entries[0].Malformed, &entries[0].Message, m)
			}
			d := b.A.one()
			b.sameMessage(d, m)
			if d.Deliveries > 1 {
				b.fail("after Peek the first delivery has Deliveries %d, want 1", d.Deliveries)
			}
		},
	},
	{
		Name:  "peek-shows-ready-messages-in-their-order",
		Needs: []Capability{Lister, Order},
		Why:   "A person wants to know what comes next.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 6)
			if has(b.A, Priorities) {
				messages[4].Priority = min(1, backend.LimitsOf(b.A.Backend).MaxPriority)
			}
			b.A.push(messages...)
			shown := b.peek(b.queue, backend.Ready, 0, 10)
			taken := ids(b.takeSingly(6))
			if got := entryIDs(shown); !slices.Equal(got, taken) {
				b.fail("Peek showed %v, but they were reserved in the order %v", got, taken)
			}
		},
	},
	{
		Name:  "peek-shows-scheduled-messages-by-due-time",
		Needs: []Capability{Lister},
		Why:   "The page of scheduled jobs tells when each will run.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 3)
			for i, n := range []int{90, 30, 60} {
				messages[i].Delay = b.delays(n)
			}
			before := time.Now()
			b.A.push(messages...)
			after := time.Now()
			entries := b.peek(b.queue, backend.Scheduled, 0, 10)
			if got, want := entryIDs(entries), messageIDs([]*backend.Message{messages[1], messages[2], messages[0]}); !slices.Equal(got, want) {
				b.fail("Peek of scheduled messages showed %v, want %v", got, want)
			}
			for i, n := range []int{30, 60, 90} {
				earliest, latest := before.Add(b.delays(n)-b.Slack), after.Add(b.roundedUp(b.delays(n))+b.Slack)
				if due := entries[i].DueAt; due.Before(earliest) || due.After(latest) {
					b.fail("DueAt of message %s is %v, want it from %v to %v", entries[i].ID, due, earliest, latest)
				}
			}
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "peek-shows-the-dead-oldest-first",
		Needs: []Capability{Lister, DeadSet},
		Why:   "What broke first is often what broke the rest.",
		check: func(b *bench) {
			messages := b.bury(5)
			if got, want := entryIDs(b.buried(5)), messageIDs(messages); !slices.Equal(got, want) {
				b.fail("Peek of dead messages showed %v, want %v", got, want)
			}
		},
	},
	{
		Name:  "peek-shows-pages",
		Needs: []Capability{Lister, DeadSet},
		Why:   "A dead set of a million is shown page by page, without gaps and repetitions.",
		check: func(b *bench) {
			all := messageIDs(b.bury(5))
			for _, page := range []struct{ offset, limit, from, to int }{
				{0, 2, 0, 2}, {2, 2, 2, 4}, {4, 2, 4, 5}, {5, 2, 5, 5}, {100, 2, 5, 5}, {0, 0, 0, 0}, {1, 100, 1, 5},
			} {
				got := entryIDs(b.peek(b.queue, backend.Dead, page.offset, page.limit))
				if want := all[page.from:page.to]; !slices.Equal(got, want) {
					b.fail("Peek with offset %d and limit %d showed %v, want %v", page.offset, page.limit, got, want)
				}
			}
		},
	},
	{
		Name:  "peek-shows-each-state-by-itself",
		Needs: []Capability{Lister},
		Why:   "A person who looks at the dead must not be shown the living, and decide about them.",
		check: func(b *bench) {
			b.inEachState()
			for state, want := range map[backend.State]int{backend.Ready: 3, backend.Scheduled: 2, backend.Reserved: 1, backend.Dead: 1} {
				entries, err := b.tryPeek(b.queue, state, 0, 10)
				if errors.Is(err, backend.ErrUnsupported) {
					continue
				}
				b.A.must("Peek", err)
				if len(entries) != want {
					b.fail("Peek of %v messages showed %d, want %d", state, len(entries), want)
				}
				for _, entry := range entries {
					if entry.State != state {
						b.fail("Peek of %v messages showed one that is %v", state, entry.State)
					}
				}
			}
		},
	},
	{
		Name:  "peek-of-an-unknown-queue-is-empty",
		Needs: []Capability{Lister},
		Why:   "A queue comes into being with its first message. Before, it is empty and no error.",
		check: func(b *bench) {
			for _, state := range []backend.State{backend.Ready, backend.Scheduled, backend.Dead} {
				entries, err := b.tryPeek(b.queue, state, 0, 10)
				if err != nil && !errors.Is(err, backend.ErrUnsupported) || len(entries) != 0 {
					b.fail("Peek of %v messages of an unknown queue showed %d entries and returned %s", state, len(entries), outcome(err))
				}
			}
		},
	},
}

// inEachState leaves three messages of the queue ready, two scheduled, one
// reserved and one dead.
func (b *bench) inEachState() {
	b.A.push(b.message())
	b.A.do(burying, b.A.one())
	b.A.push(b.message())
	b.A.one()
	messages := b.messagesFor(b.queue, 5)
	messages[1].Delay, messages[3].Delay = b.delays(80), b.delays(90)
	b.A.push(messages...)
}

// counts fails the case unless Stats returns want within the slack: not every
// broker counts at once. A count of -1 is unknown.
func (b *bench) counts(want backend.Stats) {
	inspector, _ := backend.As[backend.Inspector](b.A.Backend)
	known := func(got, want int64) int64 {
		if got == -1 {
			return -1
		}
		return want
	}
	deadline := time.Now().Add(b.Slack)
	for {
		got, err := inspector.Stats(b.ctx, want.Queue)
		b.A.must("Stats", err)
		expected := want
		expected.Ready = known(got.Ready, want.Ready)
		expected.Scheduled = known(got.Scheduled, want.Scheduled)
		expected.Reserved = known(got.Reserved, want.Reserved)
		expected.Dead = known(got.Dead, want.Dead)
		if got == expected {
			return
		}
		if time.Now().After(deadline) {
			b.fail("Stats returned %+v, want %+v", got, expected)
		}
		b.sleep(b.Slack / 4)
	}
}

// peek returns entries of a state. It skips the case on a broker that cannot
// list that state.
func (b *bench) peek(queue string, state backend.State, offset, limit int) []*backend.Entry {
	entries, err := b.tryPeek(queue, state, offset, limit)
	if errors.Is(err, backend.ErrUnsupported) {
		b.skip("the broker cannot list %v messages", state)
	}
	b.A.must("Peek", err)
	return entries
}

func (b *bench) tryPeek(queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
	lister, _ := backend.As[backend.Lister](b.A.Backend)
	s := b.A.begin("Peek", fmt.Sprintf("%s, %v, offset %d, limit %d", queue, state, offset, limit))
	entries, err := lister.Peek(b.ctx, queue, state, offset, limit)
	if err != nil {
		s.end(outcome(err))
	} else {
		s.end(fmt.Sprintf("%d entries", len(entries)))
	}
	return entries, err
}

func entryIDs(entries []*backend.Entry) []string {
	ids := []string{}
	for _, entry := range entries {
		ids = append(ids, entry.ID)
	}
	return ids
}
