package beanstalkd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// Push stores messages. Of several servers each is given a share, and one that
// is down leaves its share to the others.
//
// A server sends no more than its word that a job is stored, and has no way to
// ask for it later: when that was lost, Push cannot tell whether it was.
func (b *Backend) Push(ctx context.Context, messages []*backend.Message) error {
	if err := b.usable(ctx); err != nil || len(messages) == 0 {
		return err
	}
	p := putsPool.Get().(*puts)
	defer p.free()
	var errs []error
	for i, m := range messages {
		if err := p.add(b, m, m.Delay); err != nil {
			if errs == nil {
				errs = make([]error, len(messages))
			}
			errs[i] = err
		}
	}
	if errs == nil && len(b.servers) == 1 {
		_, err := b.servers[0].put(ctx, p.items, nil)
		return err
	}
	if errs == nil {
		errs = make([]error, len(messages))
	}
	stored := b.spread(ctx, p.items)
	for i := range errs {
		if errs[i] == nil {
			errs[i], stored = stored[0], stored[1:]
		}
	}
	return backend.NewBatchError(errs)
}

// put is the command that stores a job.
type put struct {
	tube    string
	command []byte
	message *backend.Message // for errors; nil if there is none
}

// puts are the commands of one push, in one buffer.
type puts struct {
	items  []put
	buffer []byte
	body   []byte
}

var putsPool = sync.Pool{New: func() any { return new(puts) }}

func (p *puts) free() {
	clear(p.items)
	if p.items = p.items[:0]; cap(p.buffer) <= 1<<20 {
		p.buffer = p.buffer[:0]
		putsPool.Put(p)
	}
}

// add encodes a message. The commands that are there already may move.
func (p *puts) add(b *Backend, m *backend.Message, delay time.Duration) error {
	if err := b.checkMessage(m); err != nil {
		return err
	}
	lease := b.settings.ttr()
	body, err := appendBody(p.body[:0], m, lease)
	if err != nil {
		return err
	}
	p.body = body
	if len(body) > b.maxBody {
		return b.tooLarge(m, len(body))
	}
	p.command(m.Queue, priorityOf(m), seconds(delay), lease, body)
	p.items[len(p.items)-1].message = m
	return nil
}

// command adds a put.
func (p *puts) command(tube string, priority uint32, delay int64, lease int, body []byte) {
	begin := len(p.buffer)
	c := append(p.buffer, "put "...)
	c = append(strconv.AppendUint(c, uint64(priority), 10), ' ')
	c = append(strconv.AppendInt(c, delay, 10), ' ')
	c = append(strconv.AppendInt(c, int64(lease), 10), ' ')
	c = append(strconv.AppendInt(c, int64(len(body)), 10), '\r', '\n')
	c = append(append(c, body...), '\r', '\n')
	p.buffer = c
	p.items = append(p.items, put{tube: tube, command: c[begin:]})
}

// spread gives each server a share of items, and returns an error for each. A
// share of which nothing was sent goes on to the next server.
func (b *Backend) spread(ctx context.Context, items []put) []error {
	errs := make([]error, len(items))
	servers := b.inTurn()
	shares := min(len(servers), len(items))
	var all sync.WaitGroup
	for share := range shares {
		begin, end := share*len(items)/shares, (share+1)*len(items)/shares
		all.Go(func() {
			left := items[begin:end]
			places := make([]int, len(left))
			for i := range places {
				places[i] = begin + i
			}
			for try := range len(servers) {
				_, err := servers[(share+try)%len(servers)].put(ctx, left, nil)
				var again []put
				var where []int
				for i, place := range places {
					errs[place] = backend.ErrorAt(err, i)
					if errors.Is(errs[place], backend.ErrUnavailable) {
						again, where = append(again, left[i]), append(where, place)
					}
				}
				if left, places = again, where; len(left) == 0 {
					return
				}
			}
		})
	}
	all.Wait()
	return errs
}

