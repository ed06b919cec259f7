package backendtest

import (
	"slices"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

var dead = []Case{
	{
		Name:  "keeps-message-and-failure",
		Needs: []Capability{DeadSet, Lister},
		Why:   "A person decides from the dead set what to do with a job. What it was and why it failed must all be there.",
		check: func(b *bench) {
			m := b.full()
			b.A.push(m)
			d := b.A.one()
			failure := backend.Failure{
				At:        time.Date(2026, 11, 21, 10, 15, 30, 0, time.UTC),
				Error:     "größer: dial tcp: \"refused\"\n\tline two " + strings.Repeat("x", 2000),
				Type:      "*net.OpError",
				Backtrace: []string{"main.handle(0x1)", "\tmain.go:12 +0x1d", "runtime.goexit"},
				Worker:    "host:1234",
			}
			b.A.bury(d, failure)
			entry := b.buried(1)[0]
			want := *m
			want.Attempt++
			b.same("the dead entry", entry.Malformed, &entry.Message, &want)
			b.sameFailure(entry.Failure, failure)
			if entry.State != backend.Dead || entry.Key == "" {
				b.fail("the dead entry has state %v and key %q, want state dead and a key", entry.State, entry.Key)
			}
		},
	},
	{
		Name:  "keeps-a-failure-that-says-little",
		Needs: []Capability{DeadSet, Lister},
		Why:   "Not every failure has a type or a backtrace; what was left empty stays empty.",
		check: func(b *bench) {
			b.A.push(b.message())
			failure := backend.Failure{At: time.Now(), Error: "out of attempts"}
			b.A.bury(b.A.one(), failure)
			b.sameFailure(b.buried(1)[0].Failure, failure)
		},
	},
	{
		Name:  "keeps-the-message-that-bury-is-given",
		Needs: []Capability{DeadSet, Lister},
		Why:   "The queue writes the end of the story into the message that it buries. The dead set keeps that one, not the one that was delivered.",
		check: func(b *bench) {
			b.A.push(b.message())
			d := b.A.one()
			m := b.full()
			m.ID = d.ID
			buried := backend.Burial{Delivery: d, Message: clone(m), Failure: backend.Failure{At: time.Now(), Error: "buried"}}
			b.A.must("Bury", b.A.Bury(b.ctx, []backend.Burial{buried}))
			entry := b.buried(1)[0]
			b.same("the dead entry", entry.Malformed, &entry.Message, m)
		},
	},
	{
		Name:  "is-one-for-each-queue",
		Needs: []Capability{DeadSet, Lister},
		Why:   "What was buried is found, requeued and deleted by its queue; a key of one queue is none of another.",
		check: func(b *bench) {
			b.bury(1)
			key := b.buried(1)[0].Key
			other := b.queueNamed("other")
			if entries := b.peek(other, backend.Dead, 0, 10); len(entries) != 0 {
				b.fail("the dead set of another queue has %d entries, want 0", len(entries))
			}
			b.found("Requeue of a key of another queue", 0)(b.deadSet().Requeue(b.ctx, other, key))
			b.found("Delete of a key of another queue", 0)(b.deadSet().Delete(b.ctx, other, key))
			b.buried(1)
		},
	},
	{
		Name:  "tells-copies-of-one-id-apart",
		Needs: []Capability{DeadSet, Lister},
		Why:   "A message may die twice, having been pushed again. Each copy is an entry with a key of its own, or deleting one deletes both.",
		check: func(b *bench) {
			m := b.message()
			for range 2 {
				b.A.push(m)
				b.A.do(burying, b.A.one())
			}
			entries := b.buried(2)
			if entries[0].Key == entries[1].Key {
				b.fail("two entries have the key %q", entries[0].Key)
			}
			b.found("Delete of one of two copies", 1)(b.deadSet().Delete(b.ctx, b.queue, entries[0].Key))
			if left := b.buried(1)[0]; left.Key != entries[1].Key {
				b.fail("the entry %q is left, want %q", left.Key, entries[1].Key)
			}
		},
	},
	{
		Name:  "outlives-the-connection",
		Needs: []Capability{DeadSet, Lister},
		Why:   "The dead are in the broker, not in the memory of the worker that buried them.",
		check: func(b *bench) {
			b.bury(2)
			b.A.must("Close", b.A.Close())
			b.A = b.open()
			b.found("Requeue", 2)(b.deadSet().Requeue(b.ctx, b.queue, keys(b.buried(2))...))
			b.A.take(2)
		},
	},
	{
		Name:  "requeue-starts-anew",
		Needs: []Capability{DeadSet, Lister},
		Why:   "A person who requeues a job has mended what broke it: it gets all its attempts again, and everything else as it was.",
		check: func(b *bench) {
			m := b.full()
			b.A.push(m)
			b.A.do(burying, b.A.one())
			b.found("Requeue", 1)(b.deadSet().Requeue(b.ctx, b.queue, keys(b.buried(1))...))
			d := b.A.one()
			m.Attempt = 0
			b.sameMessage(d, m)
			if d.Deliveries > 1 {
				b.fail("the first delivery after a Requeue has Deliveries %d, want 1", d.Deliveries)
			}
			b.buried(0)
			b.A.ack(d)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "requeue-wakes-a-waiting-reserve",
		Needs: []Capability{DeadSet, Lister},
		Why:   "A requeued message is ready at once, and workers are waiting.",
		check: func(b *bench) {
			m := b.bury(1)[0]
			key := b.buried(1)[0].Key
			w := b.open().wait(b.ctx, 1)
			w.isStillWaiting()
			b.found("Requeue", 1)(b.deadSet().Requeue(b.ctx, b.queue, key))
			b.sameMessage(w.one(b.prompt(), "a Requeue"), m)
		},
	},
	{
		Name:  "requeue-takes-just-the-keys-that-it-is-given",
		Needs: []Capability{DeadSet, Lister},
		Why:   "The others stay dead: they may be what brought the service down.",
		check: func(b *bench) {
			messages := b.bury(4)
			all := keys(b.buried(4))
			b.found("Requeue of two keys", 2)(b.deadSet().Requeue(b.ctx, b.queue, all[0], all[2]))
			b.each(b.A.take(2), messages[0], messages[2])
			b.A.nothing(b.quiet())
			b.buried(2)
		},
	},
	{
		Name:  "delete-takes-just-the-keys-that-it-is-given",
		Needs: []Capability{DeadSet, Lister},
		Why:   "What is deleted is gone for good. There is no undo for one too many.",
		check: func(b *bench) {
			messages := b.bury(4)
			all := keys(b.buried(4))
			b.found("Delete of two keys", 2)(b.deadSet().Delete(b.ctx, b.queue, all[1], all[2]))
			var left []string
			for _, entry := range b.buried(2) {
				left = append(left, entry.ID)
			}
			if want := []string{messages[0].ID, messages[3].ID}; !slices.Equal(left, want) {
				b.fail("%v are left in the dead set, want %v", left, want)
			}
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "skips-keys-that-are-gone",
		Needs: []Capability{DeadSet, Lister},
		Why:   "Two people may work on the same page of dead jobs. What one of them has requeued is no error for the other.",
		check: func(b *bench) {
			b.bury(2)
			all := append(keys(b.buried(2)), "no-such-key")
			set := b.deadSet()
			b.found("Requeue of one key", 1)(set.Requeue(b.ctx, b.queue, all[0]))
			b.found("Requeue of a key that is gone, one that never was and one that is there", 1)(set.Requeue(b.ctx, b.queue, all...))
			b.found("Requeue of keys that are gone", 0)(set.Requeue(b.ctx, b.queue, all...))
			b.found("Delete of keys that are gone", 0)(set.Delete(b.ctx, b.queue, all...))
			b.found("Requeue of no key", 0)(set.Requeue(b.ctx, b.queue))
			b.A.take(2)
			b.A.nothing(b.quiet())
		},
	},
}

// bury pushes n messages and buries them, in order. It returns them as the
// dead set has them but for the attempts, which are 0.
func (b *bench) bury(n int) []*backend.Message {
	messages := b.messagesFor(b.queue, n)
	for _, m := range messages {
		b.A.push(m)
		b.A.do(burying, b.A.one())
	}
	return messages
}

// buried returns the dead entries of the queue, which are to be n.
func (b *bench) buried(n int) []*backend.Entry {
	entries := b.peek(b.queue, backend.Dead, 0, n+10)
	if len(entries) != n {
		b.fail("the dead set has %d entries, want %d", len(entries), n)
	}
	return entries
}

func (b *bench) deadSet() backend.DeadSet {
	set, _ := backend.As[backend.DeadSet](b.A.Backend)
	return set
}

// found returns a check of how many entries a method found.
func (b *bench) found(what string, want int) func(n int, err error) {
	return func(n int, err error) {
		s := b.begin(what)
		s.end(outcome(err))
		b.A.must(what, err)
		if n != want {
			b.fail("%s found %d, want %d", what, n, want)
		}
	}
}

func (b *bench) sameFailure(got *backend.Failure, want backend.Failure) {
	if got == nil {
		b.fail("the dead entry has no failure")
	}
	// Resque keeps the time to the second.
	if difference := got.At.Sub(want.At).Abs(); difference >= time.Second {
		b.fail("the failure's At is %v, want %v", got.At, want.At)
	}
	if got.Error != want.Error || got.Type != want.Type || got.Worker != want.Worker || !slices.Equal(got.Backtrace, want.Backtrace) {
		b.fail("the failure is %+v, want %+v", *got, want)
	}
}

func keys(entries []*backend.Entry) []string {
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Key)
	}
	return all
}
