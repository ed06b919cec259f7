package wire_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// TestMain fails the package when a goroutine outlives its tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// timeout is that of the connections under test.
const timeout = 3 * time.Second

// late is by how much the end of a timeout may be noticed later.
const late = 50 * time.Millisecond

// server is the other end of a connection. It reads what comes, like the kernel
// does, and says what the test has it say.
type server struct {
	t    *testing.T
	conn net.Conn

	mu  sync.Mutex
	got bytes.Buffer
}

// withServer runs test in a bubble, with a connection to a server that reads.
func withServer(t *testing.T, test func(t *testing.T, c *wire.Conn, s *server)) {
	t.Helper()
	withDeafServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		s.listen()
		test(t, c, s)
	})
}

// withDeafServer is withServer with one that does not read yet.
func withDeafServer(t *testing.T, test func(t *testing.T, c *wire.Conn, s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, s := wire.NewConn(near, timeout), &server{t: t, conn: far}
		defer func() {
			far.Close()
			<-c.Done()
		}()
		test(t, c, s)
	})
}

func (s *server) listen() { go io.Copy(s, s.conn) }

// Write takes what has come.
func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(p)
}

// heard returns what has come since it was last called.
func (s *server) heard() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.got.Reset()
	return s.got.String()
}

// expect fails the test unless exactly that has come.
func (s *server) expect(want string) {
	s.t.Helper()
	if got := s.heard(); got != want {
		s.t.Fatalf("the server got %q, want %q", got, want)
	}
}

// say sends text, and returns when it has been read and dealt with.
func (s *server) say(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, text); err != nil {
		s.t.Fatalf("saying %q: %v", text, err)
	}
	synctest.Wait()
}

// isDone reports whether a channel is closed, once nothing else happens.
func isDone(done <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// words returns those of the replies to a call that is over.
func words(l *wire.Call) string {
	var all []string
	for _, reply := range l.Replies {
		all = append(all, reply.Word)
	}
	return strings.Join(all, " ")
}

// expectReplies waits for a call to be answered by those words.
func expectReplies(t *testing.T, l *wire.Call, want string) {
	t.Helper()
	if _, err := l.Wait(context.Background()); err != nil {
		t.Fatalf("the call failed: %v", err)
	}
	if got := words(l); got != want {
		t.Fatalf("the call was answered by %q, want %q", got, want)
	}
}

// expectFailure waits for a call to fail, and checks whether by its error it was
// not sent.
func expectFailure(t *testing.T, l *wire.Call, notSent bool) {
	t.Helper()
	_, err := l.Wait(context.Background())
	if err == nil {
		t.Fatalf("the call was answered by %q, want an error", words(l))
	}
	if errors.Is(err, wire.ErrNotSent) != notSent {
		t.Errorf("the call failed by %v, which says by ErrNotSent %v, want %v", err, !notSent, notSent)
	}
}
