package wire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

func TestAServerThatClosesAmidAReplyEndsTheCalls(t *testing.T) {
	const replies = "DELETED\r\nFOUND 1 4\r\nbody\r\nDELETED\r\n"
	for said := range len(replies) {
		withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
			first := c.Start([]byte("delete 1\r\n"), 1, 0)
			second := c.Start([]byte("peek 1\r\ndelete 2\r\n"), 2, 0)
			third := c.Start([]byte("delete 3\r\n"), 1, 0)
			s.say(replies[:said])
			s.conn.Close()
			if said >= len("DELETED\r\n") {
				expectReplies(t, first, "DELETED")
			} else {
				expectFailure(t, first, false)
			}
			expectFailure(t, second, false)
			want := ""
			if said >= strings.LastIndex(replies, "DELETED") {
				want = "FOUND"
			}
			if got := words(second); got != want {
				t.Errorf("the replies to the second call are %q after %q, want %q", got, replies[:said], want)
			}
			expectFailure(t, third, false)
		})
	}
}

func TestWhatIsNoReplyEndsTheConnection(t *testing.T) {
	for _, text := range []string{
		"\n", "\r\n", " \r\n", "deleted\r\n", "DELETED\n", "DELETED \x00\n", "DELETEDX\r\n", "+OK\r\n",
		"HTTP/1.1 400 Bad Request\r\n",
		"INSERTED\r\n", "INSERTED \r\n", "INSERTED x\r\n", "INSERTED -1\r\n", "INSERTED 18446744073709551616\r\n", "INSERTED 1 2\r\n",
		"BURIED x\r\n",
		"OK\r\n", "OK -1\r\n", "OK 1e3\r\n",
		"OK 1073741825\r\n", "OK 18446744073709551615\r\n", "FOUND 1 1073741825\r\n", "RESERVED 1 99999999999999999999\r\n",
		"RESERVED 1\r\n", "RESERVED 1 \r\n", "RESERVED x 1\r\n", "RESERVED 1 1 1\r\n", "FOUND 1\r\n",
		"OK 4\r\nbodyXX", "RESERVED 1 4\r\nbody\n\n", "OK 0\r\nOK",
		strings.Repeat("x", 32<<10),
		"DELETED" + strings.Repeat(" ", 32<<10),
	} {
		withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
			first := c.Start([]byte("stats\r\n"), 1, 0)
			second := c.Start([]byte("stats\r\n"), 1, 0)
			go io.WriteString(s.conn, text)
			if !isDone(c.Done()) {
				t.Fatalf("%.40q did not end the connection", text)
			}
			expectFailure(t, first, false)
			expectFailure(t, second, false)
			if words := words(first); words != "" {
				t.Errorf("%.40q was taken for %s", text, words)
			}
		})
	}
}

func TestEveryWordOfTheProtocolIsAReply(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		for _, text := range []string{
			"INSERTED 1", "BURIED 1", "BURIED", "EXPECTED_CRLF", "JOB_TOO_BIG", "DRAINING", "USING a", "DEADLINE_SOON", "TIMED_OUT",
			"DELETED", "NOT_FOUND", "RELEASED", "TOUCHED", "WATCHING 1", "NOT_IGNORED", "KICKED", "KICKED 1", "PAUSED",
			"OUT_OF_MEMORY", "INTERNAL_ERROR", "BAD_FORMAT", "UNKNOWN_COMMAND",
		} {
			call := c.Start([]byte("any\r\n"), 1, 0)
			s.say(text + "\r\n")
			expectReplies(t, call, strings.Fields(text)[0])
		}
	})
}

func TestAJobThatIsDeletedWhileItIsPeekedAtIsNotFound(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		call := c.Start([]byte("peek 1\r\npeek 2\r\n"), 2, 0)
		s.say("FOUND 1 4\r\nbodyXXFOUND 2 1\r\nx\r\n")
		expectReplies(t, call, "NOT_FOUND FOUND")
	})
}

