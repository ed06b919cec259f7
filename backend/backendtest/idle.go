package backendtest

import "time"

// idleTime is how long the suite watches a Reserve that has nothing to do.
const idleTime = 10 * time.Second

var idle = []Case{{
	Name:  "a-waiting-reserve-does-not-poll",
	Why:   "Reserve must wait in the broker, or for a signal of it. One that asks again and again costs a processor in every idle worker, or money where requests are billed.",
	alone: true,
	check: func(b *bench) {
		if b.Requests == nil {
			b.skip("the harness does not count requests")
		}
		w := b.A.wait(b.ctx, 1, b.queue, b.queueNamed("second"))
		before := b.Requests()
		b.sleep(idleTime)
		made := b.Requests() - before
		w.isStillWaiting()
		if most := int64(idleTime / time.Second); made > most {
			b.fail("a Reserve of two empty queues made %d requests in %v, want at most %d", made, idleTime, most)
		}
	},
}}
