package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// receipt is what a delivery is settled by.
type receipt struct {
	queue string
	token string

	// doubted says that a settle may have come through although its reply
	// was lost. The next one must not take that for a lost lease.
	doubted atomic.Bool

	// settled says that there is nothing left to settle, for the sample of
	// what the worker is doing.
	settled atomic.Bool
	at      time.Time // when it was reserved
}

// Reserve lends ready jobs; see [backend.Backend]. While there are none it
// waits in Redis: one connection for each queue, and none that asks again.
func (b *Backend) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	if err := checkReserve(queues, max, lease); err != nil {
		return nil, err
	}
	max = min(max, maxBatch)
	if err := b.worker.enter(ctx, b, queues, lease); err != nil {
		return nil, err
	}
	for {
		looked := b.waiting.called()
		taken, err := b.take(ctx, queues, max, lease)
		if err != nil || len(taken.deliveries) > 0 {
			return taken.deliveries, err
		}
		if err := b.waiting.wait(ctx, looked, taken.watch, taken.again); err != nil {
			return nil, err
		}
	}
}

func checkReserve(queues []string, max int, lease time.Duration) error {
	switch {
	case len(queues) == 0:
		return fmt.Errorf("%w: Reserve without a queue", backend.ErrInvalid)
	case max < 1:
		return fmt.Errorf("%w: Reserve of at most %d messages", backend.ErrInvalid, max)
	case lease <= 0:
		return fmt.Errorf("%w: lease of %v", backend.ErrInvalid, lease)
	case lease < minLease || lease > maxLease:
		return fmt.Errorf("%w: lease of %v; it can be from %v to %v", backend.ErrUnsupported, lease, minLease, maxLease)
	}
	return backend.CheckQueues(queues, true)
}

// taken is what one look at the queues has brought.
type taken struct {
	deliveries []*backend.Delivery
	watch      []string      // where to wait for more
	again      time.Duration // look again after this; 0: when woken
}

// pausedPoll is how often a worker looks whether Resque's pause is over, which
// tells nobody. restPoll is the same for pauses that do tell, and for new
// queues.
const (
	pausedPoll = time.Second
	restPoll   = 10 * time.Second
)

// take makes one call. What it gets after ctx has ended it gives back.
func (b *Backend) take(ctx context.Context, queues []string, max int, lease time.Duration) (taken, error) {
	nonce := b.unique()
	reply, err := await(ctx, b, func() (any, error) {
		landed := b.waiting.mayHaveLanded()
		args := []any{b.instance, nonce, 0, max, lease.Milliseconds(), maxCall, len(queues)}
		for _, queue := range queues {
			args = append(args, queue)
		}
		args = append(args, len(landed))
		for _, queue := range landed {
			args = append(args, queue)
		}
		var reply any
		err := b.send(func(again bool) (err error) {
			if again {
				args[2] = args[2].(int) + 1
			}
			reply, err = b.run(reserveScript, args...)
			return err
		})
		if err != nil {
			b.waiting.landedAgain(landed)
		}
		return reply, err
	}, func(reply any, err error) {
		if err == nil {
			b.giveBack(b.deliveries(reply))
		}
	})
	if err != nil {
		return taken{}, err
	}
	t := taken{deliveries: b.deliveries(reply)}
	if len(t.deliveries) > 0 {
		b.worker.sample(t.deliveries)
		b.recordStart(ctx, t.deliveries)
		return t, nil
	}
	parts := reply.([]any)
	if parts[0].(int64) == 1 {
		t.again = pausedPoll
		return t, nil
	}
	paused := texts(parts[1])
	if len(paused) > 0 {
		t.again = restPoll
	}
	for _, queue := range queues {
		if queue != backend.AllQueues && !slices.Contains(paused, queue) {
			t.watch = append(t.watch, queue)
		}
	}
	if queues[len(queues)-1] == backend.AllQueues {
		t.again = b.names.watch()
		for _, queue := range texts(parts[2]) {
			if !slices.Contains(paused, queue) {
				t.watch = append(t.watch, queue)
			}
		}
	}
	return t, nil
}

// texts returns the texts of a reply's list.
func texts(list any) []string {
	items, _ := list.([]any)
	all := make([]string, len(items))
	for i, item := range items {
		all[i], _ = item.(string)
	}
	return all
}

// deliveries reads the reply of the reserve script.
func (b *Backend) deliveries(reply any) []*backend.Delivery {
	parts, _ := reply.([]any)
	if len(parts) < 5 {
		return nil
	}
	return loans(parts[4:], parts[3].(string))
}

// loans reads what a script has lent: for each queue its name, the number of
// the first token, and the payloads.
func loans(parts []any, nonce string) []*backend.Delivery {
	var all []*backend.Delivery
	now := time.Now()
	for len(parts) >= 3 {
		queue, number := parts[0].(string), parts[1].(int64)
		payloads := parts[2].([]any)
		parts = parts[3:]
		made := make([]struct {
			delivery backend.Delivery
			receipt  receipt
		}, len(payloads)) // one allocation for all
		for i, payload := range payloads {
			one := &made[i]
			one.receipt.queue, one.receipt.at = queue, now
			one.receipt.token = nonce + ":" + strconv.FormatInt(number+int64(i), 10)
			one.delivery.Receipt = &one.receipt
			decode(&one.delivery, queue, asBytes(payload.(string)), one.receipt.token)
			all = append(all, &one.delivery)
		}
	}
	return all
}

// decode fills in what a payload says. A job without an ID takes its token for
// one, which no other has.
func decode(d *backend.Delivery, queue string, raw []byte, token string) {
	m, before, err := resque.DecodePayload(raw)
	d.Raw = raw
	if err != nil {
		d.Malformed = err
		d.Queue = queue
		return
	}
	d.Message = m
	d.Queue = queue
	d.Attempt++
	d.Deliveries = before + 1
	if d.ID == "" {
		d.ID = token
	}
}

// giveBack releases what nobody is there for any more, also while the backend
// is being closed. What cannot be given back comes back when its lease ends.
func (b *Backend) giveBack(deliveries []*backend.Delivery) {
	if len(deliveries) == 0 {
		return
	}
	args := []any{b.worker.name(), len(deliveries)}
	for _, d := range slices.Backward(deliveries) { // each goes in front of the others
		r := d.Receipt.(*receipt)
		args = append(args, r.queue, flag(false), r.token, toHead, 0, "", r.queue, asString(unspent(d, r)))
	}
	b.run(settleScript, args...)
}
