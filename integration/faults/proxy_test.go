package faults_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/integration/faults"
)

// echo is a server that answers each line with itself, behind "OK ", and tells
// what it has read.
func echo(t *testing.T) (url string, read <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	lines := make(chan string, 100)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				from := bufio.NewReader(connection)
				for {
					line, err := from.ReadString('\n')
					if line != "" {
						lines <- strings.TrimSpace(line)
					}
					if err != nil {
						return
					}
					fmt.Fprintf(connection, "OK %s\r\n", strings.TrimSpace(line))
				}
			}()
		}
	}()
	return "echo://" + listener.Addr().String() + "/path?lease=2s", lines
}

// client is the driver of the tests.
type client struct {
	t          *testing.T
	connection net.Conn
	from       *bufio.Reader
}

func dial(t *testing.T, network *faults.Proxy) *client {
	t.Helper()
	address, _ := strings.CutPrefix(network.URL(), "echo://")
	address, found := strings.CutSuffix(address, "/path?lease=2s")
	if !found {
		t.Errorf("the URL is %s, want what the server's has besides its address", network.URL())
	}
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	connection.SetDeadline(time.Now().Add(faults.Patience))
	return &client{t, connection, bufio.NewReader(connection)}
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.connection, text+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) expect(want string) {
	c.t.Helper()
	if line, err := c.from.ReadString('\n'); err != nil || strings.TrimSpace(line) != want {
		c.t.Fatalf("the reply is %q, %v; want %q", line, err, want)
	}
}

// expectCut fails the test unless the connection breaks behind the text.
func (c *client) expectCut(text string) {
	c.t.Helper()
	rest, err := io.ReadAll(c.from)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() || string(rest) != text {
		c.t.Fatalf("the last of the connection is %q, %v; want %q", rest, err, text)
	}
}

func expectRead(t *testing.T, read <-chan string, want string) {
	t.Helper()
	select {
	case line := <-read:
		if line != want {
			t.Fatalf("the server has read %q, want %q", line, want)
		}
	case <-time.After(faults.Patience):
		t.Fatalf("the server has not read %q", want)
	}
}

func TestAProxyCarriesWhatIsSaid(t *testing.T) {
	server, read := echo(t)
	network := faults.NewProxy(t, server)
	network.Slow(1, 0)
	c := dial(t, network)
	c.say("a")
	c.expect("OK a")
	expectRead(t, read, "a")
}

func TestAProxyCountsConnections(t *testing.T) {
	server, _ := echo(t)
	network := faults.NewProxy(t, server)
	for range 2 {
		c := dial(t, network)
		c.say("a")
		c.expect("OK a")
	}
	if dials, carried := network.Dials(), network.Connections(); dials != 2 || carried != 2 {
		t.Errorf("%d connections were made and %d are carried, want 2 of each", dials, carried)
	}
	network.CutAll()
	faults.Eventually(t, faults.Patience, func() error {
		if n := network.Connections(); n != 0 {
			return fmt.Errorf("%d connections are carried that were cut", n)
		}
		return nil
	})
	if dials := network.Dials(); dials != 2 {
		t.Errorf("%d connections were made, want 2", dials)
	}
}

func TestHarmIsDoneToTheRequestWithTheMark(t *testing.T) {
	for _, c := range []struct {
		name string
		arm  func(*faults.Proxy) <-chan struct{}
		read string // by the server of the request "put b"; "" if nothing
	}{
		{"CutReplies", func(p *faults.Proxy) <-chan struct{} { return p.CutReplies("put b", 1) }, "put b"},
		{"Refuse", func(p *faults.Proxy) <-chan struct{} { return p.Refuse("put b", 1) }, ""},
		{"DieBefore", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore(" b") }, "put"},
		{"DieAfter", func(p *faults.Proxy) <-chan struct{} { return p.DieAfter("put b") }, "put b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, read := echo(t)
			network := faults.NewProxy(t, server)
			done := c.arm(network)
			driver := dial(t, network)
			driver.say("put a")
			driver.expect("OK put a")
			expectRead(t, read, "put a")
			driver.say("put b")
			faults.AwaitHarm(t, done)
			driver.expectCut("")
			if c.read != "" {
				expectRead(t, read, c.read)
			}
			other := dial(t, faults.NewProxy(t, server))
			other.say("last")
			expectRead(t, read, "last") // and nothing before it
		})
	}
}

func TestADelayedRequestArrivesWhenItIsDelivered(t *testing.T) {
	server, read := echo(t)
	network := faults.NewProxy(t, server)
	held, deliver := network.Delay("a")
	c := dial(t, network)
	c.say("a")
	c.expectCut("")
	faults.AwaitHarm(t, held)
	again := dial(t, network)
	again.say("b")
	again.expect("OK b")
	deliver()
	expectRead(t, read, "b")
	expectRead(t, read, "a")
}

func TestABlackholeHoldsBackWhatArrivesWhenItEnds(t *testing.T) {
	server, read := echo(t)
	network := faults.NewProxy(t, server)
	c := dial(t, network)
	network.Blackhole()
	c.say("a")
	if len(read) > 0 {
		t.Error("something came through a blackhole")
	}
	network.Heal()
	c.expect("OK a")
	network.Forget()
	c.say("b")
	network.CutAll()
	c.expectCut("")
}

func TestCutAfterBreaksAConnectionWithinAReply(t *testing.T) {
	server, _ := echo(t)
	network := faults.NewProxy(t, server)
	c := dial(t, network)
	c.say("a")
	c.expect("OK a")
	network.CutAfter(2)
	c.say("b")
	c.expectCut("OK")
	if n := network.Cuts(); n != 1 {
		t.Errorf("%d connections were cut, want 1", n)
	}
}

func TestTheAnswerToAskIsKeptFromTheDriver(t *testing.T) {
	server, read := echo(t)
	network := faults.NewProxy(t, server)
	c := dial(t, network)
	c.say("a")
	c.expect("OK a")
	expectRead(t, read, "a")
	network.Ask("question\r\n", "OK question")
	expectRead(t, read, "question")
	c.say("b")
	c.expect("OK b")
}
