package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// Push stores messages. A message whose reply was lost is sent again and
// stored once; so is one that the caller pushes again under its ID within the
// hour, from this Backend, because an earlier Push left open whether it was
// stored. Otherwise an ID that is there already is stored a second time.
func (b *Backend) Push(ctx context.Context, messages []*backend.Message) error {
	if len(messages) == 0 {
		return b.usable(ctx)
	}
	if len(messages) == 1 {
		item, err := b.item(messages[0])
		if err != nil {
			return err
		}
		return backend.ErrorAt(b.pushBatch(ctx, []pushItem{item}), 0)
	}
	errs := make([]error, len(messages))
	var batch []pushItem
	var places []int
	size, failed := 0, false
	flush := func() {
		if len(batch) == 0 {
			return
		}
		if err := b.pushBatch(ctx, batch); err != nil {
			failed = true
			for i, place := range places {
				errs[place] = backend.ErrorAt(err, i)
			}
		}
		batch, places, size = nil, nil, 0
	}
	for i, m := range messages {
		item, err := b.item(m)
		if err != nil {
			errs[i], failed = err, true
			continue
		}
		if len(batch) == maxBatch || size+len(item.payload) > maxCall {
			flush()
		}
		batch, places, size = append(batch, item), append(places, i), size+len(item.payload)
	}
	flush()
	if !failed {
		return nil
	}
	return backend.NewBatchError(errs)
}

// usable returns why the backend cannot be used with ctx, if it cannot.
func (b *Backend) usable(ctx context.Context) error {
	if b.life.Err() != nil {
		return backend.ErrClosed
	}
	return ctx.Err()
}

// pushItem is a message as it is sent.
type pushItem struct {
	id, queue string
	delay     int64 // in milliseconds
	due       int64 // unix time in seconds, of a job for resque-scheduler; else 0
	payload   string

	statusKey, status string // of a job that is tracked; else ""
}

func (b *Backend) item(m *backend.Message) (pushItem, error) {
	if err := b.check(m); err != nil {
		return pushItem{}, err
	}
	item := pushItem{id: m.ID, queue: m.Queue, delay: milliseconds(m.Delay)}
	var payload []byte
	var err error
	if item.delay > 0 && b.settings.resqueDelayed {
		if m.MaxAttempts != 0 || len(m.Header) > 0 || len(m.Extra) > 0 {
			return pushItem{}, fmt.Errorf("%w: with delayed=resque a job that is delayed can have kind and arguments only: no MaxAttempts, Header, Track, Unique, Retry or Timeout", backend.ErrUnsupported)
		}
		item.due = time.Now().Add(m.Delay + time.Second - 1).Unix()
		payload, err = resque.AppendDelayed(nil, m)
	} else {
		payload, err = resque.AppendPayload(make([]byte, 0, len(m.Args)+len(m.Kind)+200), m, 0)
	}
	item.payload = asString(payload)
	if err == nil && isTracked(m) {
		item.statusKey = b.prefix + statusKey(m)
		item.status, _ = statusValue(m, resque.StatusWaiting)
	}
	return item, err
}

// check is backend.CheckMessage but for the ID: what is written for
// resque-scheduler has none, and may be pushed without.
func (b *Backend) check(m *backend.Message) error {
	if err := backend.CheckQueueName(m.Queue); err != nil {
		return err
	}
	if m.Delay < 0 {
		return fmt.Errorf("%w: negative delay %v", backend.ErrInvalid, m.Delay)
	}
	if m.Delay > maxDelay {
		return fmt.Errorf("%w: delay of %v, at most %v is possible", backend.ErrUnsupported, m.Delay, maxDelay)
	}
	if m.Priority != 0 {
		return fmt.Errorf("%w: priority %d: a Resque queue has none; use queues of their own for urgent jobs", backend.ErrUnsupported, m.Priority)
	}
	return nil
}

// milliseconds rounds up.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// pushBatch stores items, of which there are not too many.
func (b *Backend) pushBatch(ctx context.Context, items []pushItem) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	used, err := b.lanes.take(ctx, b)
	if err != nil {
		b.flights.end()
		return err
	}
	used.number++
	if ctx.Done() == nil {
		defer b.flights.end()
		err := b.pushOn(used, items)
		b.lanes.putAway(used, over, items, err)
		<-b.lanes.room
		return err
	}
	// The room is free again when the call has ended and the lane was put away.
	var ends atomic.Int32
	leave := func() {
		if ends.Add(1) == 2 {
			<-b.lanes.room
		}
	}
	defer leave()
	ended := make(chan struct{})
	_, err = awaitBegun(ctx, b, func() (struct{}, error) {
		defer leave()
		defer close(ended)
		return struct{}{}, b.pushOn(used, items)
	}, func(struct{}, error) { used.leave() })
	b.lanes.putAway(used, ended, items, err)
	return err
}

