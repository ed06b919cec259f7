package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// line is a connection that waits.
type line struct {
	conn *goredis.Conn
	identity
}

// identity is how Redis knows a connection. The address is part of it because
// ids begin anew when a server is started, and then are those of others.
type identity struct {
	id      int64
	address string
}

// identify asks for the identity of a connection. It reads the reply itself,
// which has more fields with each version.
func identify(conn *goredis.Conn) (known identity, err error) {
	text, err := conn.Do(context.Background(), "CLIENT", "INFO").Text()
	if err != nil {
		return known, err
	}
	for field := range strings.FieldsSeq(text) {
		switch name, value, _ := strings.Cut(field, "="); name {
		case "id":
			known.id, err = strconv.ParseInt(value, 10, 64)
		case "addr":
			known.address = value
		}
	}
	return known, err
}

// kill has Redis close the connection, if it is there.
func (i identity) kill(on goredis.Cmdable) error {
	return on.ClientKillByFilter(context.Background(), "ID", number(i.id), "ADDR", i.address).Err()
}

var errDeaf = errors.New("the connection is deaf")

// hangUp has Redis close a connection that does not hear.
func (b *Backend) hangUp(on *line) {
	b.onNode(func(node *goredis.Client) error {
		return on.kill(node)
	})
}

// line returns a connection to wait for a queue on, once Redis knows that jobs
// may land here.
func (w *waiting) line(queue string) (*line, error) {
	b := w.backend
	ctx := context.Background()
	w.mu.Lock()
	var on *line
	if n := len(w.idle); n > 0 {
		on, w.idle = w.idle[n-1], w.idle[:n-1]
	}
	noted := w.noted[queue]
	w.mu.Unlock()
	made := on == nil
	if made {
		var err error
		if on, err = b.dial((*goredis.Client).Conn); err != nil {
			return nil, err
		}
		w.mu.Lock()
		w.lines[on] = true
		w.mu.Unlock()
	}
	if made || !noted {
		err := b.onNode(func(node *goredis.Client) error {
			pipe := node.Pipeline()
			pipe.SAdd(ctx, b.prefix+"gofer:landings:"+b.instance, queue)
			pipe.HSet(ctx, b.prefix+"gofer:worker:"+b.instance, "connections", w.connections())
			_, err := pipe.Exec(ctx)
			return err
		})
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.hangUp(on, err)
			return nil, err
		}
		w.noted[queue] = true
	}
	return on, nil
}

// dial returns a connection of its own, to wait on.
func (b *Backend) dial(open func(*goredis.Client) *goredis.Conn) (*line, error) {
	ctx := context.Background()
	node, err := b.node(ctx, b.blocking)
	if err != nil {
		return nil, b.explain(err)
	}
	conn := open(node)
	known, err := identify(conn)
	if err != nil {
		conn.Close()
		if cluster, ok := b.blocking.(*goredis.ClusterClient); ok {
			cluster.ReloadState(ctx)
		}
		return nil, b.explain(err)
	}
	return &line{conn, known}, nil
}

// connections returns the identities of all lines, one a line.
func (w *waiting) connections() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for on := range w.lines {
		all = append(all, number(on.id)+" "+on.address)
	}
	return strings.Join(all, "\n")
}

// queuesNoted returns the queues that Redis knows we listen to.
func (w *waiting) queuesNoted() []any {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []any
	for queue := range w.noted {
		all = append(all, queue)
	}
	return all
}

// hangUp keeps a line for the next wait, or closes it when it is broken. The
// caller holds mu.
func (w *waiting) hangUp(on *line, err error) {
	if err == nil && !w.closed {
		w.idle = append(w.idle, on)
		return
	}
	delete(w.lines, on)
	on.conn.Close()
	if cluster, ok := w.backend.blocking.(*goredis.ClusterClient); ok {
		cluster.ReloadState(context.Background())
	}
}

// unblock ends waits in Redis.
func (b *Backend) unblock(lines []*line) {
	if len(lines) == 0 {
		return
	}
	ctx := context.Background()
	b.onNode(func(node *goredis.Client) error {
		pipe := node.Pipeline()
		for _, on := range lines {
			pipe.ClientUnblock(ctx, on.id)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// endWait ends the wait on a line until done, as far as Redis answers: a wait
// may begin just after it was ended.
func (b *Backend) endWait(waits func() *line, done <-chan struct{}) {
	end := time.After(farewell)
	for {
		if on := waits(); on != nil {
			go b.unblock([]*line{on})
		}
		select {
		case <-done:
			return
		case <-end:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}
