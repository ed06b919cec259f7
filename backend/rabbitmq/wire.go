package rabbitmq

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
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

	// patience is how long a write may take, in which the broker reads nothing.
	// The client does not end one by itself, not even when it has given the
	// connection up.
	patience time.Duration
	deadline atomic.Pointer[time.Time] // set by the client, which it keeps then

	mu      sync.Mutex // held while something is written
	holders int        // guarded by mu: calls of hold without their flow
	out     []byte     // guarded by mu: what is held back
}

func newWire(conn net.Conn, patience time.Duration) *wire {
	return &wire{Conn: conn, in: bufio.NewReaderSize(conn, readSize), patience: patience}
}

func (w *wire) Read(p []byte) (int, error) { return w.in.Read(p) }

// SetDeadline is called for the handshake, without a time after it, and to close.
func (w *wire) SetDeadline(t time.Time) error {
	if w.deadline.Store(&t); t.IsZero() {
		w.deadline.Store(nil)
	}
	return w.Conn.SetDeadline(t)
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holders == 0 && len(w.out) == 0 {
		return len(p), w.send(p)
	}
	w.out = append(w.out, p...)
	if w.holders > 0 && len(w.out) < holdSize {
		return len(p), nil
	}
	return len(p), w.sendHeld()
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
	until := time.Now().Add(w.patience)
	if set := w.deadline.Load(); set != nil && set.Before(until) {
		until = *set
	}
	w.Conn.SetWriteDeadline(until)
	_, err := w.Conn.Write(p)
	if err != nil {
		w.Conn.Close()
	}
	return err
}
