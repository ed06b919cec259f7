package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// Ack settles jobs as done; see [backend.Backend].
func (b *Backend) Ack(ctx context.Context, deliveries []*backend.Delivery) error {
	err := b.onTokens(ctx, deliveries, func(g groups, again bool) (any, error) {
		args := []any{b.worker.name(), len(g.order)}
		for _, key := range g.order {
			tokens := g.tokens[key]
			args = append(args, key.queue, flag(key.again || again), len(tokens))
			for _, token := range tokens {
				args = append(args, token)
			}
		}
		return b.run(ackScript, args...)
	}, true)
	b.recordDone(ctx, deliveries, err, resque.StatusComplete)
	return err
}

// Extend prolongs leases; see [backend.Extender].
func (b *Backend) Extend(ctx context.Context, deliveries []*backend.Delivery, lease time.Duration) error {
	if lease < minLease || lease > maxLease {
		return fmt.Errorf("%w: lease of %v; it can be from %v to %v", backend.ErrInvalid, lease, minLease, maxLease)
	}
	return b.onTokens(ctx, deliveries, func(g groups, _ bool) (any, error) {
		args := []any{lease.Milliseconds(), len(g.order)}
		for _, key := range g.order {
			tokens := g.tokens[key]
			args = append(args, key.queue, len(tokens))
			for _, token := range tokens {
				args = append(args, token)
			}
		}
		return b.run(extendScript, args...)
	}, false)
}

// groups are tokens by queue, and by whether they may be settled already.
type groups struct {
	order  []group
	tokens map[group][]string
	places []int // of the tokens, in the order in which they are sent
}

