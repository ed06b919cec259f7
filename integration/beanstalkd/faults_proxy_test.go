package beanstalkd_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is the network between a driver and a server, which the test can harm.
type proxy struct {
	t        testing.TB
	server   string // its address
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex // guards all below
	pairs   map[*pair]bool
	severed bool // there is no way to the server any more
	cut     int  // connections that cutAfter has broken

	// part and pace are how many bytes pass at a time, and the time that each
	// part takes. 0 is as many as there are.
	part int
	pace time.Duration

	// harm is done to the next request that contains mark, after it has been
	// carried up to there, and then done is closed.
	mark []byte
	harm func(c *pair, rest []byte)
	done chan struct{}
}

// pair is a connection of the driver, and the one to the server that it is
// connected with.
type pair struct {
	proxy          *proxy
	driver, server *net.TCPConn

	// Guarded by proxy.mu.
	left   int  // bytes of replies until it breaks; below 0 without limit
	nudged bool // the answer to a nudge is still to come
}

func newProxy(t testing.TB, server string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, server: server, listener: listener, pairs: make(map[*pair]bool)}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		p.sever()
		p.running.Wait()
	})
	return p
}

// url is where a driver has to connect to, with parameters such as "lease=2s".
func (p *proxy) url(parameters string) string {
	return "beanstalkd://" + p.listener.Addr().String() + "?" + parameters
}

func (p *proxy) accept() {
	for {
		driver, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			driver.Close()
			continue
		}
		one := &pair{proxy: p, driver: driver.(*net.TCPConn), server: server.(*net.TCPConn), left: -1}
		p.mu.Lock()
		severed := p.severed
		p.pairs[one] = true
		p.mu.Unlock()
		if severed {
			one.close()
			return
		}
		p.running.Go(one.requests)
		p.running.Go(one.replies)
	}
}

// requests carries what the driver says.
func (c *pair) requests() {
	buffer := make([]byte, 256<<10)
	for {
		n, err := c.driver.Read(buffer)
		request := buffer[:n]
		if before, harm := c.proxy.harmOf(request); harm != nil {
			c.pass(c.server, request[:before])
			harm(c, request[before:])
			return
		}
		if n > 0 && !c.pass(c.server, request) {
			return
		}
		if err != nil {
			c.close()
			return
		}
	}
}

// replies carries what the server says.
func (c *pair) replies() {
	buffer := make([]byte, 256<<10)
	for {
		n, err := c.server.Read(buffer)
		reply, last := c.allowed(buffer[:n])
		if last {
			c.pass(c.driver, reply)
			c.close()
			return
		}
		// What the driver does not want to hear any more is read all the same:
		// the server reads the last of what it was told.
		c.pass(c.driver, c.withoutNudge(reply))
		if err != nil {
			c.close()
			return
		}
	}
}

// pass writes data at the pace of the network.
func (c *pair) pass(to net.Conn, data []byte) bool {
	p := c.proxy
	for len(data) > 0 {
		p.mu.Lock()
		part, pace := p.part, p.pace
		p.mu.Unlock()
		if part == 0 || part > len(data) {
			part = len(data)
		}
		time.Sleep(pace)
		if _, err := to.Write(data[:part]); err != nil {
			return false
		}
		data = data[part:]
	}
	return true
}

func (c *pair) close() {
	c.driver.Close()
	c.server.Close()
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	delete(c.proxy.pairs, c)
}

// hangUp tells both sides that the other has gone. The server still does what
// it was told before.
func (c *pair) hangUp() {
	c.driver.Close()
	c.server.CloseWrite()
}

// harmOf returns what is to be done to a request, if anything, and how many of
// its bytes come before that.
func (p *proxy) harmOf(request []byte) (before int, harm func(*pair, []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.harm == nil {
		return 0, nil
	}
	before = bytes.Index(request, p.mark)
	if before < 0 {
		return 0, nil
	}
	defer close(p.done)
	harm, p.harm = p.harm, nil
	return before, harm
}

func (p *proxy) arm(mark string, harm func(c *pair, rest []byte)) (done <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark, p.harm, p.done = []byte(mark), harm, make(chan struct{})
	return p.done
}

// dieBefore breaks all connections for good when a request comes that contains
// mark, as if the process of the driver had died: the server sees of it what
// comes before the mark.
func (p *proxy) dieBefore(mark string) (done <-chan struct{}) {
	return p.arm(mark, func(c *pair, _ []byte) {
		c.hangUp()
		p.sever()
	})
}

// dieAfter has the next request that contains mark carried to the server, whose
// answer nobody hears.
func (p *proxy) dieAfter(mark string) (done <-chan struct{}) {
	return p.arm(mark, func(c *pair, rest []byte) {
		c.driver.Close()
		c.pass(c.server, rest)
		c.server.CloseWrite()
		p.sever()
	})
}

// awaitHarm waits until the harm is done.
func awaitHarm(t testing.TB, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the request that was to be harmed was not made")
	}
}

// nudge asks the server something over each connection, in the place of a driver
// whose process is stopped. The answer, USING, is kept from the driver, which
// asks nothing meanwhile that is answered so.
//
// A beanstalkd 1.12 forgets when the TTRs of a connection end as soon as another
// one is used, and takes back what the connection held when it next hears of it.
// The driver sees to that by itself, as long as its process runs.
func (p *proxy) nudge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.pairs {
		if !one.nudged {
			one.nudged = true
			io.WriteString(one.server, "list-tube-used\r\n")
		}
	}
}

// withoutNudge takes the answer to a nudge out of a reply.
func (c *pair) withoutNudge(reply []byte) []byte {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	if !c.nudged {
		return reply
	}
	before, rest, found := bytes.Cut(reply, []byte("USING "))
	if !found {
		return reply
	}
	c.nudged = false
	_, after, _ := bytes.Cut(rest, []byte("\r\n"))
	return append(bytes.Clone(before), after...)
}

// cutAfter breaks one of the connections, and none that it was told of before,
// when that has carried so many more bytes of replies.
func (p *proxy) cutAfter(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	chosen := false
	for one := range p.pairs { // in no order
		one.left = -1
		if !chosen {
			one.left, chosen = bytes, true
		}
	}
}

// allowed returns what of a reply is to be carried, and whether that is the last
// of the connection.
func (c *pair) allowed(reply []byte) (carried []byte, last bool) {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	if c.left >= 0 && len(reply) >= c.left {
		c.proxy.cut++
		return reply[:c.left], true
	}
	if c.left > 0 {
		c.left -= len(reply)
	}
	return reply, false
}

// cuts returns how many connections were broken within a reply.
func (p *proxy) cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut
}

// slow sets how many bytes pass at a time, and how long each part takes.
func (p *proxy) slow(part int, pace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.part, p.pace = part, pace
}

// cutAll breaks all connections.
func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.pairs {
		one.hangUp()
	}
}

// sever breaks all connections, and lets there be no others.
func (p *proxy) sever() {
	p.mu.Lock()
	p.severed = true
	p.mu.Unlock()
	p.listener.Close()
	p.cutAll()
}
