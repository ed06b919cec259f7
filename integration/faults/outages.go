package faults

import (
	"bytes"
	"io"
	"time"
)

// Blackhole lets nothing pass until Heal.
func (p *Proxy) Blackhole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

// Heal ends a blackhole: what has been held back arrives.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.gate)
}

// Forget makes all connections swallow what they are given, for ever and
// without a word, as a firewall does that has forgotten them.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.pairs {
		one.mute = true
	}
}

// Slow sets how many bytes pass at a time, and how long each part takes. 0 is
// as many as there are.
func (p *Proxy) Slow(part int, pace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.part, p.pace = part, pace
}

// CutAll breaks all connections. The server still does what has reached it.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.pairs {
		one.hangUp()
	}
}

// Sever breaks all connections, and lets there be no others.
func (p *Proxy) Sever() {
	p.mu.Lock()
	p.severed = true
	p.mu.Unlock()
	p.listener.Close()
	p.CutAll()
}

// CutAfter breaks one of the connections, and none that it was told of before,
// when that has carried so many more bytes of replies.
func (p *Proxy) CutAfter(bytes int) {
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

// Cuts returns how many connections CutAfter has broken.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut
}

// allowed returns what of a reply is to be carried, and whether that is the
// last of the connection.
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

// Ask asks the server something over each connection, in the place of a driver
// whose process is stopped. The line of the reply that begins with answer is
// kept from the driver, which must not ask meanwhile for what is answered so.
// Until it has come, a connection is asked no more.
func (p *Proxy) Ask(question, answer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.pairs {
		if one.answer == nil {
			one.answer = []byte(answer)
			io.WriteString(one.server, question)
		}
	}
}

// withoutAnswer takes the answer to Ask out of a reply.
func (c *pair) withoutAnswer(reply []byte) []byte {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	if c.answer == nil {
		return reply
	}
	before, rest, found := bytes.Cut(reply, c.answer)
	if !found {
		return reply
	}
	c.answer = nil
	_, after, _ := bytes.Cut(rest, []byte("\r\n"))
	return append(bytes.Clone(before), after...)
}
