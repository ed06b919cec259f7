package wire_test

import (
	"context"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// expectEnd waits for the connection to end, which has to be so long after
// begin, or a little later.
func expectEnd(t *testing.T, c *wire.Conn, begin time.Time, after time.Duration) {
	t.Helper()
	<-c.Done()
	if took := time.Since(begin); took < after || took > after+late {
		t.Errorf("the connection ended after %v, want %v", took, after)
	}
}

func TestAReplyInTimeIsEnough(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		for range 3 {
			call := c.Start([]byte("stats\r\n"), 1, 0)
			time.Sleep(timeout - time.Nanosecond)
			s.say("OK 0\r\n\r\n")
			expectReplies(t, call, "OK")
		}
	})
}

func TestALateReplyEndsTheConnectionAndWhatIsNotAnswered(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		begin := time.Now()
		answered := c.Start([]byte("stats\r\n"), 1, 0)
		first := c.Start([]byte("delete 1\r\n"), 1, 0)
		second := c.Start([]byte("delete 2\r\n"), 1, time.Hour)
		s.say("OK 0\r\n\r\n")
		expectFailure(t, first, false)
		expectFailure(t, second, false)
		expectEnd(t, c, begin, timeout)
		expectReplies(t, answered, "OK")
	})
}

func TestASecondReplyMayNotBeLateEither(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		call := c.Start([]byte("delete 1\r\ndelete 2\r\n"), 2, 0)
		time.Sleep(time.Second)
		said := time.Now()
		s.say("DELETED\r\n")
		expectFailure(t, call, false)
		expectEnd(t, c, said, timeout)
		if got := words(call); got != "DELETED" {
			t.Errorf("the replies are %q, want the one that came", got)
		}
	})
}

func TestALongReplyOverASlowNetworkIsNotLate(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		call := c.Start([]byte("peek 1\r\npeek 2\r\n"), 2, 0)
		for _, part := range []string{"FOU", "ND 1 5\r\n", "12345", "\r\nFOUND", " 2 2\r\n", "1", "2", "\r", "\n"} {
			time.Sleep(timeout - time.Second)
			s.say(part)
		}
		expectReplies(t, call, "FOUND FOUND")
	})
}

func TestACallBehindAWaitingOneHasItsOwnTime(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		waiting := c.Start([]byte("reserve-with-timeout 30\r\n"), 1, 30*time.Second)
		behind := c.Start([]byte("delete 1\r\n"), 1, 0)
		last := c.Start([]byte("delete 2\r\n"), 1, 0)
		time.Sleep(30*time.Second + timeout - time.Millisecond)
		s.say("TIMED_OUT\r\n")
		expectReplies(t, waiting, "TIMED_OUT")
		time.Sleep(timeout - time.Millisecond)
		s.say("DELETED\r\n")
		expectReplies(t, behind, "DELETED")
		since := time.Now()
		expectFailure(t, last, false)
		expectEnd(t, c, since, timeout)
	})
}

func TestAWaitingCallEndsAfterItsPatience(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		begin := time.Now()
		expectFailure(t, c.Start([]byte("reserve-with-timeout 30\r\n"), 1, 30*time.Second), false)
		expectEnd(t, c, begin, 30*time.Second+timeout)
	})
}

func TestTheTimeOfACallBeginsWhenItIsMade(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		first := c.Start([]byte("stats\r\n"), 1, 0)
		s.say("OK 0\r\n\r\n")
		expectReplies(t, first, "OK")
		time.Sleep(timeout - time.Millisecond) // what would be left if it began with the last reply
		begin := time.Now()
		expectFailure(t, c.Start([]byte("stats\r\n"), 1, 0), false)
		expectEnd(t, c, begin, timeout)
	})
}

// unpunctual is a connection whose reads go wrong in the ways that deadlines do.
type unpunctual struct {
	net.Conn
	hasty  chan struct{} // a read says that a deadline has passed
	held   chan struct{} // reads wait for it to be closed: the process was held up
	passed bool
}

func (u *unpunctual) Read(p []byte) (int, error) {
	if u.held != nil {
		<-u.held
	}
	n, err := u.Conn.Read(p)
	select {
	case <-u.hasty:
		return n, os.ErrDeadlineExceeded
	default:
		return n, err
	}
}

func TestADeadlineThatWasMovedJustAsItPassedIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		u := &unpunctual{Conn: near, hasty: make(chan struct{}, 1)}
		c, s := wire.NewConn(u, timeout), &server{t: t, conn: far}
		s.listen()
		// The first is a read that nothing is asked of, the second one with a
		// deadline that is still to come.
		for range 2 {
			synctest.Wait()
			u.hasty <- struct{}{}
			near.SetReadDeadline(time.Now())
			synctest.Wait()
			if err := c.Err(); err != nil {
				t.Fatalf("the connection ended: %v", err)
			}
			near.SetReadDeadline(time.Time{})
			c.Start([]byte("reserve-with-timeout 30\r\n"), 1, 30*time.Second)
		}
		s.say("TIMED_OUT\r\nTIMED_OUT\r\n")
		if err := c.Err(); err != nil {
			t.Fatalf("the connection ended: %v", err)
		}
		c.Close()
		far.Close()
		<-c.Done()
	})
}

func TestAReplyThatWasThereInTimeIsReadByAProcessThatWasHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		u := &unpunctual{Conn: near, held: make(chan struct{})}
		c, s := wire.NewConn(u, timeout), &server{t: t, conn: far}
		s.listen()
		call := c.Start([]byte("put\r\ndelete 1\r\n"), 2, 0)
		time.Sleep(time.Second)
		go s.say("INSERTED 2\r\nDELETED\r\n")
		time.Sleep(time.Minute)
		close(u.held)
		expectReplies(t, call, "INSERTED DELETED")

		begin := time.Now()
		expectFailure(t, c.Start([]byte("stats\r\n"), 1, 0), false)
		expectEnd(t, c, begin, timeout)
		far.Close()
	})
}

func TestAWaitForRepliesEndsWithItsContext(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		ctx, cancel := context.WithCancel(context.Background())
		call := c.Start([]byte("stats\r\n"), 1, 0)
		cancel()
		if _, err := call.Wait(ctx); err != context.Canceled {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		s.say("OK 0\r\n\r\n")
		if replies, err := call.Wait(ctx); err != nil || len(replies) != 1 {
			t.Errorf("got %v, %v although the reply is there", replies, err)
		}
	})
}