// pushOn stores items, except those that an earlier call in doubt has stored. The
// lane has no connection after an error, with which it may not be used any more.
func (b *Backend) pushOn(used *lane, items []pushItem) error {
	left, err := b.withoutStored(items)
	if err != nil {
		used.leave()
		return err
	}
	if len(left) == 0 {
		return nil
	}
	err = b.pushLeft(used, left)
	batch, partly := errors.AsType[*backend.BatchError](err)
	if !partly || len(left) == len(items) {
		return err
	}
	errs := make([]error, len(items)) // what was stored before has no error
	for i := range items {
		if place := slices.IndexFunc(left, func(l pushItem) bool { return l.id == items[i].id }); place >= 0 {
			errs[i] = batch.Errs[place]
		}
	}
	return backend.NewBatchError(errs)
}

func (b *Backend) pushLeft(used *lane, items []pushItem) error {
	return b.send(func(again bool) error {
		if again {
			return b.pushAgain(used, items)
		}
		return b.onLane(used, func() error { return b.pushOnce(used, items) })
	})
}

// onLane calls f when a lane has a connection, to the node that holds the keys.
// What was refused may be taken by another connection: that to a server which
// has become a replica never will.
func (b *Backend) onLane(used *lane, f func() error) error {
	return b.onNode(func(node *goredis.Client) error {
		err := used.connect(b, node)
		if err == nil {
			err = f()
		}
		if err != nil {
			used.leave()
		}
		return err
	})
}

// pushOnce stores items and the number of the call in one transaction, which
// Redis does faster than a script.
func (b *Backend) pushOnce(used *lane, items []pushItem) error {
	t, now := &used.transaction, time.Now()
	t.begin()
	for _, item := range items {
		if item.status != "" {
			t.command(part{}, "SET", item.statusKey, item.status, "EX", number(openStatusSeconds))
		}
	}
	if slices.ContainsFunc(items, func(i pushItem) bool { return i.delay != 0 && i.due == 0 }) {
		// A script has to look whom to wake.
		if len(t.parts) > 0 {
			if _, err := used.wire.exec(t, now); err != nil {
				return err
			}
		}
		reply, err := runOn(context.Background(), used.conn, pushScript, b.prefix, b.pushArguments(used, items))
		return orPartly(reply, err, len(items))
	}
	var added []string
	for first := 0; first < len(items); {
		item, same := items[first], 1
		if item.due != 0 {
			b.pushDelayed(t, part{first, 1}, item)
		} else {
			for first+same < len(items) && items[first+same].queue == item.queue && items[first+same].due == 0 {
				same++
			}
			t.open(part{first, same}, 2+same)
			t.argument("RPUSH")
			t.argument(b.prefix, "queue:", item.queue)
			for _, item := range items[first : first+same] {
				t.argument(item.payload)
			}
		}
		if b.forgotten(item.queue, now) {
			t.command(part{}, "SADD", b.prefix+"queues", item.queue)
			added = append(added, item.queue)
		}
		first += same
	}
	used.record(t, now)
	failures, err := used.wire.exec(t, now)
	if err == nil && failures == nil {
		for _, queue := range added {
			b.known.Store(queue, now)
		}
	}
	if err != nil || failures == nil {
		return err
	}
	return partly(failures, t.parts, len(items))
}

// partly turns the errors of the commands of a transaction into those of its
// items: Redis does the other commands of one in which one fails, as for a key of
// the wrong type.
func partly(failures []error, parts []part, all int) error {
	errs := make([]error, all)
	for i, failure := range failures {
		if failure == nil {
			continue
		}
		if all == 1 {
			return failure
		}
		for at := range parts[i].count {
			errs[parts[i].first+at] = failure
		}
	}
	return backend.NewBatchError(errs)
}

// orPartly is the same for the reply of the push script.
func orPartly(reply any, err error, all int) error {
	parts, _ := reply.([]any)
	if err != nil || len(parts) < 2 {
		return err
	}
	errs := make([]error, all)
	why, _ := parts[1].(string)
	positions, _ := parts[0].([]any)
	for _, position := range positions {
		errs[position.(int64)-1] = errors.New("redis: " + why)
	}
	return backend.NewBatchError(errs)
}

// forgotten reports whether a queue has to be added to the set of queues. That
// is done at most once a second, in case that somebody has removed it.
func (b *Backend) forgotten(queue string, now time.Time) bool {
	at, ok := b.known.Load(queue)
	return !ok || now.Sub(at.(time.Time)) > time.Second
}

func (b *Backend) pushArguments(used *lane, items []pushItem) []any {
	args := []any{used.name, strconv.FormatUint(used.number, 10), len(items)}
	for i, item := range items {
		name := used.name + "." + strconv.FormatUint(used.number, 36) + "." + strconv.Itoa(i)
		args = append(args, item.queue, item.delay, name, item.payload)
	}
	return args
}
