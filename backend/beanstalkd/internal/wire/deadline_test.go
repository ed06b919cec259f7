package wire_test

import (
	"context"
	"io"
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
	hasty bool          // every other read says that its deadline has passed
	held  chan struct{} // reads wait for it to be closed: the process was held up
	reads int           // made so far
}

func (u *unpunctual) Read(p []byte) (int, error) {
	if u.held != nil {
		<-u.held
	}
	if u.reads++; u.hasty && u.reads%2 == 1 {
		return 0, os.ErrDeadlineExceeded
	}
	return u.Conn.Read(p)
}

func TestADeadlineThatWasMovedJustAsItPassedIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, s := wire.NewConn(&unpunctual{Conn: near, hasty: true}, timeout), &server{t: t, conn: far}
		s.listen()
		synctest.Wait() // until it reads without a deadline
		first := c.Start([]byte("stats\r\n"), 1, 0)
		second := c.Start([]byte("reserve-with-timeout 30\r\n"), 1, 30*time.Second)
		s.say("OK 0\r\n\r\n")
		time.Sleep(30 * time.Second)
		s.say("TIMED_OUT\r\n")
		expectReplies(t, first, "OK")
		expectReplies(t, second, "TIMED_OUT")

		begin := time.Now()
		expectFailure(t, c.Start([]byte("stats\r\n"), 1, 0), false)
		expectEnd(t, c, begin, timeout)
		far.Close()
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
		go io.WriteString(far, "INSERTED 2\r\nDELETED\r\n")
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

func TestACallBeganToBeAnsweredWhenItsFirstReplyCame(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		first := c.Start([]byte("reserve-with-timeout 30\r\nstats\r\n"), 2, 30*time.Second)
		second := c.Start([]byte("delete 1\r\n"), 1, 0)
		time.Sleep(30 * time.Second)
		began := time.Now()
		s.say("TIMED_OUT\r\nOK ")
		time.Sleep(time.Second)
		s.say("0\r\n\r\nDELETED\r\n")
		expectReplies(t, first, "TIMED_OUT OK")
		expectReplies(t, second, "DELETED")
		if !first.Began.Equal(began) || !second.Began.Equal(began.Add(time.Second)) {
			t.Errorf("they began %v and %v later, want 0 and 1s", first.Began.Sub(began), second.Began.Sub(began))
		}
	})
}
