package beanstalkd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// Reserve lends ready jobs; see [backend.Backend]. While there are none it
// waits in the server.
func (b *Backend) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	if err := b.checkReserve(queues, max, lease); err != nil {
		return nil, err
	}
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.calls.Done()
	max = min(max, maxTake)
	for {
		deliveries, err := b.look(ctx, queues, max, lease)
		if len(deliveries) == 0 && err == nil {
			deliveries, err = b.wait(ctx, queues, max, lease)
		}
		if len(deliveries) > 0 {
			if b.life.Err() == nil {
				return deliveries, nil
			}
			b.giveBack(deliveries)
		}
		if err := b.usable(ctx); err != nil {
			return nil, err
		}
		if err != nil {
			return nil, err
		}
	}
}

func (b *Backend) checkReserve(queues []string, max int, lease time.Duration) error {
	if max < 1 {
		return fmt.Errorf("%w: Reserve of at most %d messages", backend.ErrInvalid, max)
	}
	if err := b.checkLease(lease); err != nil {
		return err
	}
	if err := backend.CheckQueues(queues, false); err != nil {
		return err
	}
	for _, queue := range queues {
		if err := checkQueue(queue); err != nil {
			return err
		}
	}
	return nil
}

// look takes what is ready, queue by queue: the server itself would go by
// priority alone. A single queue of a single server needs no look before the
// wait, unless there was plenty of late: the wait takes what is ready too, but
// needs a connection that holds nothing.
func (b *Backend) look(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	if len(queues) == 1 && len(b.servers) == 1 && !b.servers[0].isEager(queues[0]) {
		return nil, nil
	}
	var all []*backend.Delivery
	var errs []error
	first := int(b.turn.Add(1))
	for _, queue := range queues {
		for i := range b.servers {
			s := b.servers[(first+i)%len(b.servers)]
			taken, more, err := s.take(ctx, []string{queue}, max-len(all), lease, false)
			all = append(all, taken...)
			if err != nil {
				errs = append(errs, err)
			}
			if more || len(all) == max { // a later queue has to wait
				return all, nil
			}
		}
	}
	if len(all) == 0 && len(errs) == len(queues)*len(b.servers) {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

// wait waits for jobs of any of the queues, which were found empty.
func (b *Backend) wait(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	if len(b.servers) == 1 {
		deliveries, _, err := b.servers[0].take(ctx, queues, max, lease, true)
		return deliveries, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type taken struct {
		deliveries []*backend.Delivery
		err        error
	}
	results := make(chan taken)
	for _, s := range b.servers {
		go func() {
			deliveries, err := s.takeWhenUp(ctx, queues, max, lease)
			results <- taken{deliveries, err}
		}()
	}
	var all []*backend.Delivery
	var errs []error
	for range b.servers {
		result := <-results
		all = append(all, result.deliveries...)
		if result.err != nil {
			errs = append(errs, result.err)
		}
		if len(result.deliveries) > 0 {
			cancel() // one is enough; the others give up waiting
		}
	}
	if len(all) > max {
		b.giveBack(all[max:])
		all = all[:max]
	}
	if len(all) == 0 && len(errs) == len(b.servers) {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

// takeWhenUp is take that does not fail while the server is down, so that the
// others are waited for and this one is noticed when it is back.
func (s *server) takeWhenUp(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	for {
		deliveries, _, err := s.take(ctx, queues, max, lease, true)
		if err == nil || ctx.Err() != nil || s.backend.life.Err() != nil {
			return deliveries, err
		}
		if !slices.ContainsFunc(s.backend.servers, (*server).isUp) {
			return nil, err
		}
		s.backend.pause(ctx, retryPause)
	}
}

// waitSeconds is how long a server is asked to wait for a job. A server that
// vanishes without a word is noticed after that time.
const waitSeconds = 30

// retryPause is how long a server that is down is left alone while others work.
const retryPause = time.Second

// take takes up to max jobs, and waits for the first if it is to. It returns
// more when it got as many as it asked for.
func (s *server) take(ctx context.Context, queues []string, max int, lease time.Duration, waits bool) (taken []*backend.Delivery, more bool, err error) {
	if err := s.watch(ctx, queues); err != nil {
		return nil, false, err
	}
	n := 1 // of any queue; then each is looked at by itself
	if len(queues) == 1 {
		n = min(max, s.pace(queues[0]))
	}
	c, err := s.acquire(ctx, waits, n)
	if err != nil {
		return nil, false, err
	}
	defer s.free(c)
	t, err := c.take(ctx, queues, n, waits)
	if err != nil {
		return nil, false, s.explain(ctx, err)
	}
	if len(queues) == 1 {
		s.setPace(queues[0], n, len(t.jobs))
	}
	taken, err = c.deliver(ctx, t, queues, lease)
	return taken, len(t.jobs) == n, err
}

// pace is how many jobs a queue is asked for. One that is asked for and not
// there costs a reply that the others wait for, so that the pace follows what
// there was of late.
type pace struct {
	n    int
	more bool // there was no less
}

// firstPace is how many jobs a queue is asked for first.
const firstPace = 16

func (s *server) pace(queue string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, known := s.paces[queue]; known {
		return p.n
	}
	return firstPace
}

func (s *server) setPace(queue string, asked, got int) {
	p := pace{max(got, 1), false}
	if asked == got {
		p = pace{min(2*asked, maxTake), true}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paces == nil {
		s.paces = make(map[string]pace)
	}
	if s.paces[queue] != p {
		s.paces[queue] = p
	}
}

// isEager reports whether the last request got all that it asked for.
func (s *server) isEager(queue string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paces[queue].more
}

// taken is what a request has brought.
type taken struct {
	jobs     []wire.Reply
	asked    time.Time // when the request was sent
	answered time.Time
	waited   bool
	newAbove uint64 // jobs with larger numbers are handed out for the first time
}

const reserveNow = "reserve-with-timeout 0\r\n"

// take makes the request.
func (c *consumer) take(ctx context.Context, queues []string, n int, waits bool) (taken, error) {
	request, prepared := c.watch(make([]byte, 0, 64+n*len(reserveNow)), queues)
	patience := time.Duration(0)
	rest := n
	if waits {
		request = append(strconv.AppendInt(append(request, "reserve-with-timeout "...), waitSeconds, 10), '\r', '\n')
		patience, rest = waitSeconds*time.Second, n-1
	}
	for range rest {
		request = append(request, reserveNow...)
	}
	request = append(request, "stats\r\n"...)
	t := taken{asked: time.Now(), waited: waits}
	call := c.conn.Start(request, prepared+n+1, patience)
	woken := c.await(ctx, call, waits)
	t.answered = time.Now()
	if woken != 0 { // it may be reserved by c, or still be ready
		defer c.conn.Start(appendCommand(nil, "delete", woken), 1, 0)
	}
	if call.Err != nil {
		return t, call.Err
	}
	for _, reply := range call.Replies[:prepared] {
		if reply.Word != wire.Watching {
			c.conn.Close()
			return t, c.server.refused(reply)
		}
	}
	t.newAbove = c.server.observe(call.Replies[prepared+n])
	t.jobs = call.Replies[prepared:][:0]
	for _, reply := range call.Replies[prepared : prepared+n] {
		switch reply.Word {
		case wire.Reserved:
			if reply.ID != woken {
				t.jobs = append(t.jobs, reply)
			}
		case wire.TimedOut:
		case wire.DeadlineSoon: // the server still keeps what has just ended here
			if waits {
				c.rest()
			}
		default:
			c.conn.Close() // what it has taken goes back
			return t, c.server.refused(reply)
		}
	}
	return t, nil
}

// rest keeps c from being waited on for the second by which the server warns.
func (c *consumer) rest() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.restUntil = time.Now().Add(time.Second)
}

func appendCommand(request []byte, command string, id uint64) []byte {
	request = append(append(request, command...), ' ')
	return append(strconv.AppendUint(request, id, 10), '\r', '\n')
}
