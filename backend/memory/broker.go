package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

// ticks returns the tick at which d from now has passed: rounded up, never
// early.
func (b *Broker) ticks(d time.Duration) int64 {
	d += time.Since(b.base)
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// timeOf returns when a tick begins.
func (b *Broker) timeOf(tick int64) time.Time {
	return b.base.Add(time.Duration(tick) * time.Millisecond)
}

func (b *Broker) line(name string) *line {
	l := b.lines[name]
	if l == nil {
		l = &line{name: name}
		b.lines[name] = l
		i, _ := slices.BinarySearchFunc(b.sorted, name, func(l *line, name string) int { return strings.Compare(l.name, name) })
		b.sorted = slices.Insert(b.sorted, i, l)
	}
	return l
}

// advance makes ready what is due: scheduled jobs, in the order of their due
// times, and reserved ones whose lease has ended, in their old place. Those
// who wait for them come before the caller.
func (b *Broker) advance() {
	if b.timed.len == 0 {
		return
	}
	first := b.timed.advance(time.Since(b.base).Milliseconds())
	if first == nil {
		return
	}
	var due []*job
	for j := first; j != nil; j = j.next {
		due = append(due, j)
	}
	slices.SortFunc(due, func(x, y *job) int {
		return cmp.Or(cmp.Compare(x.due, y.due), cmp.Compare(x.sequence, y.sequence))
	})
	for _, j := range due {
		if j.state == backend.Scheduled {
			j.line.scheduled--
			b.makeReady(j)
		}
	}
	slices.SortFunc(due, func(x, y *job) int { return cmp.Compare(x.sequence, y.sequence) })
	for _, j := range due {
		if j.state == backend.Reserved {
			j.line.reserved--
			j.line.add(j)
		}
	}
	b.serve()
}

// makeReady puts j at the end of the line.
func (b *Broker) makeReady(j *job) {
	b.sequence++
	j.sequence = b.sequence
	j.line.add(j)
}

// schedule puts j in the line, after delay.
func (b *Broker) schedule(j *job, delay time.Duration) {
	if delay <= 0 {
		b.makeReady(j)
		return
	}
	b.sequence++
	j.sequence = b.sequence
	j.state = backend.Scheduled
	j.due = b.ticks(delay)
	j.line.scheduled++
	b.timed.add(j)
}

// gone is the state of a job that the broker no longer holds.
const gone backend.State = -1

// forget takes j, which is not dead, out of whatever it is in.
func (b *Broker) forget(j *job) {
	switch j.state {
	case backend.Ready:
		j.line.remove(j)
	case backend.Scheduled:
		j.line.scheduled--
		b.timed.remove(j)
	case backend.Reserved:
		j.line.reserved--
		b.timed.remove(j)
	}
	j.state = gone
	switch first := b.ids[j.message.ID]; {
	case first != j:
		for first.twin != j {
			first = first.twin
		}
		first.twin = j.twin
	case j.twin != nil:
		b.ids[j.message.ID] = j.twin
	default:
		delete(b.ids, j.message.ID)
	}
	j.twin = nil
}

// Push implements backend.Backend.
func (c *Backend) Push(ctx context.Context, messages []*backend.Message) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	b := c.broker
	defer b.unlock()
	var errs []error
	for i, m := range messages {
		if err := check(m); err != nil {
			if errs == nil {
				errs = make([]error, len(messages))
			}
			errs[i] = err
			continue
		}
		if b.ids[m.ID] != nil {
			continue
		}
		b.enter(&job{message: *m, line: b.line(m.Queue)})
	}
	return backend.NewBatchError(errs)
}

// enter puts a new job in its line, after its message's delay.
func (b *Broker) enter(j *job) {
	delay := j.message.Delay
	j.message.Delay = 0
	j.twin = b.ids[j.message.ID]
	b.ids[j.message.ID] = j
	b.schedule(j, delay)
}

// check returns why m cannot be stored. A delay that is too long is invalid, as
// in Release: no clock here holds it.
func check(m *backend.Message) error {
	err := backend.CheckMessage(m, limits)
	switch {
	case m != nil && m.Delay > maxDelay:
		return fmt.Errorf("%w: delay of %v", backend.ErrInvalid, m.Delay)
	case err == nil && len(m.Args) > limits.MaxBody:
		return fmt.Errorf("%w: message %s has %d bytes, at most %d are allowed", backend.ErrTooLarge, m.ID, len(m.Args), limits.MaxBody)
	}
	return err
}

func checkLease(lease time.Duration) error {
	if lease < time.Millisecond || lease > maxDelay {
		return fmt.Errorf("%w: lease of %v", backend.ErrInvalid, lease)
	}
	return nil
}

// PutRaw stores bytes as a foreign producer would. They are delivered as the
// message that they are the envelope of, or as malformed.
func (c *Backend) PutRaw(ctx context.Context, queue string, raw []byte) error {
	if err := backend.CheckQueueName(queue); err != nil {
		return err
	}
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.broker.unlock()
	c.broker.putRaw(queue, slices.Clone(raw))
	return nil
}

func (b *Broker) putRaw(queue string, raw []byte) {
	j := &job{raw: raw, line: b.line(queue)}
	j.message, j.malformed = backend.DecodeEnvelope(raw)
	j.message.Queue = queue
	if j.message.ID == "" {
		j.message.ID = "memory-" + b.newKey()
	}
	if err := check(&j.message); err != nil && j.malformed == nil {
		j.malformed = fmt.Errorf("%w: %w", backend.ErrMalformed, err)
	}
	b.enter(j)
}