func TestBytesThatNobodyAskedForEndTheConnection(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		call := c.Start([]byte("delete 1\r\n"), 1, 0)
		s.say("DELETED\r\nDELETED\r\n")
		expectReplies(t, call, "DELETED")
		if !isDone(c.Done()) {
			t.Error("the connection goes on, and the next call gets the reply of none")
		}
		expectFailure(t, c.Start([]byte("delete 2\r\n"), 1, 0), true)
		s.expect("delete 1\r\n")
	})
}

func TestCloseEndsEverything(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		calls := []*wire.Call{
			c.Start([]byte("stats\r\n"), 1, 0),
			c.Start([]byte("reserve\r\n"), 1, time.Hour),
			c.Put([]byte("put\r\n"), 1, "a", "a"),
		}
		s.heard()
		if c.Err() != nil || isDone(c.Done()) {
			t.Fatal("it is over before it is closed")
		}
		c.Close()
		if !errors.Is(c.Err(), net.ErrClosed) {
			t.Errorf("right after Close the error is %v, want %v", c.Err(), net.ErrClosed)
		}
		<-c.Done()
		for _, call := range calls {
			select {
			case <-call.Done:
			default:
				t.Error("a call goes on when the connection is done")
			}
			expectFailure(t, call, false)
		}
		c.Close()
		late := c.Put([]byte("put\r\n"), 1, "a", "a")
		select {
		case <-late.Done:
		default:
			t.Error("a call that comes too late does not fail at once")
		}
		expectFailure(t, late, true)
		if _, err := c.Do(context.Background(), []byte("stats\r\n"), 1); !errors.Is(err, wire.ErrNotSent) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end Do returns %v", err)
		}
	})
}

// TestACallThatWasNotSentIsKnownNotToBe closes a connection while many use it.
// What has not arrived is told from what has, in whose midst of a write ever
// that was.
func TestACallThatWasNotSentIsKnownNotToBe(t *testing.T) {
	const command = "delete 1\r\n"
	for round := range 100 {
		near, far := loopback(t)
		c := wire.NewConn(near, 30*time.Second)
		isOver := make(chan struct{})
		arrived := make(chan int)
		go func() {
			defer far.Close()
			if round%2 == 0 { // until then the buffers fill
				<-isOver
			}
			n, _ := io.Copy(io.Discard, far)
			arrived <- int(n)
		}()
		var sent atomic.Int64
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				var calls []*wire.Call
				for c.Err() == nil {
					calls = append(calls, c.Start([]byte(strings.Repeat(command, 100)), 100, 0))
				}
				for _, call := range calls {
					if <-call.Done; !errors.Is(call.Err, wire.ErrNotSent) {
						sent.Add(1)
					}
				}
			})
		}
		time.AfterFunc(time.Duration(round)*100*time.Microsecond, c.Close)
		all.Wait()
		<-c.Done()
		close(isOver)
		most := 100 * len(command)
		if want := (<-arrived + most - 1) / most; int(sent.Load()) != want {
			t.Fatalf("%d calls may have been sent by what they say, %d have arrived", sent.Load(), want)
		}
	}
}

func TestAServerThatIsNotThereIsSentNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	accepted := make(chan net.Conn)
	go func() {
		conn, _ := l.Accept()
		accepted <- conn
	}()
	c, err := wire.Dial(t.Context(), address, timeout)
	if err != nil {
		t.Fatal(err)
	}
	(<-accepted).Close()
	<-c.Done()
	l.Close()
	if _, err := wire.Dial(t.Context(), address, timeout); !errors.Is(err, wire.ErrNotSent) {
		t.Errorf("dialing nobody returns %v, want ErrNotSent", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := wire.Dial(ctx, address, timeout); !errors.Is(err, context.Canceled) {
		t.Errorf("dialing when the context is over returns %v", err)
	}
}
