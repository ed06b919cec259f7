package wire_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

func TestCallsAreAnsweredInTheirOrder(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		put := c.Start([]byte("put 1 0 60 1\r\nx\r\n"), 1, 0)
		both := c.Start([]byte("delete 1\r\npeek 2\r\n"), 2, 0)
		last := c.Start([]byte("stats\r\n"), 1, 0)
		s.expect("put 1 0 60 1\r\nx\r\ndelete 1\r\npeek 2\r\nstats\r\n")

		s.say("INSERTED 7\r\n")
		expectReplies(t, put, "INSERTED")
		if put.Replies[0].ID != 7 {
			t.Errorf("the job is %d, want 7", put.Replies[0].ID)
		}
		s.say("NOT_FOUND\r\n")
		if isDone(both.Done) {
			t.Error("a call of two commands was over after one reply")
		}
		s.say("FOUND 2 3\r\na\r\n\r\nOK 0\r\n\r\n")
		expectReplies(t, both, "NOT_FOUND FOUND")
		if got := both.Replies[1]; got.ID != 2 || string(got.Body) != "a\r\n" {
			t.Errorf("the job is %d, %q, want 2 with a line end in its body", got.ID, got.Body)
		}
		expectReplies(t, last, "OK")
	})
}

func TestRepliesMayComeByteByByte(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		first := c.Put([]byte("put 1 0 60 1\r\nx\r\nreserve\r\n"), 2, "mail", "mail")
		second := c.Start([]byte("delete 1\r\n"), 1, 0)
		for _, b := range []byte("USING mail\r\nINSERTED 18446744073709551615\r\nRESERVED 5 12\r\nINSERTED 9\r\n\r\nDELETED\r\n") {
			s.say(string(b))
		}
		expectReplies(t, first, "INSERTED RESERVED")
		if got := first.Replies; got[0].ID != 1<<64-1 || got[1].ID != 5 || string(got[1].Body) != "INSERTED 9\r\n" {
			t.Errorf("got %+v", got)
		}
		expectReplies(t, second, "DELETED")
	})
}

func TestBodiesStayAsTheyWereWhenMoreIsRead(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		first := c.Start([]byte("peek 1\r\n"), 1, 0)
		s.say("FOUND 1 4\r\nbody\r\n")
		for range 100 {
			next := c.Start([]byte("peek 2\r\n"), 1, 0)
			s.say("FOUND 2 1024\r\n" + strings.Repeat("x", 1024) + "\r\n")
			expectReplies(t, next, "FOUND")
		}
		body := first.Replies[0].Body
		if _ = append(body, "more"...); string(body) != "body" {
			t.Errorf("the body became %q", body)
		}
	})
}

func TestABodyMayBeLargerThanAnythingThatWasMadeRoomFor(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		for _, size := range []int{0, 1<<20 - 3, 1<<20 - 2, 1<<20 - 1, 1 << 20, 1<<21 - 2, 5<<20 + 1} {
			body := strings.Repeat("0123456789", size/10+1)[:size]
			call := c.Start([]byte("peek 1\r\n"), 1, 0)
			s.say(fmt.Sprintf("FOUND 1 %d\r\n%s\r\n", size, body))
			expectReplies(t, call, "FOUND")
			if got := call.Replies[0].Body; string(got) != body || cap(got) != size {
				t.Errorf("a body of %d bytes came as another, of %d in %d", size, len(got), cap(got))
			}
		}
	})
}

func TestNobodyWaitsForTheRepliesOfOthersToSend(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		const callers = 200
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				command := fmt.Sprintf("peek %d\r\n", i)
				replies, err := c.Do(context.Background(), []byte(command), 1)
				if err != nil || replies[0].ID != uint64(i) {
					t.Errorf("%q got %+v, %v", command, replies, err)
				}
			})
		}
		asked := strings.Fields(strings.ReplaceAll(s.heard(), "peek ", ""))
		if len(asked) != callers {
			t.Fatalf("%d calls were sent before any was answered, want %d", len(asked), callers)
		}
		for _, id := range asked {
			s.say("FOUND " + id + " 1\r\nx\r\n")
		}
		all.Wait()
	})
}

