package rabbitmq

import (
	"slices"
	"time"
)

// line is a queue that is consumed from. A goroutine tends it while there is
// something to do for it: see tend.
type line struct {
	consumer *consumer
	queue    string

	// All below is guarded by consumer.mu.

	channel *channel // nil while there is none
	free    []*loan  // fetched, on loan to nobody; of channel
	waiting []*waiter
	demand  int // how many messages those want
	curious int // of them, those who must know whether the queue is empty

	// empty says that the broker held no ready message at a time since which it
	// has sent all there are: some credit was left ever since.
	empty bool

	asked   time.Time     // when somebody has last asked
	kept    time.Time     // since when there is something in free
	settled time.Time     // when the broker was last told of one
	timer   *time.Timer   // of the rest; nil unless it is set
	restAt  time.Time     // when that ends
	resting bool          // the consumers are to be ended
	look    time.Time     // when to look again whether the queue is empty
	most    int           // the largest demand since the channel was opened
	starved time.Time     // since when credit is missing; zero if it is not
	tending chan struct{} // closed when the goroutine ends; nil if there is none
	work    chan struct{} // of capacity 1: there may be something to do

	stumbles int // of the goroutine alone: consumers in a row that could not be made
}

const (
	// restAfter is how long a message that was fetched waits for somebody to ask
	// for it, before it is given back for others to take. A worker that has room
	// asks within microseconds.
	restAfter = 50 * time.Millisecond

	// starvation is how long a line waits for credit to come back.
	starvation = 5 * time.Millisecond

	// endAfter is how long a consumer waits with nothing to give to anybody.
	endAfter = time.Second
)

func newLine(c *consumer, queue string) *line {
	return &line{consumer: c, queue: queue, work: make(chan struct{}, 1)}
}

// takeUpTo takes messages out of the line. The caller holds consumer.mu.
func (l *line) takeUpTo(max int) []*loan {
	n := min(max, len(l.free))
	if n == 0 {
		return nil
	}
	taken := l.free[:n:n]
	if l.free = l.free[n:]; len(l.free) == 0 {
		l.free = nil
	}
	return taken
}

// came notes that messages have come from a subscription. The caller holds
// consumer.mu.
func (l *line) came(ch *channel, from *subscription, messages int) {
	ch.unsettled += messages
	ch.room -= messages
	from.room -= messages
	if ch.room <= 0 {
		l.empty = false // the broker can send no more of what it has
	}
}

// put adds messages to the line. The caller holds consumer.mu.
func (l *line) put(loans []*loan) {
	if len(l.free) == 0 {
		l.kept = time.Now()
	}
	l.free = append(l.free, loans...)
	if l.curious > 0 {
		l.nudge() // who waits for that need not be sure any more
	}
	l.wakeOne()
	l.mayRest()
}

// enlist adds a waiter. The caller holds consumer.mu.
func (l *line) enlist(w *waiter, curious bool) {
	l.waiting = append(l.waiting, w)
	l.demand += w.demand
	l.most = max(l.most, l.demand)
	if curious {
		l.curious++
		w.curious = l
	}
	if l.channel == nil || l.needsCredit() || curious {
		l.nudge()
	}
}

// strike takes a waiter off. The caller holds consumer.mu.
func (l *line) strike(w *waiter) {
	i := slices.Index(l.waiting, w)
	if i < 0 {
		return
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	l.demand -= w.demand
	if w.curious == l {
		l.curious--
		w.curious = nil
	}
}

// wakeOne has the one look again who has waited longest. Should there be more
// than it takes, it wakes the next. The caller holds consumer.mu.
func (l *line) wakeOne() {
	if len(l.waiting) > 0 && len(l.free) > 0 {
		l.waiting[0].notify()
	}
}

// wakeAll has everybody look again. The caller holds consumer.mu.
func (l *line) wakeAll() {
	for _, w := range l.waiting {
		w.notify()
	}
}

// room is how many messages more the broker sends. The caller holds consumer.mu.
func (l *line) room() int {
	if l.channel == nil {
		return 0
	}
	return l.channel.room
}

// needsCredit reports whether the broker would send less than half of what is
// asked for. The caller holds consumer.mu.
func (l *line) needsCredit() bool {
	if l.demand == 0 || l.channel == nil {
		return false
	}
	return 2*(l.room()+len(l.free)+int(l.channel.unsent.Load())) < l.demand
}

// canWait reports whether credit that is missing is likely to come back soon,
// without more of it: all that was ever asked for at a time was granted. A worker
// has room for the next jobs a little before it tells of the last ones. The caller
// holds consumer.mu.
func (l *line) canWait() bool {
	if int(l.channel.credit.Load()) < l.most {
		return false
	}
	if l.starved.IsZero() {
		l.starved = time.Now()
	}
	return time.Since(l.starved) < starvation
}

// hoards reports whether the line keeps messages from others that nobody has
// asked for, or is about to, or has a channel for nothing; and since when. The
// caller holds consumer.mu.
func (l *line) hoards() (until time.Time, hoards bool) {
	switch {
	case l.demand > 0 || l.channel == nil || l.consumer.closed:
		return time.Time{}, false
	case len(l.free) > 0 && l.kept.After(l.asked):
		return l.kept.Add(restAfter), true
	case len(l.free) > 0:
		return l.asked.Add(restAfter), true
	case l.room() > 0:
		return l.asked.Add(endAfter), true
	case l.channel.unsettled == 0 && l.settled.After(l.asked):
		// RabbitMQ forgets the latest of many acks when their channel is closed.
		return l.settled.Add(endAfter), true
	case l.channel.unsettled == 0:
		return l.asked.Add(endAfter), true
	}
	return time.Time{}, false
}

// mayRest sets the timer after which a line that hoards is put to rest. The
// caller holds consumer.mu.
func (l *line) mayRest() {
	at, hoards := l.hoards()
	if !hoards || l.timer != nil && !at.Before(l.restAt) {
		return
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	wait := max(time.Until(at), lookAgain) // it may have been tried just now
	l.restAt = time.Now().Add(wait)
	l.timer = time.AfterFunc(wait, l.rest)
}

// rest is called by the timer.
func (l *line) rest() {
	c := l.consumer
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(l.restAt) {
		return // it was set anew
	}
	l.timer = nil
	if at, hoards := l.hoards(); !hoards || time.Now().Before(at) {
		l.mayRest()
		return
	}
	l.resting = true
	l.nudge()
}

// nudge has the goroutine that tends the line look what is to be done. The
// caller holds consumer.mu.
func (l *line) nudge() {
	if l.tending == nil {
		if l.consumer.closed {
			return
		}
		l.tending = make(chan struct{})
		l.consumer.backend.running.Go(l.tend)
		return
	}
	select {
	case l.work <- struct{}{}:
	default:
	}
}
