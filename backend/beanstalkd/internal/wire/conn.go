// Package wire speaks beanstalkd's protocol: many commands in one write, many
// calls on one connection, and replies that are waited for no longer than the
// caller wants to.
//
// The client library, go-beanstalk, has none of that, and none of it can be
// added from outside: each of its calls is one command, waits without a limit,
// and holds up those behind it; to end one is to end the connection, and with
// it the jobs that are in hand.
package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// ErrNotSent is wrapped by the error of a call of which nothing was sent. The
// server certainly has not acted on it.
var ErrNotSent = errors.New("not sent")

// Conn is a connection to one beanstalkd. Its methods are safe for concurrent
// use. Calls are answered in the order in which they were made; none waits for
// the replies of another before it is sent.
//
// A connection that fails, or whose server is silent for longer than a call
// allows, is over for good, and every call on it fails.
type Conn struct {
	net     net.Conn
	timeout time.Duration // for a silence of the server, and to write
	done    chan struct{} // closed when it is over

	mu      sync.Mutex
	err     error     // why it is over
	used    string    // the tube that puts go to
	out     []byte    // what waits for the write in progress to end
	waiting []*Call   // those whose commands are in out
	writing bool      // somebody writes
	written sync.Cond // somebody wrote when it was over, and has stopped
	calls   []*Call   // sent or about to be, in order, without a full reply
	overdue time.Time

	// Of the goroutine that reads.
	heard  time.Time // when the server last said anything
	graced bool      // grace was given, and it has said nothing since
}

// Call is one or more commands that were sent together.
type Call struct {
	// Done is closed when Replies or Err is complete.
	Done chan struct{}

	// Replies has one element for each command, in order. Like Err, it is for
	// the caller once Done is closed.
	Replies []Reply

	// Began is when the first of them came.
	Began time.Time

	// Err is why there are fewer. The other commands may have been carried out
	// all the same unless it wraps ErrNotSent.
	Err error

	want    int
	skip    int           // replies that nobody asked for
	timeout time.Duration // for the first reply
	begin   int           // where its commands begin in what is written
	sent    bool          // at least one byte of them
}

// Dial connects to a server. A call then fails when its reply takes longer than
// timeout to begin, or the server is silent for that long in the middle of it,
// and the connection with it.
func Dial(ctx context.Context, address string, timeout time.Duration) (*Conn, error) {
	dialer := net.Dialer{
		Timeout:         timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 3},
	}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return NewConn(c, timeout), nil
}

// NewConn returns a connection over c.
func NewConn(c net.Conn, timeout time.Duration) *Conn {
	conn := &Conn{net: c, timeout: timeout, used: "default", done: make(chan struct{})}
	conn.written.L = &conn.mu
	go conn.read()
	return conn
}

// Done is closed when the connection is over, after the Done of each call.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection is over, or nil.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and every call on it.
func (c *Conn) Close() { c.fail(net.ErrClosed) }

// Do sends request, which is that many commands, and waits for their replies or
// for the end of ctx. The commands are then carried out nevertheless.
func (c *Conn) Do(ctx context.Context, request []byte, commands int) ([]Reply, error) {
	return c.Start(request, commands, 0).Wait(ctx)
}