func TestATubeIsUsedOnlyWhenItChanges(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		for _, step := range []struct{ first, request, last, want string }{
			{"default", "put 1\r\n", "default", "put 1\r\n"}, // which is used from the beginning
			{"a", "put 2\r\n", "a", "use a\r\nput 2\r\n"},
			{"a", "put 3\r\n", "a", "put 3\r\n"},
			{"a", "put 4\r\nuse b\r\nput 5\r\n", "b", "put 4\r\nuse b\r\nput 5\r\n"},
			{"b", "put 6\r\n", "b", "put 6\r\n"},
			{"a", "put 7\r\n", "a", "use a\r\nput 7\r\n"},
		} {
			commands := strings.Count(step.request, "\r\n")
			call := c.Put([]byte(step.request), commands, step.first, step.last)
			s.expect(step.want)
			var replies, want []string
			for line := range strings.Lines(step.want) {
				if strings.HasPrefix(line, "use") {
					replies = append(replies, "USING tube\r\n")
				} else {
					replies = append(replies, "INSERTED 1\r\n")
				}
			}
			for _, line := range replies[len(replies)-commands:] { // without those that Put added
				want = append(want, strings.Fields(line)[0])
			}
			s.say(strings.Join(replies, ""))
			expectReplies(t, call, strings.Join(want, " "))
		}
		stats := c.Start([]byte("stats\r\n"), 1, 0)
		s.expect("stats\r\n")
		s.say("OK 0\r\n\r\n")
		expectReplies(t, stats, "OK")
	})
}

func TestAnAnswerOfAnotherKindToAUseEndsTheConnection(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		call := c.Put([]byte("put\r\n"), 1, "a", "a")
		s.say("BAD_FORMAT\r\n")
		expectFailure(t, call, false)
		if !isDone(c.Done()) {
			t.Error("the connection goes on, with puts to nobody knows which tube")
		}
	})
}

func TestACallerThatLeavesTakesNobodysReply(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, []byte("peek 1\r\n"), 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the call that was left returned %v", err)
		}
		next := c.Start([]byte("peek 2\r\n"), 1, 0)
		s.say("FOUND 1 1\r\nx\r\nFOUND 2 1\r\nx\r\n")
		expectReplies(t, next, "FOUND")
		if next.Replies[0].ID != 2 {
			t.Errorf("it got the reply for %d", next.Replies[0].ID)
		}
	})
}

// TestEveryPutGoesToItsTube has a server over a real connection, with buffers
// that are full at times, keep account of where each job goes.
func TestEveryPutGoesToItsTube(t *testing.T) {
	near, far := loopback(t)
	c := wire.NewConn(near, 30*time.Second)
	const callers, calls = 32, 100
	var served sync.WaitGroup
	served.Go(func() { keepAccount(t, far) })
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			tube := fmt.Sprint("tube", i%5)
			large := strings.Repeat("x", 10_000)
			for k := range calls {
				body := fmt.Sprintf("%s %d %d %s", tube, i, k, large[:k*100])
				request := fmt.Sprintf("put 0 0 60 %d\r\n%s\r\n", len(body), body)
				first, last, n := tube, tube, 1
				if k%3 == 0 {
					other := fmt.Sprint("tube", (i+k)%5)
					body := other + " too"
					request += fmt.Sprintf("use %s\r\nput 0 0 60 %d\r\n%s\r\n", other, len(body), body)
					last, n = other, 3
				}
				call := c.Put([]byte(request), n, first, last)
				if k%10 == 0 {
					continue // nobody looks at the replies
				}
				if replies, err := call.Wait(context.Background()); err != nil || replies[0].Word != wire.Inserted || replies[n-1].Word != wire.Inserted {
					t.Errorf("call %d of caller %d: %+v, %v", k, i, replies, err)
					return
				}
			}
		})
	}
	all.Wait()
	c.Close()
	<-c.Done()
	served.Wait()
}

// loopback returns the ends of a TCP connection.
func loopback(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// keepAccount serves uses and puts. Each body has to begin with the tube that is
// used.
func keepAccount(t *testing.T, conn net.Conn) {
	defer conn.Close()
	r, w := bufio.NewReader(conn), bufio.NewWriterSize(conn, 100)
	used := "default"
	for id := 1; ; id++ {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		var size int
		if tube, ok := strings.CutPrefix(line, "use "); ok {
			used = strings.TrimSpace(tube)
			fmt.Fprintf(w, "USING %s\r\n", used)
		} else if _, err := fmt.Sscanf(line, "put 0 0 60 %d\r\n", &size); err == nil {
			body := make([]byte, size+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			if !strings.HasPrefix(string(body), used+" ") {
				t.Errorf("%.20q went to tube %s", body, used)
			}
			fmt.Fprintf(w, "INSERTED %d\r\n", id)
		} else {
			t.Errorf("the server got %.60q", line)
			return
		}
		if r.Buffered() == 0 {
			w.Flush()
		}
	}
}

func TestAnIdleConnectionLasts(t *testing.T) {
	withServer(t, func(t *testing.T, c *wire.Conn, s *server) {
		for range 3 {
			call := c.Start([]byte("stats\r\n"), 1, 0)
			s.say("OK 0\r\n\r\n")
			expectReplies(t, call, "OK")
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			if err := c.Err(); err != nil {
				t.Fatalf("the connection ended without a call: %v", err)
			}
		}
	})
}
