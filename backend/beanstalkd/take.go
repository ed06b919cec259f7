package beanstalkd

import (
	"context"
	"strconv"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// asking is a request for jobs.
type asking struct {
	consumer *consumer
	queues   []string
	lease    time.Duration
	n        int        // jobs that are asked for
	waits    bool       // for the first of them
	watch    *wire.Call // sees to it that the tubes are watched; nil if they are
	call     *wire.Call
	wake     *wire.Call // puts the job that ends the waiting; nil if nothing does
	waker    *wire.Conn // of wake

	ended          time.Time // when the caller's context was; zero while it is not
	sent, answered time.Time
	candidates     []candidate
	unknown        int   // candidates that the server has to be asked about
	err            error // why there may be no candidates
}

// take takes up to max jobs, and waits for the first if it is to. It returns
// more when it got as many as it asked for.
//
// When ctx ends it leaves the request to itself, after a moment: what that
// brings is given back. To end the connection instead would cost the other jobs
// that it holds their leases, and those that are just coming an attempt.
func (s *server) take(ctx context.Context, queues []string, max int, lease time.Duration, waits bool) (taken []*backend.Delivery, more bool, err error) {
	if err := s.heedPauses(ctx, queues); err != nil {
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
	a := &asking{consumer: c, queues: queues, lease: lease, n: n, waits: waits}
	a.send()
	if a.await(ctx) && a.wake == nil {
		if a.read(); a.unknown == 0 {
			taken = a.deliver()
			s.free(c)
			return taken, a.more(), s.explain(ctx, a.err)
		}
	}
	b := s.backend
	b.calls.Add(1) // that of the caller has not ended
	finished := make(chan []*backend.Delivery)
	left := make(chan struct{})
	go func() {
		defer b.calls.Done()
		if a.answered.IsZero() {
			<-a.call.Done
			a.read()
		}
		deliveries := a.deliver()
		s.free(c)
		select {
		case finished <- deliveries:
		case <-left:
			b.giveBack(deliveries)
		}
	}()
	if taken, ok := within(ctx, a, finished); ok {
		return taken, a.more(), s.explain(ctx, a.err)
	}
	close(left)
	return nil, false, b.usable(ctx)
}

// maxGoodbye is how long a server may take to end a request whose context is
// over.
const maxGoodbye = 300 * time.Millisecond

// within receives from results, unless ctx or the backend has ended some time
// ago.
func within[T any](ctx context.Context, a *asking, results <-chan T) (result T, ok bool) {
	if a.ended.IsZero() {
		select {
		case result = <-results:
			return result, true
		case <-ctx.Done():
		case <-a.consumer.server.backend.life.Done():
		}
		a.ended = time.Now()
	}
	timer := time.NewTimer(maxGoodbye - time.Since(a.ended))
	defer timer.Stop()
	select {
	case result = <-results:
		return result, true
	case <-timer.C:
		return result, false
	}
}

// more reports whether there may be more jobs than were asked for.
func (a *asking) more() bool { return len(a.candidates) == a.n }

// waitSeconds is how long a server is asked to wait for a job.
const waitSeconds = 30

const reserveNow = "reserve-with-timeout 0\r\n"

// send makes the request. The counts that come last tell which jobs are new.
func (a *asking) send() {
	c := a.consumer
	if request, commands := c.watch(a.queues); commands > 0 {
		a.watch = c.conn.Start(request, commands, 0)
	}
	request := make([]byte, 0, 64+a.n*len(reserveNow))
	patience := time.Duration(0)
	rest := a.n
	if a.waits {
		request = append(strconv.AppendInt(append(request, "reserve-with-timeout "...), waitSeconds, 10), '\r', '\n')
		patience, rest = (waitSeconds+2)*time.Second, a.n-1
	}
	for range rest {
		request = append(request, reserveNow...)
	}
	request = append(request, "stats\r\n"...)
	a.sent = time.Now()
	a.call = c.conn.Start(request, a.n+1, patience)
}

// await waits for the replies. When ctx ends first, or the server does not keep
// its time, it ends the waiting in the server, by a job in a tube that nobody
// else watches. It reports whether the replies have come.
func (a *asking) await(ctx context.Context) bool {
	if a.waits {
		late := time.NewTimer((waitSeconds + 1) * time.Second)
		defer late.Stop()
		select {
		case <-a.call.Done:
			return true
		case <-ctx.Done():
		case <-a.consumer.server.backend.life.Done():
		case <-late.C: // see keeper: a server of 1.12 may have forgotten
		}
		a.interrupt()
	}
	_, ok := within(ctx, a, a.call.Done)
	return ok
}

// interrupt puts the job that ends the waiting. Without that the connection,
// which holds nothing yet, has to end.
func (a *asking) interrupt() {
	c := a.consumer
	c.server.mu.Lock()
	conn := c.server.shared
	c.server.mu.Unlock()
	if conn == nil {
		c.conn.Close()
		return
	}
	a.waker = conn
	a.wake = conn.Put([]byte("put 0 0 60 1\r\nx\r\n"), 1, c.wake, c.wake)
	go func() {
		if <-a.wake.Done; a.wake.Err != nil || a.wake.Replies[0].Word != wire.Inserted {
			c.conn.Close()
		}
	}()
}

// read reads the replies, which have come.
func (a *asking) read() {
	a.answered = time.Now()
	c, replies := a.consumer, a.call.Replies
	woken := a.endWake()
	if a.err = a.call.Err; a.err == nil && a.wake != nil && woken == 0 {
		a.err = a.wake.Err // the connection ends, since what woke it cannot be told
		c.conn.Close()
		if a.err == nil {
			a.err = c.server.refused(a.wake.Replies[0])
		}
	}
	if a.err != nil {
		return
	}
	if a.watch != nil {
		for _, reply := range a.watch.Replies {
			if reply.Word != wire.Watching {
				c.conn.Close() // what is watched is not known now
				a.err = c.server.refused(reply)
				return
			}
		}
	}
	newAbove := c.server.observe(replies[a.n])
	// Late replies can be about jobs that the server has taken back since.
	late := !a.waits && a.answered.Sub(a.sent) > c.server.backend.settings.lease/3
	a.candidates = make([]candidate, 0, a.n)
	for _, reply := range replies[:a.n] {
		switch reply.Word {
		case wire.Reserved:
			if reply.ID == woken {
				continue
			}
			one := candidate{id: reply.ID, body: decodeBody(reply.Body), tube: a.queues[0]}
			one.asked = late || len(a.queues) > 1 || one.body.lease == 0 || one.body.failure != nil || one.id <= newAbove
			if one.asked {
				a.unknown++
			}
			a.candidates = append(a.candidates, one)
		case wire.TimedOut:
		case wire.DeadlineSoon: // the server still keeps what has just ended here
			if a.waits {
				c.rest()
			}
		default:
			a.err = c.server.refused(reply)
		}
	}
	if len(a.queues) == 1 {
		c.server.setPace(a.queues[0], a.n, len(a.candidates), a.answered.Sub(a.call.Began))
	}
}

// endWake deletes the job that ended the waiting, whether it was reserved for
// that or came too late, and returns its ID, or 0.
func (a *asking) endWake() uint64 {
	if a.wake == nil {
		return 0
	}
	<-a.wake.Done
	if a.wake.Err != nil || a.wake.Replies[0].Word != wire.Inserted {
		return 0
	}
	id, conn := a.wake.Replies[0].ID, a.consumer.conn
	if a.call.Err != nil { // the connection is over, and the job is not reserved
		conn = a.waker
	}
	conn.Start(appendCommand(nil, "delete", id), 1, 0)
	return id
}

// rest keeps c from being waited on for the second by which the server warns.
func (c *consumer) rest() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.restUntil = time.Now().Add(time.Second)
}
