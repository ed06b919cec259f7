package backendtest

import (
	"time"

	"github.com/goferhq/queue/backend"
)

// idleTime is how long the suite watches a Reserve that has nothing to do.
const idleTime = 10 * time.Second

const pollingMatters = "Reserve must wait in the broker, or for a signal of it. One that asks again and again costs a processor in every idle worker, or money where requests are billed."

var idle = []Case{
	{
		Name:  "a-waiting-reserve-does-not-poll",
		Why:   pollingMatters,
		alone: true,
		check: func(b *bench) { b.idles(b.queue, b.queueNamed("second")) },
	},
	{
		Name:  "a-waiting-reserve-of-all-queues-does-not-poll",
		Needs: []Capability{AllQueues},
		Why:   pollingMatters,
		alone: true,
		fresh: true,
		check: func(b *bench) {
			b.A.push(b.message()) // so that there is a queue to look into
			b.A.ack(b.A.one())
			b.idles(backend.AllQueues)
		},
	},
}

// idles fails the case when a Reserve of queues, which are empty, makes more
// than a request in a second.
func (b *bench) idles(queues ...string) {
	if b.Requests == nil {
		b.skip("the harness does not count requests")
	}
	w := b.A.wait(b.ctx, 1, queues...)
	b.sleep(b.Slack) // a broker may first have to make the queues
	before := b.Requests()
	b.sleep(idleTime)
	made := b.Requests() - before
	w.isStillWaiting()
	if most := int64(idleTime / time.Second); made > most {
		b.fail("a Reserve of empty queues made %d requests in %v, want at most %d", made, idleTime, most)
	}
}
