package rabbitmq

import (
	"bufio"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// readSize is how much is read from a connection at a time. The client asks
	// for 4 KB, which is a handful of jobs.
	readSize = 64 << 10

	// holdSize is how much is held back at most.
	holdSize = 64 << 10
)

// wire is what AMQP is spoken over. The client writes every message by itself;
// what it writes between hold and flow goes out at once.
type wire struct {
	net.Conn
	in *bufio.Reader

	// patience is how long the broker may be silent, and may read nothing of what
	// is written, unless it says that it is blocked. The client would not end a
	// write, and would give up a connection on which it waits for one.
	patience time.Duration
	blocked  func() bool

	limits   sync.Mutex // held while deadlines are set
	deadline time.Time  // guarded by limits: set by the client, to end the connection

	mu      sync.Mutex // held while something is written
	holders int        // guarded by mu: calls of hold without their flow
	out     []byte     // guarded by mu: what is held back
}

func newWire(conn net.Conn, patience time.Duration) *wire {
	w := &wire{Conn: conn, patience: patience, blocked: func() bool { return false }}
	w.in = bufio.NewReaderSize(patientReader{w}, readSize)
	return w
}

func (w *wire) Read(p []byte) (int, error) { return w.in.Read(p) }

// patientReader reads what the broker sends.
type patientReader struct{ w *wire }

func (r patientReader) Read(p []byte) (int, error) {
	r.w.limit(r.w.Conn.SetReadDeadline)
	return r.w.Conn.Read(p)
}

// limit sets by when the broker has to do something.
func (w *wire) limit(set func(time.Time) error) {
	w.limits.Lock()
	defer w.limits.Unlock()
	until := time.Now().Add(w.patience)
	if !w.deadline.IsZero() && w.deadline.Before(until) {
		until = w.deadline
	}
	set(until)
}

// SetReadDeadline is called by the client for each heartbeat, unless it waits for
// a write. Read sees to it.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetDeadline is called for the handshake, without a time after it, and to close.
func (w *wire) SetDeadline(t time.Time) error {
	w.limits.Lock()
	defer w.limits.Unlock()
	w.deadline = t
	return w.Conn.SetDeadline(t)
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holders == 0 && len(w.out) == 0 {
		if err := w.send(p); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	w.out = append(w.out, p...)
	if w.holders > 0 && len(w.out) < holdSize {
		return len(p), nil
	}
	if err := w.sendHeld(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// hold has what is written from now on wait for flow.
func (w *wire) hold() {
	w.mu.Lock()
	w.holders++
	w.mu.Unlock()
}

// flow is the end of a hold. An error of the connection is not lost: nothing
// can be written or read any more then.
func (w *wire) flow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holders--; w.holders == 0 {
		w.sendHeld()
	}
}

// sendHeld writes what is held back. The caller holds mu.
func (w *wire) sendHeld() error {
	if len(w.out) == 0 {
		return nil
	}
	err := w.send(w.out)
	if w.out = w.out[:0]; cap(w.out) > 2*holdSize {
		w.out = nil
	}
	return err
}

// send writes p, and closes the connection if it cannot. The caller holds mu.
func (w *wire) send(p []byte) error {
	for {
		w.limit(w.Conn.SetWriteDeadline)
		n, err := w.Conn.Write(p)
		if err == nil {
			return nil
		}
		if p = p[n:]; !errors.Is(err, os.ErrDeadlineExceeded) || !w.blocked() || w.isEnding() {
			w.Conn.Close()
			return err
		}
	}
}

func (w *wire) isEnding() bool {
	w.limits.Lock()
	defer w.limits.Unlock()
	return !w.deadline.IsZero()
}
