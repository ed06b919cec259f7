package rabbitmq

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// patience is that of the wires under test.
const patience = 30 * time.Second

// reader is the other end of a wire. What it reads at once was written at once.
type reader struct {
	mu  sync.Mutex
	got []string // guarded by mu
}

// Write takes what has come.
func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, string(p))
	return len(p), nil
}

// read returns what has come, once nothing more does.
func (r *reader) read() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// withReader runs test in a bubble, with a wire to somebody who reads.
func withReader(t *testing.T, test func(t *testing.T, w *wire, r *reader)) {
	t.Helper()
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		r := &reader{}
		go io.CopyBuffer(r, far, make([]byte, 16*holdSize))
		test(t, w, r)
	})
}

// withDeaf does so with one who does not read.
func withDeaf(t *testing.T, test func(t *testing.T, w *wire, far net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		test(t, newWire(near, patience), far)
	})
}

// write writes texts one by one.
func write(t *testing.T, w *wire, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if n, err := io.WriteString(w, text); err != nil || n != len(text) {
			t.Errorf("writing %.20q: %d bytes, %v", text, n, err)
		}
	}
}

func (r *reader) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := r.read(); !slices.Equal(got, want) {
		t.Errorf("the other end got %.100q, want %.100q", got, want)
	}
}

func TestWhatIsWrittenGoesOutByItself(t *testing.T) {
	withReader(t, func(t *testing.T, w *wire, r *reader) {
		write(t, w, "a", "b")
		r.expect(t, "a", "b")
	})
}

func TestWhatIsWrittenBetweenHoldAndFlowGoesOutAtOnce(t *testing.T) {
	withReader(t, func(t *testing.T, w *wire, r *reader) {
		w.hold()
		write(t, w, "a", "b")
		r.expect(t)
		w.flow()
		r.expect(t, "ab")
		write(t, w, "c")
		r.expect(t, "ab", "c")
	})
}

func TestTheLastFlowSendsWhatSeveralHold(t *testing.T) {
	withReader(t, func(t *testing.T, w *wire, r *reader) {
		w.hold()
		write(t, w, "a")
		w.hold()
		write(t, w, "b")
		w.flow()
		write(t, w, "c")
		r.expect(t)
		w.flow()
		r.expect(t, "abc")
	})
}

func TestAFlowWithoutAWriteSendsNothing(t *testing.T) {
	withReader(t, func(t *testing.T, w *wire, r *reader) {
		w.hold()
		w.flow()
		r.expect(t)
	})
}

func TestNoMoreIsHeldThanThereIsRoomFor(t *testing.T) {
	most, large := strings.Repeat("a", holdSize-1), strings.Repeat("b", 4*holdSize)
	withReader(t, func(t *testing.T, w *wire, r *reader) {
		w.hold()
		write(t, w, most)
		r.expect(t)
		write(t, w, "c")
		r.expect(t, most+"c")
		write(t, w, "d", large)
		r.expect(t, most+"c", "d"+large)
		write(t, w, "e") // it still holds
		r.expect(t, most+"c", "d"+large)
		w.flow()
		r.expect(t, most+"c", "d"+large, "e")
		if room := cap(w.out); room > 2*holdSize {
			t.Errorf("%d bytes are kept for what is held back", room)
		}
	})
}

// The client takes the buffer that it has written from for the next message.
func TestWhatIsHeldIsACopy(t *testing.T) {
	withReader(t, func(t *testing.T, w *wire, r *reader) {
		buffer := []byte("a")
		w.hold()
		w.Write(buffer)
		buffer[0] = 'b'
		w.Write(buffer)
		w.flow()
		r.expect(t, "ab")
	})
}

func TestWritersKeepTheirOrderAndLoseNothing(t *testing.T) {
	const writers, lines = 6, 150
	withReader(t, func(t *testing.T, w *wire, r *reader) {
		var all sync.WaitGroup
		for writer := range writers {
			all.Go(func() {
				for line := range lines {
					switch (writer + line) % 5 { // some hold, each in a while
					case 0:
						w.hold()
					case 3:
						w.hold()
						defer w.flow()
					case 4:
						if line > 4 {
							w.hold()
							w.flow()
						}
					}
					// Some are as long as what is held at most, and more.
					write(t, w, fmt.Sprintf("%d %d %s\n", writer, line, strings.Repeat("x", line%7*line%7*holdSize/16)))
					if (writer+line)%5 == 0 {
						w.flow()
					}
				}
			})
		}
		all.Wait()
		text := strings.Join(r.read(), "")
		var next [writers]int
		for line := range strings.Lines(text) {
			var writer, number int
			if n, err := fmt.Sscanf(line, "%d %d", &writer, &number); n != 2 || writer >= writers || !strings.HasSuffix(line, "\n") {
				t.Fatalf("the other end got the line %.50q: %v", line, err)
			}
			if number != next[writer] {
				t.Fatalf("of writer %d came line %d, want %d", writer, number, next[writer])
			}
			next[writer]++
		}
		for writer, got := range next {
			if got != lines {
				t.Errorf("of writer %d came %d lines, want %d", writer, got, lines)
			}
		}
	})
}

