package faults

import (
	"bytes"
	"net"
	"slices"
	"testing"
	"time"
)

// The methods in this file wait for a request, and harm that. A request is
// known by a text that it contains, its mark, within one read of the proxy.
// What is armed later takes the place of what was before.

// CutReplies has the replies of the next requests that contain mark cut off:
// the server does them, and the driver is not told. The channel is closed when
// that has begun as often as times says.
func (p *Proxy) CutReplies(mark string, times int) (done <-chan struct{}) {
	return p.arm(mark, times, (*pair).cutReply)
}

// cutReply carries a request to the server, waits until that has answered, and
// breaks the connection instead of bringing back the answer.
func (c *pair) cutReply(before, rest []byte) {
	c.deafen.Do(func() { close(c.deaf) })
	select {
	case <-c.replied: // an answer to a request before this one
	default:
	}
	if c.pass(c.server, slices.Concat(before, rest)) {
		select {
		case <-c.replied:
		case <-c.over: // the server has died over it
		}
	}
	c.close()
}

// Refuse breaks the connections of the next requests that contain mark, which
// the server never sees.
func (p *Proxy) Refuse(mark string, times int) (done <-chan struct{}) {
	return p.arm(mark, times, func(c *pair, _, _ []byte) { c.close() })
}

// Delay holds up the next request that contains mark, the connection of which
// is lost for the driver, and lets the server have it when deliver is called.
// A network may do this to a packet.
func (p *Proxy) Delay(mark string) (held <-chan struct{}, deliver func()) {
	let, delivered := make(chan struct{}), make(chan struct{})
	held = p.arm(mark, 1, func(c *pair, before, rest []byte) {
		c.deafen.Do(func() { close(c.deaf) })
		go func() {
			defer close(delivered)
			<-let
			server, err := net.Dial("tcp", p.server.Host)
			if err != nil {
				return
			}
			defer server.Close()
			server.Write(slices.Concat(before, rest))
			server.Read(make([]byte, 1)) // it has been done
		}()
		c.close()
	})
	return held, func() {
		close(let)
		<-delivered
	}
}

// DieBefore breaks all connections for good when a request comes that contains
// mark, as if the process of the driver had died: the server sees of it what
// comes before the mark.
func (p *Proxy) DieBefore(mark string) (done <-chan struct{}) {
	return p.arm(mark, 1, func(c *pair, before, _ []byte) {
		c.pass(c.server, before)
		c.hangUp()
		p.Sever()
	})
}

// DieAfter has the next request that contains mark carried to the server, whose
// answer nobody hears.
func (p *Proxy) DieAfter(mark string) (done <-chan struct{}) {
	return p.arm(mark, 1, func(c *pair, before, rest []byte) {
		c.pass(c.server, before)
		c.driver.Close()
		c.pass(c.server, rest)
		c.server.CloseWrite()
		p.Sever()
	})
}

// Disarm ends harm that was to be done more often.
func (p *Proxy) Disarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times = 0
}

// AwaitHarm waits until what was armed has been done.
func AwaitHarm(t testing.TB, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(Patience):
		t.Fatal("the request that was to be harmed was not made")
	}
}

// ExpectHarm fails the test unless what was armed has been done by now.
func ExpectHarm(t testing.TB, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	default:
		t.Error("the request that was to be harmed was not made")
	}
}

func (p *Proxy) arm(mark string, times int, harm func(c *pair, before, rest []byte)) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark, p.times, p.harm, p.done = []byte(mark), times, harm, make(chan struct{})
	return p.done
}

// harmOf returns what is to be done to a request, or nil, and how many of its
// bytes come before the mark.
func (p *Proxy) harmOf(request []byte) (harm func(c *pair, before, rest []byte), at int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at = bytes.Index(request, p.mark)
	if p.times == 0 || at < 0 {
		return nil, 0
	}
	p.times--
	if p.times == 0 {
		defer close(p.done)
	}
	return p.harm, at
}
