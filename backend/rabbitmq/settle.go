package rabbitmq

import (
	"context"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// The verbs that settle.
const (
	verbAck     = "ack"
	verbRetry   = "retry"
	verbRelease = "release"
	verbBury    = "bury"
)

// Ack settles jobs as done; see [backend.Backend]. RabbitMQ does not answer an
// ack: one that is lost with its connection leaves the job to run again.
func (b *Backend) Ack(ctx context.Context, deliveries []*backend.Delivery) error {
	return b.settle(ctx, verbAck, deliveries, func(claims []claim) func() {
		return func() { ackEach(claims) }
	})
}

// Retry stores the replacement of each delivery and acks it then. A crash in
// between leaves both.
func (b *Backend) Retry(ctx context.Context, replacements []backend.Replacement) error {
	deliveries := make([]*backend.Delivery, len(replacements))
	for i, r := range replacements {
		deliveries[i] = r.Delivery
	}
	return b.settle(ctx, verbRetry, deliveries, b.replaceBy(func(p *parcel, c *claim) {
		p.fill(b, replacements[c.place].Message)
	}))
}

// Release gives jobs back unspent; see [backend.Backend]. RabbitMQ counts what is
// given back by its own means as handed out, and so each is stored again as it
// is: at the end of the line.
func (b *Backend) Release(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
	if err := checkDelay(delay); err != nil {
		return err
	}
	return b.settle(ctx, verbRelease, deliveries, b.replaceBy(func(p *parcel, c *claim) {
		p.put(b, c.loan.channel.line.queue, delay, c.loan.again())
	}))
}

// Bury stores the message of each delivery among the dead of its queue and acks
// it then. A crash in between leaves both.
func (b *Backend) Bury(ctx context.Context, burials []backend.Burial) error {
	deliveries := make([]*backend.Delivery, len(burials))
	for i, burial := range burials {
		deliveries[i] = burial.Delivery
	}
	return b.settle(ctx, verbBury, deliveries, b.replaceBy(func(p *parcel, c *claim) {
		p.fillDead(b, c.loan, &burials[c.place])
	}))
}

// again is what stores the message of a loan once more. It has been handed out as
// often as before.
func (l *loan) again() amqp.Publishing {
	var headers amqp.Table
	if l.count > 0 {
		headers = amqp.Table{headerDeliveries: int64(l.count)}
	}
	p := again(&l.message, headers)
	if p.MessageId == "" || !utf8.ValidString(p.MessageId) { // such a one is no ID
		p.MessageId = short(l.id)
	}
	return p
}

// replaceBy returns what settle calls for a verb that stores something in the
// place of each delivery, which fill puts in a parcel.
func (b *Backend) replaceBy(fill func(*parcel, *claim)) func(claims []claim) (work func()) {
	return func(claims []claim) func() {
		all := make([]parcel, len(claims))
		for i := range claims {
			fill(&all[i], &claims[i])
		}
		return func() { b.replace(all, claims) }
	}
}

// replace stores parcels and then acks the deliveries that they replace.
func (b *Backend) replace(all []parcel, claims []claim) {
	if err := b.store(b.life, all); err != nil {
		for i := range claims {
			claims[i].err = err
		}
		return
	}
	stored := make([]claim, 0, len(claims))
	for i := range claims {
		if claims[i].err = all[i].err; claims[i].err == nil {
			stored = append(stored, claims[i])
		}
	}
	// Whether the old one is gone too, nobody can be told: an ack has no answer.
	// What is stored counts.
	ackEach(stored)
}

// ackEach acks on the channel of each claim, and sets the err of those whose
// channel is lost.
func ackEach(claims []claim) {
	for len(claims) > 0 {
		ch := claims[0].loan.channel
		same := 1
		for same < len(claims) && claims[same].loan.channel == ch {
			same++
		}
		loans := make([]*loan, same)
		for i := range loans {
			loans[i] = claims[i].loan
		}
		err := ch.ack(loans)
		for i := range loans {
			claims[i].err = err
		}
		claims = claims[same:]
	}
}

// giveBack stores messages again that were fetched and are on loan to nobody.
// While the broker takes none it is told to keep them, and counts them as handed
// out.
func (b *Backend) giveBack(ch *channel, loans []*loan) {
	if len(loans) == 0 {
		return
	}
	if left := b.putBack(ch, loans); len(left) > 0 {
		ch.nack(left)
	}
}

// recount stores messages of a classic queue again that were handed out before
// and not settled: such a queue does not count how often.
func (b *Backend) recount(ch *channel, loans []*loan) {
	for _, l := range loans {
		l.count++
	}
	left := b.putBack(ch, loans)
	c := &b.consumer
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(left) > 0 && !ch.lost.Load() { // with a count that nobody else knows
		ch.line.put(left)
	}
}

// putBack stores the messages of loans again, acks them, and returns those that
// could not be stored: all of them while the broker is known to take none.
func (b *Backend) putBack(ch *channel, loans []*loan) (left []*loan) {
	if conn := b.publishing.peek(); conn != nil && conn.blocked.Load() != nil {
		return loans
	}
	all := make([]parcel, len(loans))
	for i, l := range loans {
		all[i].put(b, ch.line.queue, 0, l.again())
	}
	if b.store(b.life, all) != nil {
		return nil // it is open which of them are, and the backend is closed
	}
	stored := make([]*loan, 0, len(loans))
	for i, l := range loans {
		if all[i].err != nil {
			left = append(left, l)
		} else {
			stored = append(stored, l)
		}
	}
	if len(stored) > 0 {
		ch.ack(stored)
	}
	return left
}
