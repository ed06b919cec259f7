package rabbitmq

import "time"

// Acks wait for each other: for one word to the broker it takes as long whether it
// is about one message or a hundred that come behind each other.
const (
	// ackAfter is how long an ack waits for others; twice as long when it is one
	// for which a message in front is still missing.
	ackAfter = time.Millisecond

	// maxWaiting is how many acks wait at most; fewer if the broker sends no more
	// than a few messages until it hears of them.
	maxWaiting = 64
)

// ack has the broker told that messages are done: soon, and together.
func (c *channel) ack(loans []*loan) error {
	c.mu.Lock()
	if c.lost.Load() {
		c.mu.Unlock()
		return c.lostError()
	}
	for _, l := range loans {
		c.remove(l)
	}
	c.acks = append(c.acks, loans...)
	c.unsent.Add(int64(len(loans)))
	wait := min(int(c.credit.Load())/2, maxWaiting)
	if c.timer == nil {
		c.timer = time.AfterFunc(ackAfter, c.fire)
	}
	if len(c.acks) < wait || c.held {
		c.mu.Unlock()
		return nil
	}
	all := len(c.acks) >= 2*wait // the missing one is slow
	told := c.tell(all)
	c.mu.Unlock()
	c.wereTold(told)
	return nil
}

// fire is called by the timer.
func (c *channel) fire() {
	c.mu.Lock()
	c.timer = nil
	var told []*loan
	if !c.held {
		told = c.tell(false)
		waited := min(c.patient, len(c.acks))
		told = append(told, c.tellEach(waited)...)
	}
	if c.patient = len(c.acks); c.patient > 0 && !c.lost.Load() {
		c.timer = time.AfterFunc(ackAfter, c.fire)
	}
	c.mu.Unlock()
	c.wereTold(told)
}

// flush tells the broker of all acks.
func (c *channel) flush() {
	c.mu.Lock()
	c.held = false
	told := c.tell(true)
	c.mu.Unlock()
	c.wereTold(told)
}

// hold has acks wait until flush: the broker sends no messages in their place.
func (c *channel) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// tell tells the broker of those acks up to which there is none missing by one
// word, and of the others too, one by one, if it is to tell of all. It must tell
// of none twice, or the broker closes the channel. It returns those that it told
// of. The caller holds mu.
func (c *channel) tell(all bool) (told []*loan) {
	done := c.seen // up to this number all are
	if c.oldest != nil {
		done = min(done, c.oldest.number()-1)
	}
	var last uint64
	rest := c.acks[:0]
	for _, l := range c.acks {
		if n := l.number(); n <= done {
			last = max(last, n)
			told = append(told, l)
		} else {
			rest = append(rest, l)
		}
	}
	clear(c.acks[len(rest):])
	c.acks = rest
	if last > 0 {
		// Should it fail, the channel is closed, and all of it comes back.
		c.Ack(last, true)
	}
	if all {
		told = append(told, c.tellEach(len(c.acks))...)
	}
	c.patient = min(c.patient, len(c.acks))
	return told
}

// tellEach tells the broker of the first n acks, one by one. The caller holds mu.
func (c *channel) tellEach(n int) (told []*loan) {
	if n == 0 {
		return nil
	}
	c.conn.wire.hold()
	defer c.conn.wire.flow()
	for _, l := range c.acks[:n] {
		c.Ack(l.number(), false)
	}
	told = append(told, c.acks[:n]...)
	c.acks = append(c.acks[:0], c.acks[n:]...)
	return told
}

// wereTold notes that the broker was told of loans.
func (c *channel) wereTold(loans []*loan) {
	if len(loans) == 0 {
		return
	}
	c.unsent.Add(-int64(len(loans)))
	l := c.line
	l.consumer.mu.Lock()
	defer l.consumer.mu.Unlock()
	c.makeRoom(loans)
	l.settled = time.Now()
	if l.channel != c {
		return
	}
	if l.needsCredit() {
		l.nudge()
	}
	l.mayRest()
}

// nack has the broker keep messages.
func (c *channel) nack(loans []*loan) {
	c.mu.Lock()
	for _, l := range loans {
		c.remove(l)
		c.Nack(l.number(), false, true) // if it fails they come back anyway
	}
	c.mu.Unlock()
	c.unsent.Add(int64(len(loans))) // for a moment
	c.wereTold(loans)
}

// makeRoom notes that the broker was told of loans: it sends as many others. The
// caller holds consumer.mu.
func (c *channel) makeRoom(loans []*loan) {
	c.unsettled -= len(loans)
	for _, l := range loans {
		if l.source.room++; !l.source.ended {
			c.room++
		}
	}
}
