package redis

import (
	"context"
	"slices"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
)

// lane is one producer's line of calls, of which one is made at a time, all on
// one connection. Redis remembers the number of the latest.
type lane struct {
	name   string
	number uint64
	conn   *goredis.Conn // nil before the first call, and after one that failed
	known  identity      // of the latest connection
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
	known, err := identify(conn)
	if err != nil {
		conn.Close()
		return err
	}
	l.conn, l.known = conn, known
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

// laneSeconds is how long Redis remembers the latest call of a lane.
const laneSeconds = 3600

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
		if l.open[item.id] != nil {
			delete(l.open, item.id)
			l.order = slices.DeleteFunc(l.order, func(id string) bool { return id == item.id })
		}
	}
}
