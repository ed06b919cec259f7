package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
)

// The client's pipelines take as long as a third of the way to Redis and back,
// and a push is little else than that way. So a lane has the client dial, log
// in and hang up, and writes its transactions to the network by itself.

// transaction is what Redis does as one, in its own words: MULTI to EXEC. All
// that may be in it is answered with one line.
type transaction struct {
	text  []byte
	parts []part
}

// part is which items a command of a transaction stores, if any.
type part struct{ first, count int }

// maxKept is how large a transaction may be whose memory is used again.
const maxKept = 256 << 10

func (t *transaction) begin() {
	if cap(t.text) > maxKept {
		t.text = nil
	}
	t.text, t.parts = append(t.text[:0], "*1\r\n$5\r\nMULTI\r\n"...), t.parts[:0]
}

// open begins a command of n arguments, its name among them, each of which
// has to be added.
func (t *transaction) open(stores part, n int) {
	t.parts = append(t.parts, stores)
	t.text = append(t.text, '*')
	t.text = strconv.AppendInt(t.text, int64(n), 10)
	t.text = append(t.text, "\r\n"...)
}

// command adds a command.
func (t *transaction) command(stores part, arguments ...string) {
	t.open(stores, len(arguments))
	for _, argument := range arguments {
		t.argument(argument)
	}
}

// argument adds one, which may be in pieces.
func (t *transaction) argument(pieces ...string) {
	size := 0
	for _, piece := range pieces {
		size += len(piece)
	}
	t.text = append(t.text, '$')
	t.text = strconv.AppendInt(t.text, int64(size), 10)
	t.text = append(t.text, "\r\n"...)
	for _, piece := range pieces {
		t.text = append(t.text, piece...)
	}
	t.text = append(t.text, "\r\n"...)
}

func (t *transaction) end() { t.text = append(t.text, "*1\r\n$4\r\nEXEC\r\n"...) }

// wire is the network connection of a lane.
type wire struct {
	net.Conn
	in               *bufio.Reader
	reading, writing timeout
}

func newWire(conn net.Conn, o *goredis.Options) *wire {
	return &wire{conn, bufio.NewReader(conn), timeout{most: o.ReadTimeout}, timeout{most: o.WriteTimeout}}
}

// timeout is one of the client, for which 0 is none.
type timeout struct {
	most time.Duration
	end  time.Time
}

// begin sets the deadline, unless that of an earlier call will nearly do: to set
// one takes longer than to write what is sent.
func (t *timeout) begin(now time.Time, set func(time.Time) error) {
	if t.most > 0 && t.end.Sub(now) < t.most-t.most/16 {
		t.end = now.Add(t.most)
		set(t.end)
	}
}

// errReply leaves open what Redis has done.
var errReply = errors.New("redis: a transaction was answered with something else")

// replyError is an error that Redis has answered.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

// exec makes a transaction now. It returns an error when that was not done, or may
// not have been, and the errors of its commands when some have failed.
func (w *wire) exec(t *transaction, now time.Time) (failures []error, err error) {
	t.end()
	w.writing.begin(now, w.SetWriteDeadline)
	if _, err := w.Write(t.text); err != nil {
		return nil, err
	}
	w.reading.begin(time.Now(), w.SetReadDeadline)
	var refusal error
	for range len(t.parts) + 1 { // MULTI is OK, all else is queued
		kind, failure, err := w.reply()
		switch {
		case err != nil:
			return nil, err
		case failure != nil && refusal == nil:
			refusal = failure
		case failure == nil && kind != '+':
			return nil, errReply
		}
	}
	switch kind, failure, err := w.reply(); {
	case err != nil:
		return nil, err
	case refusal != nil && failure != nil:
		return nil, refusal // which says more than that of EXEC
	case failure != nil:
		return nil, failure
	case refusal != nil || kind != '*':
		return nil, errReply
	}
	for i := range t.parts {
		_, failure, err := w.reply()
		if err != nil {
			return nil, err
		}
		if failure != nil {
			if failures == nil {
				failures = make([]error, len(t.parts))
			}
			failures[i] = failure
		}
	}
	return failures, nil
}

// reply reads a reply of one line, or the first line of a longer one.
func (w *wire) reply() (kind byte, failure, err error) {
	line, err := w.in.ReadSlice('\n')
	switch {
	case err != nil:
		return 0, nil, err
	case len(line) < 3 || line[len(line)-2] != '\r':
		return 0, nil, errReply
	case line[0] == '-':
		failure = replyError(line[1 : len(line)-2])
	}
	return line[0], failure, nil
}

// wires finds the network connections beneath those of the client, which does
// not tell: it is the one over which a request goes that nobody else makes.
type wires struct {
	looking atomic.Int32 // how many requests are in sought

	mu     sync.Mutex
	sought map[string]net.Conn // by request; nil until that was seen
}

// watch makes a dialer whose connections can be found.
func (w *wires) watch(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		seen := &watched{conn, w}
		if system, ok := conn.(syscall.Conn); ok { // then the client can see whether it is still open
			return struct {
				*watched
				syscall.Conn
			}{seen, system}, nil
		}
		return seen, nil
	}
}

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

type watched struct {
	net.Conn
	wires *wires
}

func (c *watched) Write(data []byte) (int, error) {
	if c.wires.looking.Load() > 0 {
		c.wires.look(c.Conn, data)
	}
	return c.Conn.Write(data)
}

func (w *wires) look(conn net.Conn, request []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.sought[string(request)]; ok {
		w.sought[string(request)] = conn
	}
}

// find returns the network connection of conn. name is that of whom it is for,
// and nobody else's.
func (w *wires) find(conn *goredis.Conn, name string) (net.Conn, error) {
	request := fmt.Sprintf("*2\r\n$4\r\nPING\r\n$%d\r\n%s\r\n", len(name), name)
	w.mu.Lock()
	if w.sought == nil {
		w.sought = make(map[string]net.Conn)
	}
	w.sought[request] = nil
	w.mu.Unlock()
	w.looking.Add(1)
	err := conn.Do(context.Background(), "PING", name).Err()
	w.looking.Add(-1)
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.sought[request]
	delete(w.sought, request)
	if err == nil && found == nil {
		err = fmt.Errorf("%w: redis: a connection cannot be found", backend.ErrUnavailable)
	}
	return found, err
}
