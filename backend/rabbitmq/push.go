package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// Push stores messages. It returns when RabbitMQ has confirmed each of them, or
// refused it; see [backend.Backend].
//
// A message whose confirm was lost with the connection may be stored or not, and
// its error says so: RabbitMQ cannot be asked.
func (b *Backend) Push(ctx context.Context, messages []*backend.Message) error {
	if err := b.usable(ctx); err != nil || len(messages) == 0 {
		return err
	}
	all := make([]parcel, len(messages))
	for i, m := range messages {
		all[i].fill(b, m)
		if err := b.usable(ctx); err != nil {
			return err
		}
	}
	if err := b.store(ctx, all); err != nil {
		return err
	}
	return errorsOf(all)
}

// parcel is a message with the queue that it is for.
type parcel struct {
	publication
	queue string // the one that must be there
	delay int64  // in seconds
}

// errorsOf returns how it went as an error of a batch.
func errorsOf(all []parcel) error {
	for i := range all {
		if all[i].err == nil {
			continue
		}
		errs := make([]error, len(all))
		for i := range all {
			errs[i] = all[i].err
		}
		return backend.NewBatchError(errs)
	}
	return nil
}

// fill makes p the parcel of m, or sets its error.
func (p *parcel) fill(b *Backend, m *backend.Message) {
	if p.err = b.checkMessage(m); p.err != nil {
		return
	}
	var body []byte
	if body, p.err = backend.AppendEnvelope(nil, m); p.err != nil {
		return
	}
	p.put(b, m.Queue, m.Delay, publishing(m, body))
}

// put fills a parcel.
func (p *parcel) put(b *Backend, queue string, delay time.Duration, message amqp.Publishing) {
	p.queue, p.delay, p.message = queue, seconds(delay), message
	p.key = queue
	if p.delay > 0 {
		p.exchange, p.key = delayRoute(queue, p.delay)
	}
	if most := b.publisher.sizes.most.Load(); most > 0 && int64(len(message.Body)) > most {
		p.err = fmt.Errorf("%w: job %s of kind %.100q has %d bytes, RabbitMQ takes %d (its setting max_message_size)",
			backend.ErrTooLarge, message.MessageId, message.Type, len(message.Body), most)
	}
}

// bury makes p one for the dead set of queue.
func (p *parcel) bury(b *Backend, queue string, message amqp.Publishing) {
	p.put(b, queue, 0, message)
	p.key = deadQueue(queue)
}

// store declares the queues of parcels and publishes those that have no error
// yet. It returns an error as publish does, and sets those of the parcels.
func (b *Backend) store(ctx context.Context, all []parcel) error {
	todo := make([]*parcel, 0, len(all))
	for i := range all {
		if all[i].err == nil {
			todo = append(todo, &all[i])
		}
	}
	for try := 0; len(todo) > 0; try++ {
		if err := b.storeOnce(ctx, todo); err != nil {
			return err
		}
		again := todo[:0]
		for _, p := range todo {
			if !errors.Is(p.err, errUnroutable) || try == mostDeleted {
				continue
			}
			again = append(again, p)
		}
		if todo = again; len(todo) > 0 {
			b.pause(ctx, afterDeletion)
		}
		for _, p := range todo {
			b.topology.forget(p.queue, deadQueue(p.queue), theLadder, commonParts)
		}
	}
	for i := range all {
		switch p := &all[i]; {
		case errors.Is(p.err, errUnroutable):
			p.err = fmt.Errorf("%w: %w: %q, which is deleted again and again", backend.ErrUnavailable, errUnroutable, p.key)
		case errors.Is(p.err, errRefused):
			p.err = fmt.Errorf("job for queue %q: %w", p.queue, p.err)
		}
	}
	return nil
}

// afterDeletion is how long a queue that was deleted is left alone before it is
// declared again. One that is declared at once leaves its former consumers in
// place, in RabbitMQ 3.10, without a word to them, and sends them messages which
// nobody receives.
const afterDeletion = 200 * time.Millisecond

// mostDeleted is how often store declares a queue anew that somebody deletes.
const mostDeleted = 2

func (b *Backend) storeOnce(ctx context.Context, all []*parcel) error {
	ready := make([]*publication, 0, len(all))
	var last *parcel
	for _, p := range all {
		if last != nil && p.queue == last.queue && (p.delay == 0) == (last.delay == 0) {
			p.err = last.err // as most often
		} else if p.err = b.ensure(ctx, p); p.err != nil && ctx.Err() != nil {
			return p.err
		}
		if last = p; p.err == nil {
			ready = append(ready, &p.publication)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	return b.publisher.publish(ctx, ready)
}

func (b *Backend) ensure(ctx context.Context, p *parcel) error {
	err := b.topology.ensure(ctx, p.queue)
	if err == nil {
		err = b.topology.ensureDead(ctx, p.queue)
	}
	if err == nil && p.delay > 0 {
		err = b.topology.ensureLadder(ctx)
	}
	return err
}

// checkMessage returns why m cannot be stored.
func (b *Backend) checkMessage(m *backend.Message) error {
	if err := backend.CheckMessage(m, b.Limits()); err != nil {
		return err
	}
	return checkReserved(m.Queue)
}

func checkDelay(delay time.Duration) error {
	switch {
	case delay < 0:
		return fmt.Errorf("%w: negative delay %v", backend.ErrInvalid, delay)
	case delay > maxDelay:
		return fmt.Errorf("%w: delay of %v, at most %v is possible", backend.ErrUnsupported, delay, maxDelay)
	}
	return nil
}