func (b *Broker) newKey() string {
	b.keys++
	return strconv.FormatUint(b.keys, 10)
}

// loan is a delivery and the receipt that it carries.
type loan struct {
	delivery backend.Delivery
	broker   *Broker
	job      *job
	token    uint64
}

// reserve takes up to max jobs from the lines, in order, and then, if all is
// set, from every line by name: those that came before hold no more by then.
func (b *Broker) reserve(lines []*line, all bool, max int, lease time.Duration) []*backend.Delivery {
	var taken []*backend.Delivery
	var until int64
	n := len(lines)
	if all {
		n += len(b.sorted)
	}
	for i := 0; i < n && len(taken) < max; i++ {
		var l *line
		if i < len(lines) {
			l = lines[i]
		} else {
			l = b.sorted[i-len(lines)]
		}
		for j := l.first(); j != nil && len(taken) < max; j = l.first() {
			if taken == nil {
				taken = make([]*backend.Delivery, 0, min(max, l.ready))
				until = b.ticks(lease)
			}
			l.remove(j)
			l.reserved++
			j.state = backend.Reserved
			j.message.Attempt++
			j.deliveries++
			j.token++
			j.due = until
			b.timed.add(j)
			loan := &loan{broker: b, job: j, token: j.token}
			loan.delivery = backend.Delivery{
				Message:    j.message,
				Deliveries: j.deliveries,
				Raw:        j.raw,
				Malformed:  j.malformed,
				Receipt:    loan,
			}
			if j.malformed != nil {
				loan.delivery.Message = backend.Message{Queue: l.name}
			}
			taken = append(taken, &loan.delivery)
		}
	}
	return taken
}

// held returns the job of a delivery whose lease still runs, else nil.
func (b *Broker) held(d *backend.Delivery) *job {
	if d == nil {
		return nil
	}
	loan, ok := d.Receipt.(*loan)
	if !ok || loan.broker != b || loan.job.state != backend.Reserved || loan.job.token != loan.token {
		return nil
	}
	return loan.job
}

// settle calls f for the job of each of n deliveries that is still held.
func (c *Backend) settle(ctx context.Context, n int, delivery func(i int) *backend.Delivery, f func(i int, j *job) error) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	b := c.broker
	defer b.unlock()
	var errs []error
	for i := range n {
		err := backend.ErrLeaseLost
		if j := b.held(delivery(i)); j != nil {
			err = f(i, j)
		}
		if err != nil {
			if errs == nil {
				errs = make([]error, n)
			}
			errs[i] = err
		}
	}
	return backend.NewBatchError(errs)
}

// Ack implements backend.Backend.
func (c *Backend) Ack(ctx context.Context, deliveries []*backend.Delivery) error {
	return c.settle(ctx, len(deliveries),
		func(i int) *backend.Delivery { return deliveries[i] },
		func(_ int, j *job) error {
			c.broker.forget(j)
			return nil
		})
}

// Extend implements backend.Extender.
func (c *Backend) Extend(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error {
	if err := checkLease(lease); err != nil {
		return err
	}
	until := c.broker.ticks(lease)
	return c.settle(ctx, len(deliveries),
		func(i int) *backend.Delivery { return deliveries[i] },
		func(_ int, j *job) error {
			c.broker.timed.remove(j)
			j.due = until
			c.broker.timed.add(j)
			return nil
		})
}

// Retry implements backend.Backend.
func (c *Backend) Retry(ctx context.Context, replacements []backend.Replacement) error {
	b := c.broker
	return c.settle(ctx, len(replacements),
		func(i int) *backend.Delivery { return replacements[i].Delivery },
		func(i int, j *job) error {
			m := replacements[i].Message
			if err := check(m); err != nil {
				return err
			}
			b.forget(j)
			j.message, j.raw, j.malformed, j.deliveries = *m, nil, nil, 0
			j.line = b.line(m.Queue)
			b.enter(j)
			return nil
		})
}

// Release implements backend.Backend.
func (c *Backend) Release(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
	if delay < 0 || delay > maxDelay {
		return fmt.Errorf("%w: delay of %v", backend.ErrInvalid, delay)
	}
	b := c.broker
	return c.settle(ctx, len(deliveries),
		func(i int) *backend.Delivery { return deliveries[i] },
		func(_ int, j *job) error {
			b.timed.remove(j)
			j.line.reserved--
			j.message.Attempt--
			j.deliveries--
			if delay > 0 {
				b.schedule(j, delay)
			} else {
				j.line.add(j)
			}
			return nil
		})
}

// Bury implements backend.Backend.
func (c *Backend) Bury(ctx context.Context, burials []backend.Burial) error {
	b := c.broker
	return c.settle(ctx, len(burials),
		func(i int) *backend.Delivery { return burials[i].Delivery },
		func(i int, j *job) error {
			b.forget(j)
			if m := burials[i].Message; m != nil && j.malformed == nil {
				queue := j.message.Queue
				j.message = *m
				j.message.Queue, j.message.Delay = queue, 0
				j.raw = nil
			}
			j.state = backend.Dead
			j.grave = &grave{b.newKey(), burials[i].Failure}
			j.line.dead.pushBack(j)
			return nil
		})
}