// ends fails the test unless f ends after a time, by a deadline.
func ends(t *testing.T, what string, after time.Duration, f func() error) {
	t.Helper()
	start := time.Now()
	if err := f(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != after {
		t.Errorf("%s ended with %v after %v, want a timeout after %v", what, err, time.Since(start), after)
	}
}

// isClosed reports whether the other end of a wire is told that it is over.
func isClosed(far net.Conn) bool {
	_, err := far.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

func TestAWriteThatDoesNotGoOnEndsAfterAWhile(t *testing.T) {
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		ends(t, "the write", patience, func() error {
			_, err := io.WriteString(w, "a")
			return err
		})
		if !isClosed(far) {
			t.Error("the connection was not closed")
		}
		if _, err := io.WriteString(w, "b"); err == nil {
			t.Error("the next write went well")
		}
		if _, err := w.Read(make([]byte, 1)); err == nil {
			t.Error("the next read went well")
		}
	})
}

// readSlowly reads three bytes, one after each pause.
func readSlowly(far net.Conn, pause time.Duration) {
	for range 3 {
		time.Sleep(pause)
		far.Read(make([]byte, 1))
	}
}

// A broker that reads a bit now and then is no better.
func TestAWriteThatGoesOnSlowlyEndsAfterAWhile(t *testing.T) {
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		go readSlowly(far, patience/4)
		ends(t, "the write", patience, func() error {
			_, err := io.WriteString(w, "a long text")
			return err
		})
	})
}

func TestWhatIsHeldEndsTheConnectionWhenItDoesNotGoOut(t *testing.T) {
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.hold()
		write(t, w, "a")
		start := time.Now()
		w.flow()
		if passed := time.Since(start); passed != patience || !isClosed(far) {
			t.Errorf("it took %v, want %v and that the connection is closed", passed, patience)
		}
	})
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.hold()
		ends(t, "the write of much", patience, func() error {
			_, err := w.Write(make([]byte, holdSize))
			return err
		})
		w.flow()
		if !isClosed(far) {
			t.Error("the connection was not closed")
		}
	})
}

func TestEachWriteMayTakeItsTime(t *testing.T) {
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		go readSlowly(far, patience-time.Second)
		write(t, w, "a", "b", "c")
	})
}

func TestADeadlineOfTheClientIsKept(t *testing.T) {
	writeOne := func(w *wire) func() error {
		return func() error {
			_, err := io.WriteString(w, "a")
			return err
		}
	}
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.SetDeadline(time.Now().Add(time.Second))
		ends(t, "a write", time.Second, writeOne(w))
	})
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.SetDeadline(time.Now().Add(time.Second))
		ends(t, "a read", time.Second, func() error {
			_, err := w.Read(make([]byte, 1))
			return err
		})
	})
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.SetDeadline(time.Now().Add(time.Hour))
		ends(t, "a write before a late one", patience, writeOne(w))
	})
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.SetDeadline(time.Now().Add(time.Second))
		w.SetDeadline(time.Time{})
		ends(t, "a write after one that was taken back", patience, writeOne(w))
	})
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		time.AfterFunc(2*time.Second, func() { w.SetDeadline(time.Now().Add(time.Second)) })
		ends(t, "a write that was in progress", 3*time.Second, writeOne(w))
	})
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.hold()
		write(t, w, "a")
		w.SetDeadline(time.Now().Add(time.Second))
		start := time.Now()
		w.flow()
		if passed := time.Since(start); passed != time.Second {
			t.Errorf("a flow ended after %v, want 1s", passed)
		}
	})
}

