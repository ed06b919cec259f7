package wire_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// patience is how long a caller may be held up by a server that does not read.
const patience = 50 * time.Millisecond

func TestAServerThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	withDeafServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		var calls []*wire.Call
		var want strings.Builder
		for i := range 100 {
			begin := time.Now()
			request := []byte(fmt.Sprintf("delete %d\r\n", i))
			want.Write(request)
			calls = append(calls, c.Start(request, 1, 0))
			clear(request) // it is the caller's again
			if took := time.Since(begin); i == 0 && took > patience || i > 0 && took > 0 {
				t.Fatalf("call %d took %v to be made", i, took)
			}
		}
		s.listen()
		s.expect(want.String())
		s.say(strings.Repeat("DELETED\r\n", 100))
		for _, call := range calls {
			expectReplies(t, call, "DELETED")
		}
		again := time.Now()
		c.Start([]byte("stats\r\n"), 1, 0)
		if s.expect("stats\r\n"); time.Since(again) > 0 {
			t.Errorf("a call took %v to be made although the server reads again", time.Since(again))
		}
	})
}

func TestWhatIsHalfWrittenIsCompletedInOrder(t *testing.T) {
	withDeafServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		half := make([]byte, 7)
		go io.ReadFull(s.conn, half)
		first := c.Put([]byte("put 1\r\n"), 1, "a", "a")
		second := c.Put([]byte("put 2\r\n"), 1, "b", "b")
		third := c.Put([]byte("put 3\r\n"), 1, "b", "b")
		s.listen()
		if got := string(half) + s.heard(); got != "use a\r\nput 1\r\nuse b\r\nput 2\r\nput 3\r\n" {
			t.Errorf("the server got %q", got)
		}
		s.say("USING a\r\nINSERTED 1\r\nUSING b\r\nINSERTED 2\r\nINSERTED 3\r\n")
		for i, call := range []*wire.Call{first, second, third} {
			expectReplies(t, call, "INSERTED")
			if call.Replies[0].ID != uint64(i+1) {
				t.Errorf("put %d got the reply for %d", i+1, call.Replies[0].ID)
			}
		}
	})
}

func TestAServerThatNeverReadsEndsTheConnection(t *testing.T) {
	withDeafServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		begin := time.Now()
		first := c.Start([]byte("stats\r\n"), 1, 0)
		second := c.Start([]byte("stats\r\n"), 1, 0)
		expectFailure(t, first, true)
		expectFailure(t, second, true)
		expectEnd(t, c, begin, timeout)
	})
}

func TestAServerThatStopsReadingEndsTheConnectionWhateverTheCallsPatience(t *testing.T) {
	withDeafServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		go io.ReadFull(s.conn, make([]byte, 1))
		call := c.Start([]byte("reserve-with-timeout 3600\r\n"), 1, time.Hour)
		handedOver := time.Now()
		expectFailure(t, call, false)
		expectEnd(t, c, handedOver, timeout)
	})
}

func TestOfAWriteThatBreaksOffOnlyTheRestWasNotSent(t *testing.T) {
	const command = "delete 1\r\n"
	for written := range 3*len(command) + 1 {
		withDeafServer(t, func(t *testing.T, c *wire.Conn, s *server) {
			var calls []*wire.Call
			for range 3 {
				calls = append(calls, c.Start([]byte(command), 1, 0))
			}
			if _, err := io.ReadFull(s.conn, make([]byte, written)); err != nil {
				t.Fatal(err)
			}
			s.conn.Close()
			for i, call := range calls {
				expectFailure(t, call, written <= i*len(command))
			}
		})
	}
}

func TestOfAFirstWriteThatFailsNothingWasSent(t *testing.T) {
	withDeafServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		go func() {
			time.Sleep(patience / 2)
			c.Close()
		}()
		expectFailure(t, c.Put([]byte("put\r\n"), 1, "a", "a"), true)
	})
}

func TestOfAFirstWriteThatBreaksOffSomethingWasSent(t *testing.T) {
	withDeafServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		go func() {
			io.ReadFull(s.conn, make([]byte, 8))
			s.conn.Close()
		}()
		expectFailure(t, c.Put([]byte("put\r\n"), 1, "a", "a"), false)
		expectFailure(t, c.Put([]byte("put\r\n"), 1, "a", "a"), true)
	})
}

func TestRepliesAreReadWhileTheServerDoesNot(t *testing.T) {
	withDeafServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		go io.ReadFull(s.conn, make([]byte, len("stats\r\n")))
		first := c.Start([]byte("stats\r\n"), 1, 0)
		second := c.Start([]byte("stats\r\n"), 1, 0)
		s.say("OK 0\r\n\r\n") // and until that has been taken it reads no more
		expectReplies(t, first, "OK")
		s.listen()
		s.expect("stats\r\n")
		s.say("OK 0\r\n\r\n")
		expectReplies(t, second, "OK")
	})
}
