package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
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
		return b.pushBatch(ctx, []pushItem{item})
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
			for _, place := range places {
				errs[place] = err
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

// lane is one producer's line of calls, of which one is made at a time, all on
// one connection. Redis remembers the number of the latest.
type lane struct {
	name   string
	number uint64
	conn   *goredis.Conn // nil before the first call, and after one that failed
	id     int64         // by which CLIENT KILL knows the connection
}

// lanes are those that nobody uses just now, and what became of no one knows
// which messages.
type lanes struct {
	room chan struct{} // of capacity maxLanes: one element for each that is used

	mu    sync.Mutex // guards all below
	idle  []*lane
	open  map[string][]doubt // by the ID of the message
	order []string           // IDs in open, oldest first
}

// doubt is a call that may have come through, or may yet.
type doubt struct {
	lane   string
	number uint64
	ended  <-chan struct{} // closed when nothing is sent for it any more
}

// maxLanes is how many pushes are made at a time. Each lane keeps a connection,
// which the pool has beside those for all other requests.
const maxLanes = 16

// maxDoubts bounds what is remembered of calls that may have come through.
const maxDoubts = 10_000

// take returns a lane that nobody uses, as soon as there is room for one more.
func (l *lanes) take(ctx context.Context, b *Backend) (*lane, error) {
	select {
	case l.room <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.life.Done():
		return nil, backend.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		free := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return free, nil
	}
	return &lane{name: b.unique()}, nil
}

func (l *lanes) give(free *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, free)
}

// connect gives a lane its connection, to the node that holds the keys.
func (l *lane) connect(node *goredis.Client) error {
	if l.conn != nil {
		return nil
	}
	conn := node.Conn()
	id, err := conn.ClientID(context.Background()).Result()
	if err != nil {
		conn.Close()
		return err
	}
	l.conn, l.id = conn, id
	return nil
}

// leave gives the connection up.
func (l *lane) leave() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// doubt notes that items may have been stored by the latest call of a lane,
// which is not used any more.
func (l *lanes) doubt(left *lane, ended <-chan struct{}, items []pushItem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = make(map[string][]doubt)
	}
	for _, item := range items {
		if l.open[item.id] == nil {
			l.order = append(l.order, item.id)
		}
		// One call more does not end the doubt about those before it.
		l.open[item.id] = append(l.open[item.id], doubt{left.name, left.number, ended})
	}
	for len(l.order) > maxDoubts {
		delete(l.open, l.order[0])
		l.order = l.order[1:]
	}
}

// doubted returns the items of which an earlier call may have stored some.
func (l *lanes) doubted(items []pushItem) map[doubt][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) == 0 {
		return nil
	}
	found := make(map[doubt][]string)
	for _, item := range items {
		for _, d := range l.open[item.id] {
			found[d] = append(found[d], item.id)
		}
	}
	return found
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
	// The room is free again when the call has ended and the lane was put away.
	var ends atomic.Int32
	leave := func() {
		if ends.Add(1) == 2 {
			<-b.lanes.room
		}
	}
	defer leave()
	used.number++
	ended := make(chan struct{})
	_, err = awaitBegun(ctx, b, func() (struct{}, error) {
		defer leave()
		defer close(ended)
		return struct{}{}, b.pushOn(used, items)
	}, func(struct{}, error) { used.leave() })
	switch {
	case err == nil:
		b.lanes.give(used)
		b.lanes.forget(items)
	case !isOpen(err) && ctx.Err() == nil:
		b.lanes.give(used)
	default:
		b.lanes.doubt(used, ended, items)
	}
	return err
}

func (b *Backend) pushOn(used *lane, items []pushItem) error {
	items, err := b.withoutStored(items)
	if err != nil || len(items) == 0 {
		return err
	}
	return b.send(func(again bool) error {
		if again {
			return b.pushAgain(used, items)
		}
		return b.onNode(func(node *goredis.Client) error {
			// What was refused may be taken by another connection: that to a
			// server which has become a replica never will.
			err := used.connect(node)
			if err == nil {
				if err = b.pushOnce(used.conn, used, items); err == nil {
					return nil
				}
			}
			used.leave()
			return err
		})
	})
}