// Wait waits for the replies, or for the end of ctx.
func (l *Call) Wait(ctx context.Context) ([]Reply, error) {
	select {
	case <-l.Done:
		return l.Replies, l.Err
	default:
	}
	select {
	case <-l.Done:
		return l.Replies, l.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Start sends request, which is that many commands, the first of which may take
// the server as much longer than usual as patience says. It keeps nothing of
// request.
func (c *Conn) Start(request []byte, commands int, patience time.Duration) *Call {
	l := &Call{Done: make(chan struct{}), want: commands, timeout: c.timeout + patience}
	c.send(l, "", "", request)
	return l
}

// Put sends request, which is that many commands, of which puts go to the tube
// first until a use among them says otherwise. last is the tube that is used
// when they are done.
func (c *Conn) Put(request []byte, commands int, first, last string) *Call {
	l := &Call{Done: make(chan struct{}), want: commands, timeout: c.timeout}
	c.send(l, first, last, request)
	return l
}

func (c *Conn) send(l *Call, first, last string, request []byte) {
	l.Replies = make([]Reply, 0, l.want)
	c.mu.Lock()
	if c.err != nil {
		l.Err = fmt.Errorf("%w: %w", ErrNotSent, c.err)
		close(l.Done)
		c.mu.Unlock()
		return
	}
	var use []byte
	if first != "" {
		if c.used != first {
			use = append(append(append(use, "use "...), first...), '\r', '\n')
			l.skip = 1
		}
		c.used = last
	}
	c.calls = append(c.calls, l)
	if len(c.calls) == 1 {
		c.await(l)
	}
	if c.writing {
		l.begin = len(c.out)
		c.out = append(append(c.out, use...), request...)
		c.waiting = append(c.waiting, l)
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	if use != nil {
		request = append(use, request...)
	}
	c.write(request, l)
}

// patience is how long a caller writes by itself. A server that does not read
// must not hold it up beyond its context.
const patience = 50 * time.Millisecond

// write writes request, the commands of l, and then what has gathered meanwhile.
func (c *Conn) write(request []byte, l *Call) {
	c.net.SetWriteDeadline(time.Now().Add(patience))
	n, err := c.net.Write(request)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		rest := append([]byte(nil), request[n:]...)
		c.mu.Lock()
		l.sent = n > 0
		c.mu.Unlock()
		go c.writeRest(rest, []*Call{l})
		return
	}
	c.mu.Lock()
	l.sent = n > 0
	more := c.goOn(err)
	c.mu.Unlock()
	if more {
		go c.writeRest(nil, nil)
	}
}

// writeRest writes rest, the commands of calls, and what gathers, until nothing
// is left.
func (c *Conn) writeRest(rest []byte, calls []*Call) {
	var spare []byte
	for {
		var n int
		var err error
		if len(rest) > 0 {
			c.net.SetWriteDeadline(time.Now().Add(c.timeout))
			n, err = c.net.Write(rest)
		}
		c.mu.Lock()
		for _, l := range calls {
			l.sent = l.sent || l.begin < n
		}
		if !c.goOn(err) {
			c.mu.Unlock()
			return
		}
		clear(calls) // their replies are not for this to keep
		rest, c.out, spare = c.out, spare[:0], c.out
		calls, c.waiting = c.waiting, calls[:0]
		c.mu.Unlock()
	}
}

// goOn reports whether there is more to write after a write that ended with
// err. The caller holds mu.
func (c *Conn) goOn(err error) bool {
	if err != nil {
		c.end(err)
	}
	if c.err == nil && len(c.out) > 0 {
		return true
	}
	c.writing = false
	if c.err != nil {
		c.written.Signal()
	}
	return false
}

// await sets how long the replies of l, the next to be answered, may take. The
// caller holds mu.
func (c *Conn) await(l *Call) {
	c.overdue = time.Now().Add(l.timeout)
	c.net.SetReadDeadline(c.overdue)
}

// fail makes read end, because of err.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(err)
}

// end is fail for who holds mu.
func (c *Conn) end(err error) {
	if c.err == nil {
		c.err = err
		c.net.Close()
	}
}

// read hands replies to the calls that wait for them, until the connection is
// over, and then ends those that are left.
func (c *Conn) read() {
	r := bufio.NewReaderSize(reader{c}, 32<<10)
	for {
		if err := c.answer(r); err != nil {
			c.fail(err)
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.writing { // who writes is about to know what was sent
		c.written.Wait()
	}
	for _, l := range c.calls {
		l.Err = c.err
		if !l.sent {
			l.Err = fmt.Errorf("%w: %w", ErrNotSent, c.err)
		}
		close(l.Done)
	}
	c.calls, c.waiting, c.out = nil, nil, nil
	close(c.done)
}

// answer reads the replies of the next call.
func (c *Conn) answer(r *bufio.Reader) error {
	if _, err := r.Peek(1); err != nil {
		return err
	}
	c.mu.Lock()
	if len(c.calls) == 0 {
		c.mu.Unlock()
		return fmt.Errorf("%w: nothing was asked", errProtocol)
	}
	l := c.calls[0]
	c.mu.Unlock()
	l.Began = c.heard
	for ; l.skip > 0; l.skip-- {
		if reply, err := readReply(r); err != nil {
			return err
		} else if reply.Word != Using {
			return fmt.Errorf("%w: %s to a use", errProtocol, reply.Word)
		}
	}
	for len(l.Replies) < l.want {
		reply, err := readReply(r)
		if err != nil {
			return err
		}
		l.Replies = append(l.Replies, reply)
	}
	c.answered(l)
	return nil
}

// answered ends l, whose replies have all come.
func (c *Conn) answered(l *Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[0] = nil
	if c.calls = c.calls[1:]; len(c.calls) > 0 {
		c.await(c.calls[0])
	} else {
		c.overdue = time.Time{}
		c.net.SetReadDeadline(time.Time{})
	}
	close(l.Done)
}

// reader reads from the connection for as long as a reply may take.
type reader struct{ c *Conn }

func (r reader) Read(p []byte) (int, error) {
	c := r.c
	for {
		n, err := c.net.Read(p)
		if n > 0 {
			c.heard, c.graced = time.Now(), false
			return n, err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if !c.hopes() {
			return 0, fmt.Errorf("no reply in time: %w", err)
		}
	}
}

// grace is how long what has come before a deadline may take to be read after
// it. A process that was held up would not look at it otherwise.
const grace = 20 * time.Millisecond

// hopes reports whether to read on after a deadline, and sets the next.
func (c *Conn) hopes() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	silence := c.heard.Add(c.timeout)
	switch {
	case c.overdue.IsZero() || now.Before(c.overdue): // it was moved just as it passed
		return true
	case now.Before(silence): // a long reply over a slow network
		c.overdue = silence
	case !c.graced:
		c.graced = true
		c.overdue = now.Add(grace)
	default:
		return false
	}
	c.net.SetReadDeadline(c.overdue)
	return true
}
