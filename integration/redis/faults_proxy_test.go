package redis_test

import (
	"bytes"
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

	mu     sync.Mutex // guards all below
	pairs  map[*pair]bool
	gate   chan struct{} // nothing passes until it is closed
	closed bool

	// part and pace are how many bytes pass at a time, and the time that each
	// part takes. 0 is as many as there are.
	part int
	pace time.Duration

	// harm is done to the next requests that contain mark, as often as times
	// says.
	mark  []byte
	harm  func(p *pair, request []byte) (pass bool)
	times int
	done  chan struct{} // closed when it was done that often
}

// pair is a connection of the driver, and the one to the server that it is
// connected with.
type pair struct {
	proxy          *proxy
	driver, server net.Conn
	deaf           chan struct{} // closed when replies are no longer passed on
	deafen         sync.Once
	replied        chan struct{} // of capacity 1: there was a reply since
	mute           bool          // guarded by proxy.mu: nothing passes any more, either way
}

func newProxy(t testing.TB, server string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, server: server, listener: listener, pairs: make(map[*pair]bool), gate: make(chan struct{})}
	close(p.gate)
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// url is where a driver has to connect to.
func (p *proxy) url() string { return "redis://" + p.listener.Addr().String() }

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
		one := &pair{proxy: p, driver: driver, server: server, deaf: make(chan struct{}), replied: make(chan struct{}, 1)}
		p.mu.Lock()
		closed := p.closed
		p.pairs[one] = true
		p.mu.Unlock()
		if closed {
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
			if harm := c.proxy.harmOf(request); harm != nil && !harm(c, request) {
				continue
			}
			if !c.pass(c.server, request) {
				return
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

// replies carries what the server says.
func (c *pair) replies() {
	buffer := make([]byte, 256<<10)
	for {
		n, err := c.server.Read(buffer)
		if n > 0 {
			select {
			case c.replied <- struct{}{}:
			default:
			}
			select {
			case <-c.deaf:
			default:
				if !c.pass(c.driver, buffer[:n]) {
					return
				}
			}
		}
		if err != nil {
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
			c.close()
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

// cutReply carries a request to the server, waits until that has answered, and
// breaks the connection instead of bringing back the answer.
func (c *pair) cutReply(request []byte) bool {
	c.deafen.Do(func() { close(c.deaf) })
	select {
	case <-c.replied: // an answer to a request before this one
	default:
	}
	if c.pass(c.server, request) {
		<-c.replied
	}
	c.close()
	return false
}

// cutReplies has the replies of the next requests that contain mark cut off.
// The channel is closed when that has been done as often as times says.
func (p *proxy) cutReplies(mark string, times int) (done <-chan struct{}) {
	return p.arm(mark, times, (*pair).cutReply)
}

// refuse breaks the connections of the next requests that contain mark, which
// the server never sees.
func (p *proxy) refuse(mark string, times int) (done <-chan struct{}) {
	return p.arm(mark, times, func(c *pair, _ []byte) bool {
		c.close()
		return false
	})
}

// delay holds up the next request that contains mark, the connection of which
// is lost for the driver, and lets the server have it when deliver is called.
// A network may do this to a packet.
func (p *proxy) delay(mark string) (held <-chan struct{}, deliver func()) {
	let, delivered := make(chan struct{}), make(chan struct{})
	held = p.arm(mark, 1, func(c *pair, request []byte) bool {
		c.deafen.Do(func() { close(c.deaf) })
		go func() {
			defer close(delivered)
			<-let
			server, err := net.Dial("tcp", p.server)
			if err != nil {
				return
			}
			defer server.Close()
			server.Write(request)
			server.Read(make([]byte, 1)) // it has been done
		}()
		c.close()
		return false
	})
	return held, func() {
		close(let)
		<-delivered
	}
}

func (p *proxy) arm(mark string, times int, harm func(*pair, []byte) bool) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark, p.times, p.harm, p.done = []byte(mark), times, harm, make(chan struct{})
	return p.done
}

// awaitHarmed waits until the harm is done.
func awaitHarmed(t testing.TB, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the request that was to be harmed was not made")
	}
}

// harmOf returns what is to be done to a request, or nil.
func (p *proxy) harmOf(request []byte) func(*pair, []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.times == 0 || !bytes.Contains(request, p.mark) {
		return nil
	}
	p.times--
	if p.times == 0 {
		defer close(p.done)
	}
	return p.harm
}

// disarm ends harm that was to be done more often.
func (p *proxy) disarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times = 0
}

// blackhole lets nothing pass until heal.
func (p *proxy) blackhole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

// heal ends a blackhole: what has been held back arrives.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.gate)
}

// forget makes all connections swallow what they are given, for ever and
// without a word, as a firewall does that has forgotten them.
func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.pairs {
		one.mute = true
	}
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
	pairs := make([]*pair, 0, len(p.pairs))
	for one := range p.pairs {
		pairs = append(pairs, one)
	}
	p.mu.Unlock()
	for _, one := range pairs {
		one.close()
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
	p.mu.Unlock()
	p.listener.Close()
	p.cutAll()
	p.running.Wait()
}