// maxRequest is how many bytes of puts go in one request.
const maxRequest = 256 << 10

// put stores items, in order, and sets ids to those of their jobs unless it is
// nil. It returns the connection over which it did: only over that one may they
// be deleted again. Behind another there can be a server that was restarted and
// that counts its jobs anew.
func (s *server) put(ctx context.Context, items []put, ids []uint64) (*wire.Conn, error) {
	if len(items) == 0 {
		return nil, nil
	}
	conn, err := s.conn(ctx)
	if err != nil {
		return nil, err
	}
	return conn, s.putOver(ctx, conn, items, ids)
}

func (s *server) putOver(ctx context.Context, conn *wire.Conn, items []put, ids []uint64) error {
	if len(items) == 1 { // without a copy
		call := conn.Put(items[0].command, 1, items[0].tube, items[0].tube)
		replies, err := call.Wait(ctx)
		if err != nil {
			return s.explain(ctx, err)
		}
		return s.stored(replies[0], items[0], ids, 0)
	}
	var calls []*wire.Call
	var commands [][]bool // for each call: is it a put?
	var request []byte
	for begin := 0; begin < len(items); {
		request = request[:0]
		var puts []bool
		tube, end := items[begin].tube, begin
		for ; end < len(items) && (end == begin || len(request)+len(items[end].command) <= maxRequest); end++ {
			if items[end].tube != tube {
				tube = items[end].tube
				request = appendTube(request, "use", tube)
				puts = append(puts, false)
			}
			request = append(request, items[end].command...)
			puts = append(puts, true)
		}
		calls = append(calls, conn.Put(request, len(puts), items[begin].tube, tube))
		commands = append(commands, puts)
		begin = end
	}
	var errs []error
	place := 0
	for c, call := range calls {
		_, err := call.Wait(ctx)
		left := ctx.Err() != nil && errors.Is(err, ctx.Err()) // its replies are still to come
		for k, isPut := range commands[c] {
			if !isPut {
				continue
			}
			var failed error
			switch {
			case left, k >= len(call.Replies):
				failed = s.explain(ctx, err)
			default:
				failed = s.stored(call.Replies[k], items[place], ids, place)
			}
			if failed != nil {
				if errs == nil {
					errs = make([]error, len(items))
				}
				errs[place] = failed
			}
			place++
		}
	}
	if errs == nil {
		return nil
	}
	if !slices.Contains(errs, nil) && !slices.ContainsFunc(errs, func(err error) bool { return err.Error() != errs[0].Error() }) {
		return errs[0]
	}
	return backend.NewBatchError(errs)
}

// stored reads the reply to a put.
func (s *server) stored(reply wire.Reply, item put, ids []uint64, place int) error {
	switch reply.Word {
	case wire.Inserted:
		if ids != nil {
			ids[place] = reply.ID
		}
		return nil
	case wire.JobTooBig:
		if item.message != nil {
			return fmt.Errorf("%w: job %s of kind %.100q is larger than what beanstalkd at %s takes (its option -z)", backend.ErrTooLarge, item.message.ID, item.message.Kind, s.address)
		}
		return fmt.Errorf("%w: beanstalkd at %s: %s", backend.ErrTooLarge, s.address, reply.Word)
	}
	return s.refused(reply)
}

// refused turns a reply that is not the one hoped for into an error.
func (s *server) refused(reply wire.Reply) error {
	switch reply.Word {
	case wire.Draining:
		return fmt.Errorf("%w: beanstalkd at %s is in drain mode (SIGUSR1): it takes no more jobs until it is restarted", backend.ErrUnavailable, s.address)
	case wire.OutOfMemory:
		return fmt.Errorf("%w: beanstalkd at %s is out of memory", backend.ErrUnavailable, s.address)
	case wire.Buried:
		return fmt.Errorf("beanstalkd at %s is out of memory: it has buried job %d", s.address, reply.ID)
	}
	return fmt.Errorf("beanstalkd at %s replied %s", s.address, reply.Word)
}
