package redis

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
)

// lane is one producer's line of calls, of which one is made at a time, all on
// one connection. Redis remembers the number of the latest.
type lane struct {
	name   string
	key    string // in which the number is
	number uint64
	conn   *goredis.Conn // nil before the first call, and after one that failed
	wire   *wire         // of conn
	known  identity      // of the latest connection
	lasts  time.Time     // since when Redis remembers the number for laneSeconds

	transaction transaction // the latest, for its memory
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
	name := b.unique()
	return &lane{name: name, key: b.prefix + "gofer:push:" + name}, nil
}

// over is of calls for which nothing is sent any more.
var over = make(chan struct{})

func init() { close(over) }

// putAway is the end of a call, by its error. ended is closed when nothing is
// sent for it any more.
func (l *lanes) putAway(used *lane, ended <-chan struct{}, items []pushItem, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.idle = append(l.idle, used)
		l.forget(items)
	case isOpen(err):
		l.doubt(used, ended, items)
	case !errors.Is(err, backend.ErrClosed): // with which the call may still go on
		l.idle = append(l.idle, used)
	}
}

// connect gives a lane its connection, to the node that holds the keys.
func (l *lane) connect(b *Backend, node *goredis.Client) error {
	if l.conn != nil {
		return nil
	}
	// What was said over its wire the client does not know, and so it must not
	// use the connection for anything else.
	conn := node.EphemeralConn()
	known, err := identify(conn)
	if err == nil {
		var found net.Conn
		if found, err = b.wires.find(conn, l.name); err == nil {
			l.conn, l.wire, l.known = conn, newWire(found, node.Options()), known
			l.lasts = time.Time{} // this server may not know of it
			return nil
		}
	}
	conn.Close()
	return err
}

// record adds to a transaction that it is the call with the lane's number. How
// long Redis is to remember it is not said each time: that takes as long as to
// store it.
func (l *lane) record(t *transaction, now time.Time) {
	number := strconv.FormatUint(l.number, 10)
	if now.Sub(l.lasts) < laneRenewal {
		t.command(part{}, "SET", l.key, number, "KEEPTTL")
		return
	}
	t.command(part{}, "SET", l.key, number, "EX", laneSeconds)
	l.lasts = now
}

// leave gives the connection up.
func (l *lane) leave() {
	if l.conn != nil {
		l.conn.Close()
		l.conn, l.wire = nil, nil
	}
}

// doubt notes that items may have been stored by the latest call of a lane,
// which is not used any more. The caller holds mu.
func (l *lanes) doubt(left *lane, ended <-chan struct{}, items []pushItem) {
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

// laneSeconds is how long Redis remembers the latest call of a lane: an hour, and
// a minute because that is said each minute only.
const (
	laneSeconds = "3660"
	laneRenewal = time.Minute
)

// pushAgain stores items unless the call has come through before. The
// connection that it was made on is closed first, so that Redis cannot get to
// it afterwards.
func (b *Backend) pushAgain(used *lane, items []pushItem) error {
	if used.known.id != 0 {
		err := b.onNode(func(node *goredis.Client) error {
			err := used.known.kill(node)
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
		reply, err := b.run(pushScript, b.pushArguments(used, items)...)
		return orPartly(reply, err, len(items))
	}
	return b.onLane(used, func() error {
		stored, err := used.conn.Get(context.Background(), used.key).Uint64()
		if err == nil && stored == used.number {
			return nil
		}
		if err != nil && err != goredis.Nil {
			return err
		}
		return b.pushOnce(used, items)
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
// pushed again. The caller holds mu.
func (l *lanes) forget(items []pushItem) {
	if len(l.open) == 0 {
		return
	}
	for _, item := range items {
		if l.open[item.id] != nil {
			delete(l.open, item.id)
			l.order = slices.DeleteFunc(l.order, func(id string) bool { return id == item.id })
		}
	}
}