// With every frame that comes the client gives the next one more time. That must
// not outlive the time that Close gives it.
func TestADeadlineOfTheClientIsNotPutOffByItsHeartbeats(t *testing.T) {
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.SetDeadline(time.Now().Add(time.Second))
		w.SetReadDeadline(time.Now().Add(time.Minute))
		ends(t, "a read", time.Second, func() error {
			_, err := w.Read(make([]byte, 1))
			return err
		})
	})
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		var beats sync.WaitGroup
		beats.Go(func() {
			for range 8 { // one each half second: beyond the deadline
				far.Write([]byte{0})
				time.Sleep(time.Second / 2)
			}
		})
		w.SetDeadline(time.Now().Add(2*time.Second + 1))
		ends(t, "the reading", 2*time.Second+1, func() error {
			for {
				if _, err := w.Read(make([]byte, 1)); err != nil {
					return err
				}
				w.SetReadDeadline(time.Now().Add(time.Minute))
			}
		})
		far.Close()
		beats.Wait()
	})
}

func TestABrokerThatIsSilentIsGivenUp(t *testing.T) {
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.SetDeadline(time.Time{}) // behind the handshake
		for range 3 {
			go func() {
				time.Sleep(patience - time.Second)
				far.Write([]byte{0})
			}()
			if _, err := w.Read(make([]byte, 1)); err != nil {
				t.Errorf("one that is only slow: %v", err)
			}
		}
		ends(t, "a read", patience, func() error {
			_, err := w.Read(make([]byte, 1))
			return err
		})
	})
}

// A broker that is short of memory says so, and reads nothing until it has more.
func TestAWriteWaitsForABrokerThatIsBlocked(t *testing.T) {
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		var blocked atomic.Bool
		blocked.Store(true)
		w.blocked = blocked.Load
		got := make(chan string)
		go func() {
			begin := make([]byte, 2)
			io.ReadFull(far, begin)               // a bit of it has gone before
			time.Sleep(10*patience + time.Second) // not in the moment of a timeout
			blocked.Store(false)
			rest := make([]byte, 4)
			io.ReadFull(far, rest)
			got <- string(begin) + string(rest)
		}()
		write(t, w, "abcdef")
		if text := <-got; text != "abcdef" {
			t.Errorf("the other end got %q", text)
		}
		ends(t, "a write after that", patience, func() error {
			_, err := io.WriteString(w, "g")
			return err
		})
	})
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		w.blocked = func() bool { return true }
		time.AfterFunc(2*patience+time.Second, func() { w.SetDeadline(time.Now().Add(time.Second)) })
		ends(t, "a write when it is to be closed", 2*patience+2*time.Second, func() error {
			_, err := io.WriteString(w, "a")
			return err
		})
	})
}

// interrupted is a connection over which a write is about to begin when the
// client, in another goroutine, sets its deadline.
type interrupted struct {
	net.Conn
	interrupt func()
	once      sync.Once
	done      chan struct{} // closed when interrupt has returned
}

func (c *interrupted) SetWriteDeadline(t time.Time) error {
	c.once.Do(func() {
		go func() {
			c.interrupt()
			close(c.done)
		}()
		select {
		case <-c.done:
		case <-time.After(20 * time.Millisecond): // it waits for this, which is as good
		}
	})
	return c.Conn.SetWriteDeadline(t)
}

func (c *interrupted) Write(p []byte) (int, error) {
	select {
	case <-c.done:
	case <-time.After(20 * time.Millisecond):
	}
	return c.Conn.Write(p)
}

// It takes no bubble: a lock would hold its time up.
func TestADeadlineThatIsSetWhileAWriteBeginsIsKept(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	conn := &interrupted{Conn: near, done: make(chan struct{})}
	w := newWire(conn, 2*time.Second)
	conn.interrupt = func() { w.SetDeadline(time.Now().Add(time.Millisecond)) }
	start := time.Now()
	if _, err := io.WriteString(w, "a"); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > time.Second {
		t.Errorf("the write ended with %v after %v, want a timeout at the deadline, which is at once", err, time.Since(start))
	}
}

func TestWhatComesIsReadAsItIs(t *testing.T) {
	withDeaf(t, func(t *testing.T, w *wire, far net.Conn) {
		sent := bytes.Repeat([]byte("0123456789"), readSize/4)
		go func() {
			for rest := sent; len(rest) > 0; { // in pieces of all sizes
				n := min(len(rest), 1+len(rest)%1013)
				far.Write(rest[:n])
				rest = rest[n:]
			}
			far.Close()
		}()
		got, err := io.ReadAll(w)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes were read, %v, want the %d that were sent", len(got), err, len(sent))
		}
	})
}
