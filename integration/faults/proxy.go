package faults

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Proxy is the network between a driver and a server, which the test can harm.
type Proxy struct {
	server   *url.URL
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex // guards all below
	pairs   map[*pair]bool
	dials   int           // connections that were made to it
	severed bool          // there is no way to the server any more
	gate    chan struct{} // nothing passes until it is closed
	cut     int           // connections that CutAfter has broken

	// part and pace are how many bytes pass at a time, and the time that each
	// part takes. 0 is as many as there are.
	part int
	pace time.Duration

	// harm is done to the next requests that contain mark, as often as times
	// says, and ends their connections.
	mark  []byte
	harm  func(c *pair, before, rest []byte)
	times int
	done  chan struct{} // closed when it was done that often
}

// pair is a connection of the driver, and the one to the server that it is
// connected with.
type pair struct {
	proxy          *Proxy
	driver, server *net.TCPConn
	deaf           chan struct{} // closed when replies are no longer passed on
	deafen         sync.Once
	replied        chan struct{} // of capacity 1: there was a reply since
	over           chan struct{} // closed when there will be no more replies

	// Guarded by proxy.mu.
	mute   bool   // nothing passes any more, either way
	left   int    // bytes of replies until it breaks; below 0 without limit
	answer []byte // how the reply begins that was asked for by Ask; nil if none was
}

// NewProxy starts a proxy before the server of a URL, which names its port. It
// ends with the test.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{server: u, listener: listener, pairs: make(map[*pair]bool), gate: make(chan struct{})}
	close(p.gate)
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// URL is where a driver has to connect to: that of the server, with the address
// of the proxy.
func (p *Proxy) URL() string {
	u := *p.server
	u.Host = p.Addr()
	return u.String()
}

// Addr is the host and port in that.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Dials returns how many connections were made to the proxy, those included that
// it could not carry on because the server was down.
func (p *Proxy) Dials() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

// Connections returns how many connections it carries.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

func (p *Proxy) accept() {
	for {
		driver, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.dials++
		p.mu.Unlock()
		server, err := net.Dial("tcp", p.server.Host)
		if err != nil {
			driver.Close()
			continue
		}
		one := &pair{
			proxy: p, driver: driver.(*net.TCPConn), server: server.(*net.TCPConn),
			deaf: make(chan struct{}), replied: make(chan struct{}, 1), over: make(chan struct{}), left: -1,
		}
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
		if n > 0 {
			request := bytes.Clone(buffer[:n])
			if harm, at := c.proxy.harmOf(request); harm != nil {
				harm(c, request[:at], request[at:])
				return
			}
			if !c.pass(c.server, request) {
				return // replies notices too
			}
		}
		if err != nil {
			c.proxy.mu.Lock()
			mute := c.mute
			c.proxy.mu.Unlock()
			if !mute {
				c.close()
			}
			return
		}
	}
}

// replies carries what the server says. What the driver does not want to hear
// any more is read all the same: the server reads the last of what it was told.
func (c *pair) replies() {
	defer close(c.over)
	buffer := make([]byte, 256<<10)
	for {
		n, err := c.server.Read(buffer)
		reply, last := c.allowed(buffer[:n])
		if n > 0 {
			select {
			case c.replied <- struct{}{}:
			default:
			}
			select {
			case <-c.deaf:
			default:
				c.pass(c.driver, c.withoutAnswer(reply))
			}
		}
		if err != nil || last {
			c.close()
			return
		}
	}
}

// pass writes data, at the pace of the network, unless the connection does not
// work any more.
func (c *pair) pass(to net.Conn, data []byte) bool {
	p := c.proxy
	for len(data) > 0 {
		p.mu.Lock()
		gate, part, pace := p.gate, p.part, p.pace
		p.mu.Unlock()
		<-gate
		p.mu.Lock()
		mute := c.mute
		p.mu.Unlock()
		if mute {
			return true // swallowed
		}
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

// close ends the proxy, also what a Blackhole holds back.
func (p *Proxy) close() {
	p.Sever()
	p.mu.Lock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
	pairs := make([]*pair, 0, len(p.pairs))
	for one := range p.pairs {
		pairs = append(pairs, one)
	}
	p.mu.Unlock()
	for _, one := range pairs {
		one.close()
	}
	p.running.Wait()
}