// pushOnce stores items and the number of the call in one transaction, which
// Redis does faster than a script.
func (b *Backend) pushOnce(conn goredis.Cmdable, used *lane, items []pushItem) error {
	ctx := context.Background()
	pipe := conn.TxPipeline()
	for _, item := range items {
		if item.status != "" {
			pipe.Set(ctx, item.statusKey, item.status, openStatusSeconds*time.Second)
		}
	}
	if slices.ContainsFunc(items, func(i pushItem) bool { return i.delay != 0 && i.due == 0 }) {
		// A script has to look whom to wake.
		if pipe.Len() > 0 {
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
		}
		_, err := runOn(ctx, conn, pushScript, b.prefix, b.pushArguments(used, items))
		return err
	}
	var added []string
	for len(items) > 0 {
		item, same := items[0], 1
		if item.due != 0 {
			b.pushDelayed(ctx, pipe, item)
		} else {
			for same < len(items) && items[same].queue == item.queue && items[same].due == 0 {
				same++
			}
			values := make([]any, same)
			for i := range values {
				values[i] = items[i].payload
			}
			pipe.RPush(ctx, b.prefix+"queue:"+item.queue, values...)
		}
		if b.forgotten(item.queue) {
			pipe.SAdd(ctx, b.prefix+"queues", item.queue)
			added = append(added, item.queue)
		}
		items = items[same:]
	}
	pipe.Do(ctx, "SET", b.prefix+"gofer:push:"+used.name, strconv.FormatUint(used.number, 10), "EX", laneSeconds)
	_, err := pipe.Exec(ctx)
	if err == nil {
		now := time.Now()
		for _, queue := range added {
			b.known.Store(queue, now)
		}
	}
	return err
}

// laneSeconds is how long Redis remembers the latest call of a lane.
const laneSeconds = 3600

// forgotten reports whether a queue has to be added to the set of queues. That
// is done at most once a second, in case that somebody has removed it.
func (b *Backend) forgotten(queue string) bool {
	at, ok := b.known.Load(queue)
	return !ok || time.Since(at.(time.Time)) > time.Second
}

func (b *Backend) pushArguments(used *lane, items []pushItem) []any {
	args := []any{used.name, strconv.FormatUint(used.number, 10), len(items)}
	for i, item := range items {
		name := used.name + "." + strconv.FormatUint(used.number, 36) + "." + strconv.Itoa(i)
		args = append(args, item.queue, item.delay, name, item.payload)
	}
	return args
}

// pushAgain stores items unless the call has come through before. The
// connection that it was made on is closed first, so that Redis cannot get to
// it afterwards.
func (b *Backend) pushAgain(used *lane, items []pushItem) error {
	if used.id != 0 {
		err := b.onNode(func(node *goredis.Client) error {
			err := node.ClientKillByFilter(context.Background(), "ID", number(used.id)).Err()
			if goredis.HasErrorPrefix(err, "NOPERM") {
				return nil // then the order in which it reads requests has to do
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(items, func(i pushItem) bool { return i.due != 0 }) {
		_, err := b.run(pushScript, b.pushArguments(used, items)...)
		return err
	}
	return b.onNode(func(node *goredis.Client) error {
		stored, err := node.Get(context.Background(), b.prefix+"gofer:push:"+used.name).Uint64()
		if err == nil && stored == used.number {
			return nil
		}
		if err != nil && err != goredis.Nil {
			return err
		}
		return b.pushOnce(node, used, items)
	})
}

// withoutStored leaves out what a call that was in doubt has stored after all.
// Such a call may still go on, when only its context has ended: it is waited
// for.
func (b *Backend) withoutStored(items []pushItem) ([]pushItem, error) {
	doubted := b.lanes.doubted(items)
	if len(doubted) == 0 {
		return items, nil
	}
	stored := make(map[string]bool)
	for d, ids := range doubted {
		select {
		case <-d.ended:
		case <-b.life.Done():
			return nil, backend.ErrClosed
		}
		err := b.onNode(func(node *goredis.Client) error {
			number, err := node.Get(context.Background(), b.prefix+"gofer:push:"+d.lane).Uint64()
			if err == goredis.Nil {
				return nil
			}
			for _, id := range ids {
				stored[id] = stored[id] || err == nil && number == d.number
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(items), func(item pushItem) bool { return stored[item.id] }), nil
}

// forget ends the doubt about items that are stored for sure: they may be
// pushed again.
func (l *lanes) forget(items []pushItem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) == 0 {
		return
	}
	for _, item := range items {
		delete(l.open, item.id)
	}
}