type group struct {
	queue string
	again bool
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// onTokens makes the call of a script that takes groups of tokens and returns
// those that are lost, as often as the batch is too large for one.
func (b *Backend) onTokens(ctx context.Context, deliveries []*backend.Delivery, call func(g groups, again bool) (any, error), settles bool) error {
	if len(deliveries) == 0 {
		return b.usable(ctx)
	}
	errs := make([]error, len(deliveries))
	for begin := 0; begin < len(deliveries); begin += maxBatch {
		some := deliveries[begin:min(begin+maxBatch, len(deliveries))]
		part := errs[begin : begin+len(some)]
		g := groups{tokens: make(map[group][]string)}
		positions := make(map[group][]int)
		for i, d := range some {
			r, err := receiptOf(d)
			if err != nil {
				part[i] = err
				continue
			}
			key := group{r.queue, settles && r.doubted.Load()}
			if g.tokens[key] == nil {
				g.order = append(g.order, key)
			}
			g.tokens[key] = append(g.tokens[key], r.token)
			positions[key] = append(positions[key], i)
		}
		for _, key := range g.order {
			g.places = append(g.places, positions[key]...)
		}
		if len(g.places) == 0 {
			continue
		}
		reply, err := await(ctx, b, func() (reply any, err error) {
			err = b.send(func(again bool) (err error) {
				reply, err = call(g, again)
				return err
			})
			return reply, err
		}, nil)
		b.sort(some, part, g.places, reply, err, settles)
	}
	return backend.NewBatchError(errs)
}

// sort writes what became of a call to the items that took part in it.
func (b *Backend) sort(deliveries []*backend.Delivery, errs []error, places []int, reply any, err error, settles bool) {
	lost := make(map[int]bool)
	positions, _ := reply.([]any)
	for _, position := range positions {
		lost[places[position.(int64)-1]] = true
	}
	for _, place := range places {
		r := deliveries[place].Receipt.(*receipt)
		switch {
		case err != nil:
			errs[place] = err
			if settles && !errors.Is(err, backend.ErrUnavailable) {
				r.doubted.Store(true)
			}
		case lost[place]:
			errs[place] = backend.ErrLeaseLost
			r.settled.Store(true)
		case settles:
			r.settled.Store(true)
			r.doubted.Store(false) // settling once more is a mistake, and must fail
		}
	}
}

func receiptOf(d *backend.Delivery) (*receipt, error) {
	if d != nil {
		if r, ok := d.Receipt.(*receipt); ok {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%w: the delivery is not one of this backend", backend.ErrLeaseLost)
}

// The places of the settle script.
const (
	toHead  = "head"
	toTail  = "tail"
	toLater = "later"
	toDead  = "dead"
)

// move is where a delivery goes instead of being done.
type move struct {
	delivery *backend.Delivery
	place    string
	delay    time.Duration
	queue    string // "" for its own
	payload  []byte // nil for the one that is held
	err      error  // it cannot go there
}

// settle makes moves, in their order.
func (b *Backend) settle(ctx context.Context, moves []move) error {
	if len(moves) == 0 {
		return b.usable(ctx)
	}
	errs := make([]error, len(moves))
	deliveries := make([]*backend.Delivery, len(moves))
	var args []any
	var places []int
	size := 0
	flush := func() {
		if len(places) == 0 {
			return
		}
		all := append([]any{b.worker.name(), len(places)}, args...)
		reply, err := await(ctx, b, func() (reply any, err error) {
			err = b.send(func(again bool) (err error) {
				if again {
					for i := range places {
						all[2+8*i+1] = "1"
					}
				}
				reply, err = b.run(settleScript, all...)
				return err
			})
			return reply, err
		}, nil)
		parts, _ := reply.([]any)
		if err == nil && len(parts) == 3 {
			b.sort(deliveries, errs, places, parts[0], nil, true)
			why, _ := parts[2].(string)
			positions, _ := parts[1].([]any)
			for _, position := range positions {
				place := places[position.(int64)-1]
				errs[place] = fmt.Errorf("redis: %s", why)
				deliveries[place].Receipt.(*receipt).settled.Store(false)
			}
		} else {
			b.sort(deliveries, errs, places, nil, err, true)
		}
		args, places, size = nil, nil, 0
	}
	for i, m := range moves {
		deliveries[i] = m.delivery
		r, err := receiptOf(m.delivery)
		if err == nil {
			err = m.err
		}
		if err != nil {
			errs[i] = err
			continue
		}
		if len(places) == maxBatch || size+len(m.payload) > maxCall {
			flush()
		}
		if m.queue == "" {
			m.queue = r.queue
		}
		name := ""
		if m.place == toLater {
			name = b.unique()
		}
		args = append(args, r.queue, flag(r.doubted.Load()), r.token, m.place, milliseconds(m.delay), name, m.queue, asString(m.payload))
		places, size = append(places, i), size+len(m.payload)
	}
	flush()
	return backend.NewBatchError(errs)
}

// Retry stores replacements; see [backend.Backend].
func (b *Backend) Retry(ctx context.Context, replacements []backend.Replacement) error {
	moves := make([]move, len(replacements))
	for i, r := range replacements {
		m := move{delivery: r.Delivery, place: toTail, delay: r.Message.Delay, queue: r.Message.Queue}
		if m.delay > 0 {
			m.place = toLater
		}
		if m.err = b.check(r.Message); m.err == nil {
			m.payload, m.err = resque.AppendPayload(nil, r.Message, 0)
		}
		moves[i] = m
	}
	err := b.settle(ctx, moves)
	deliveries := make([]*backend.Delivery, len(replacements))
	for i, r := range replacements {
		deliveries[i] = r.Delivery
	}
	b.recordDone(ctx, deliveries, err, resque.StatusWaiting)
	return err
}

// Release gives deliveries back; see [backend.Backend].
func (b *Backend) Release(ctx context.Context, deliveries []*backend.Delivery, delay time.Duration) error {
	if delay < 0 {
		return fmt.Errorf("%w: negative delay %v", backend.ErrInvalid, delay)
	}
	if delay > maxDelay {
		return fmt.Errorf("%w: delay of %v, at most %v is possible", backend.ErrUnsupported, delay, maxDelay)
	}
	moves := make([]move, len(deliveries))
	for i, d := range deliveries {
		m := move{delivery: d, place: toHead, delay: delay}
		if delay > 0 {
			m.place = toLater
		}
		if r, err := receiptOf(d); err == nil {
			m.payload = unspent(d, r)
		}
		moves[i] = m
	}
	if delay > 0 {
		err := b.settle(ctx, moves)
		b.recordDone(ctx, deliveries, err, resque.StatusWaiting)
		return err
	}
	// The last one first: each goes in front of the others.
	slices.Reverse(moves)
	err := b.settle(ctx, moves)
	if batch, ok := errors.AsType[*backend.BatchError](err); ok {
		slices.Reverse(batch.Errs)
	}
	b.recordDone(ctx, deliveries, err, resque.StatusWaiting)
	return err
}

// unspent returns the payload of a job that was given its ID here, so that it
// keeps that when it is given back, or nil for any other, which is given back as
// it is held.
func unspent(d *backend.Delivery, r *receipt) []byte {
	if d.ID != r.token || d.Malformed != nil {
		return nil
	}
	return rewritten(d, d.Attempt-1, d.Deliveries-1)
}

// rewritten returns the payload of d with other counts, or nil, which is the
// one that is held, when it cannot be written.
func rewritten(d *backend.Delivery, attempt, deliveries int) []byte {
	m := d.Message
	m.Attempt = attempt
	payload, err := resque.AppendPayload(nil, &m, deliveries)
	if err != nil {
		return nil
	}
	return payload
}

// Bury moves deliveries to Resque's list failed; see [backend.Backend].
func (b *Backend) Bury(ctx context.Context, burials []backend.Burial) error {
	moves := make([]move, len(burials))
	for i, burial := range burials {
		m := move{delivery: burial.Delivery, place: toDead}
		r, err := receiptOf(burial.Delivery)
		if err == nil {
			m.payload, err = b.entry(burial, r.queue)
		}
		m.err = err
		moves[i] = m
	}
	err := b.settle(ctx, moves)
	deliveries := make([]*backend.Delivery, len(burials))
	for i, burial := range burials {
		deliveries[i] = burial.Delivery
	}
	b.recordDone(ctx, deliveries, err, resque.StatusFailed)
	return err
}

// entry returns a burial as Resque keeps it.
func (b *Backend) entry(burial backend.Burial, queue string) ([]byte, error) {
	failed := resque.Failed{
		Queue:   queue,
		Payload: burial.Delivery.Raw,
		Failure: burial.Failure,
		Worker:  b.worker.display(b, queue),
		Key:     b.unique(),
	}
	if m := burial.Message; m != nil {
		payload, err := resque.AppendPayload(nil, m, 0)
		if err != nil {
			return nil, err
		}
		failed.Payload = payload
	}
	return resque.AppendFailed(nil, &failed)
}

// returnClaimed takes jobs whose lease had ended, and the tokens that they had
// been lent under. Their attempt is counted here, and then they go back to the
// head of the line. One without an ID keeps the token that it was known by.
func (b *Backend) returnClaimed(claimed []*backend.Delivery, formerly []string) error {
	moves := make([]move, len(claimed))
	for i, d := range claimed {
		moves[i] = move{delivery: d, place: toHead}
		if r, err := receiptOf(d); err == nil && d.ID == r.token {
			d.ID = formerly[i]
		}
		if d.Malformed == nil {
			moves[i].payload = rewritten(d, d.Attempt, d.Deliveries)
		}
	}
	slices.Reverse(moves)
	return b.settle(context.Background(), moves)
}

// number formats n for Redis.
func number(n int64) string { return strconv.FormatInt(n, 10) }
