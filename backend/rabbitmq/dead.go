package rabbitmq

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// fillDead makes p the parcel of what the dead set keeps of a burial: the
// message, or the bytes of what is none, and the failure in a header.
func (p *parcel) fillDead(b *Backend, l *loan, burial *backend.Burial) {
	own := amqp.Table{headerFailure: failureHeader(burial.Failure), headerKey: rand.Text()}
	queue := l.channel.line.queue
	if burial.Message == nil {
		p.bury(b, queue, again(&l.message, own))
		return
	}
	body, err := backend.AppendEnvelope(nil, burial.Message)
	if err != nil {
		p.err = err
		return
	}
	message := publishing(burial.Message, body)
	for name, value := range message.Headers {
		own[name] = value
	}
	message.Headers = own
	p.bury(b, queue, message)
}

// Peek lists the dead, and reads all of them for each page. What is ready or
// scheduled RabbitMQ cannot show without handing it out: [backend.ErrUnsupported].
func (b *Backend) Peek(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
	switch {
	case offset < 0 || limit < 0:
		return nil, fmt.Errorf("%w: Peek with offset %d and limit %d", backend.ErrInvalid, offset, limit)
	case state != backend.Dead:
		return nil, fmt.Errorf("%w: RabbitMQ does not show messages that are %v", backend.ErrUnsupported, state)
	}
	result := make(chan []*backend.Entry, 1)
	if err := b.viewDead(ctx, queue, func(v *viewing) error {
		var entries []*backend.Entry
		for v.next() {
			if v.seen > offset && len(entries) < limit {
				entries = append(entries, b.entry(queue, v.key, &v.message))
			}
		}
		result <- entries
		return v.err
	}); err != nil {
		return nil, err
	}
	select {
	case entries := <-result:
		return entries, nil
	default: // there was nothing to look at
		return nil, nil
	}
}

// entry is a dead message as a person sees it.
func (b *Backend) entry(queue, key string, d *amqp.Delivery) *backend.Entry {
	e := &backend.Entry{Key: key, State: backend.Dead, Raw: d.Body, Failure: failureOf(d)}
	e.Message, e.Malformed = b.settings.decode(queue, d)
	return e
}

// Requeue makes dead messages ready again: each is stored in its queue, and then
// taken from the dead.
func (b *Backend) Requeue(ctx context.Context, queue string, keys ...string) (int, error) {
	return b.takeDead(ctx, queue, keys, func(found []amqp.Delivery) error {
		all := make([]parcel, len(found))
		for i := range found {
			all[i].fillAnew(b, queue, &found[i])
		}
		if err := b.store(b.life, all); err != nil {
			return err
		}
		return errorsOf(all)
	})
}

// fillAnew makes p the parcel of a dead message that is to begin anew.
func (p *parcel) fillAnew(b *Backend, queue string, d *amqp.Delivery) {
	m, malformed := b.settings.decode(queue, d)
	if malformed != nil {
		p.put(b, queue, 0, again(d, nil))
		return
	}
	m.Attempt = 0
	body, err := backend.AppendEnvelope(nil, &m)
	if err != nil {
		p.err = err
		return
	}
	p.put(b, queue, 0, publishing(&m, body))
}

// Delete removes dead messages for good.
func (b *Backend) Delete(ctx context.Context, queue string, keys ...string) (int, error) {
	return b.takeDead(ctx, queue, keys, func([]amqp.Delivery) error { return nil })
}

// takeDead finds the dead of keys, calls use for them, and removes those for
// which that went well. It looks again whether they are gone: RabbitMQ does not
// answer to acks.
func (b *Backend) takeDead(ctx context.Context, queue string, keys []string, use func([]amqp.Delivery) error) (int, error) {
	gone := make(map[string]bool) // false: wanted
	for _, key := range keys {
		gone[key] = false
	}
	if len(gone) == 0 {
		return 0, b.usable(ctx)
	}
	taken := 0
	for {
		result := make(chan int, 1)
		err := b.viewDead(ctx, queue, func(v *viewing) error {
			defer func() { result <- v.taken }()
			return takeFrom(ctx, v, gone, use)
		})
		n := 0
		select {
		case n = <-result:
		default: // there was nothing to look at, or it goes on without us
		}
		if taken == 0 {
			taken = n
		}
		if err != nil || n <= maxAcks {
			return taken, err
		}
	}
}

// takeFrom takes the wanted from those that v shows. Those that are gone already,
// and are still there, it takes once more without using them.
func takeFrom(ctx context.Context, v *viewing, gone map[string]bool, use func([]amqp.Delivery) error) error {
	var found, still []amqp.Delivery
	var keys []string
	for v.next() {
		switch used, wanted := gone[v.key]; {
		case used:
			still = append(still, v.message)
		case wanted:
			found, keys = append(found, v.message), append(keys, v.key)
		}
	}
	if v.err != nil {
		return v.err
	}
	for i := range still {
		if err := v.take(&still[i]); err != nil {
			return err
		}
	}
	if len(found) == 0 {
		return nil
	}
	if ctx.Err() != nil { // nobody would hear of it
		return ctx.Err()
	}
	failed := use(found)
	for i := range found {
		if backend.ErrorAt(failed, i) != nil {
			continue
		}
		if err := v.take(&found[i]); err != nil {
			return err
		}
		gone[keys[i]] = true
	}
	return failed
}

// keyOf returns the key of a dead message, and for one that somebody else has
// put among them one that is made of its bytes: the nth of the same.
func keyOf(d *amqp.Delivery, same map[string]int) string {
	if key, ok := d.Headers[headerKey].(string); ok && key != "" {
		return key
	}
	sum := sha256.Sum256(d.Body)
	key := hex.EncodeToString(sum[:])
	same[key]++
	return key + "." + strconv.Itoa(same[key])
}
