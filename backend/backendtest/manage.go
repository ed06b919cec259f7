package backendtest

import (
	"github.com/goferhq/queue/backend"
)

var manage = []Case{
	{
		Name:  "purge-empties-the-line",
		Needs: []Capability{Purger},
		Why:   "A queue is purged when what is in it must not run, the scheduled included.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 7)
			messages[1].Delay, messages[3].Delay = b.delays(2), b.delays(3)
			b.A.push(messages...)
			b.purged(7)
			b.A.nothing(b.delays(4))
			m := b.message()
			b.A.push(m)
			b.sameMessage(b.A.one(), m)
		},
	},
	{
		Name:  "purge-leaves-reserved-and-dead-alone",
		Needs: []Capability{Purger},
		Why:   "A job that is being run must still be settled, or come back when its worker dies. The dead are for a person.",
		check: func(b *bench) {
			b.A.push(b.message())
			b.A.do(burying, b.A.one())
			b.A.push(b.messagesFor(b.queue, 2)...)
			deliveries := b.A.take(2)
			b.A.push(b.message())
			b.purged(1)
			b.A.ack(deliveries[0])
			b.A.release(0, deliveries[1])
			b.A.ack(b.A.one())
			b.stillBuried(1)
		},
	},
	{
		Name:  "purge-leaves-other-queues-alone",
		Needs: []Capability{Purger},
		Why:   "There is no undo.",
		check: func(b *bench) {
			m := b.messagesFor(b.queueNamed("other"), 1)[0]
			b.A.push(m)
			b.purged(0)
			b.A.one(m.Queue)
		},
	},
	{
		Name:  "pause-stops-the-queue-for-every-connection",
		Needs: []Capability{Pauser},
		Why:   "A queue is paused because its jobs do harm just now. It stops for every worker, those that wait already included.",
		check: func(b *bench) {
			b.pause()
			w := b.A.wait(b.ctx, 1)
			m := b.message()
			b.open().push(m)
			b.open().nothing(b.quiet())
			w.isStillWaiting()
			b.resume()
			b.sameMessage(w.one(b.prompt(), "Resume"), m)
		},
	},
	{
		Name:  "pause-stops-a-reserve-that-waits-already",
		Needs: []Capability{Pauser},
		Why:   "Workers wait in Reserve nearly always. A pause that they see only with their next call lets one more job through for each.",
		check: func(b *bench) {
			w := b.A.wait(b.ctx, 1)
			b.pause()
			m := b.message()
			b.open().push(m)
			b.sleep(b.quiet())
			w.isStillWaiting()
			b.resume()
			b.sameMessage(w.one(b.prompt(), "Resume"), m)
		},
	},
	{
		Name:  "pause-leaves-other-queues-alone",
		Needs: []Capability{Pauser},
		Why:   "Reserve passes a paused queue over and serves the next one.",
		check: func(b *bench) {
			m := b.messagesFor(b.queueNamed("other"), 1)[0]
			b.A.push(b.message(), m)
			b.pause()
			b.sameMessage(b.A.one(b.queue, m.Queue), m)
			b.A.nothing(b.quiet(), b.queue, m.Queue)
			b.resume()
			b.A.one(b.queue, m.Queue)
		},
	},
	{
		Name:  "pause-holds-back-what-comes-due",
		Needs: []Capability{Pauser},
		Why:   "Scheduled and retried jobs become due meanwhile. They wait for the Resume as all others do, and none of them is lost.",
		check: func(b *bench) {
			m := b.message()
			m.Delay = b.delays(1)
			b.A.push(m)
			b.pause()
			b.A.nothing(b.delays(2) + b.quiet())
			b.resume()
			b.sameMessage(b.A.one(), m)
		},
	},
	{
		Name:  "pause-lets-what-runs-be-settled",
		Needs: []Capability{Pauser},
		Why:   "Jobs that run when the queue is paused end as usual. What is done must not come back after the Resume.",
		check: func(b *bench) {
			b.A.push(b.messagesFor(b.queue, 4)...)
			deliveries := b.A.take(4)
			b.pause()
			b.pause() // twice is once
			for i, v := range settling {
				b.A.do(v, deliveries[i])
			}
			b.A.nothing(b.quiet())
			b.resume()
			b.A.ack(b.A.take(2)...)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "pause-shows-in-stats",
		Needs: []Capability{Pauser, Inspector},
		Why:   "Somebody has paused the queue and forgotten it. The others must be able to see that.",
		check: func(b *bench) {
			b.A.push(b.message())
			b.pause()
			b.counts(backend.Stats{Queue: b.queue, Ready: 1, Paused: true})
			b.resume()
			b.counts(backend.Stats{Queue: b.queue, Ready: 1})
		},
	},
	{
		Name:  "check-returns-warnings",
		Needs: []Capability{Checker},
		Why:   "The warnings are logged when a queue opens, each for a person to act on.",
		check: func(b *bench) {
			checker, _ := backend.As[backend.Checker](b.A.Backend)
			warnings, err := checker.Check(b.ctx)
			b.A.must("Check", err)
			for _, warning := range warnings {
				if warning == "" {
					b.fail("Check returned an empty warning")
				}
			}
		},
	},
}

func (b *bench) purged(want int) {
	purger, _ := backend.As[backend.Purger](b.A.Backend)
	b.found("Purge", want)(purger.Purge(b.ctx, b.queue))
}

// stillBuried fails the case unless the dead set, where it can be seen, has n
// entries.
func (b *bench) stillBuried(n int) {
	if has(b.A, Lister) && has(b.A, DeadSet) {
		b.buried(n)
	}
}

func (b *bench) pause() {
	pauser, _ := backend.As[backend.Pauser](b.A.Backend)
	s := b.A.begin("Pause", b.queue)
	err := pauser.Pause(b.ctx, b.queue)
	s.end(outcome(err))
	b.A.must("Pause", err)
}

func (b *bench) resume() {
	pauser, _ := backend.As[backend.Pauser](b.A.Backend)
	s := b.A.begin("Resume", b.queue)
	err := pauser.Resume(b.ctx, b.queue)
	s.end(outcome(err))
	b.A.must("Resume", err)
}
