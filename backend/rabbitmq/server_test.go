package rabbitmq_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/goferhq/queue/backend"
	_ "github.com/goferhq/queue/backend/rabbitmq"
)

// TestMain fails the package when a goroutine outlives its tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The methods of AMQP that the tests tell apart: class and number.
const (
	connectionStart   = 10<<16 | 10
	connectionStartOK = 10<<16 | 11
	connectionTune    = 10<<16 | 30
	connectionTuneOK  = 10<<16 | 31
	connectionOpen    = 10<<16 | 40
	connectionOpenOK  = 10<<16 | 41
	connectionClose   = 10<<16 | 50
	connectionCloseOK = 10<<16 | 51
	channelOpen       = 20<<16 | 10
	exchangeDeclare   = 40<<16 | 10
	exchangeBind      = 40<<16 | 30
	queueDeclare      = 50<<16 | 10
	queueBind         = 50<<16 | 20
	basicPublish      = 60<<16 | 40
	basicAck          = 60<<16 | 80
)

const (
	methodFrame    = 1
	headerFrame    = 2
	bodyFrame      = 3
	heartbeatFrame = 8
	frameEnd       = 0xce

	// maxFrame is what RabbitMQ proposes. It closes the connection over which a
	// larger frame comes.
	maxFrame = 128 << 10
)

// manners are how a server differs from one that answers all that it is asked.
type manners struct {
	version string        // of RabbitMQ
	frame   uint32        // the largest frame that it proposes, maxFrame by default
	mute    uint32        // the method from which on it says nothing
	curt    uint32        // the method after which it hangs up
	refused uint32        // the method that it answers by closing the connection
	code    uint16        // with this code
	reason  string        // and this text
	from    int           // the first connection that is treated like this, 0 by default
	beats   time.Duration // between heartbeats that nobody has asked for
	tls     *tls.Config
}

// server speaks as much AMQP as it takes to open a connection, to declare things
// and to confirm what is published. It keeps no messages, only what it was told.
type server struct {
	t        *testing.T
	manners  manners
	address  string
	listener net.Listener
	running  sync.WaitGroup

	mu        sync.Mutex // guards all below
	conns     map[net.Conn]bool
	greetings []greeting
	topology  topology
	published []publication
}

// greeting is how a client has introduced itself.
type greeting struct {
	name, mechanism, user, password, vhost string
	heartbeat                              uint16
}

// publication is a message without its body.
type publication struct {
	exchange, key string
	header        int // bytes of the frame of its properties
}

// serve starts a server. When the test is over, the connections to it must be.
func serve(t *testing.T, m manners) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, manners: m, listener: listener, address: listener.Addr().String(), conns: make(map[net.Conn]bool)}
	if m.tls != nil {
		s.listener = tls.NewListener(listener, m.tls)
	}
	s.running.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

func (s *server) accept() {
	for n := 0; ; n++ {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.greetings = append(s.greetings, greeting{})
		s.mu.Unlock()
		c := &client{server: s, conn: conn, number: n, in: bufio.NewReader(conn), publishing: make(map[uint16]*publication), tags: make(map[uint16]uint64)}
		s.running.Go(c.serve)
	}
}

// stop fails the test if a client has left a connection open.
func (s *server) stop() {
	s.listener.Close()
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		s.t.Error("a connection to the server was left open")
		s.hangUp()
		<-ended
	}
}

// hangUp closes the connections.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// heard returns how the clients have introduced themselves.
func (s *server) heard() []greeting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.greetings
}

// client is a connection as the server sees it.
type client struct {
	server *server
	conn   net.Conn
	number int // of those to this server
	in     *bufio.Reader

	writing sync.Mutex // held while a frame is written

	publishing map[uint16]*publication // by channel: what the rest is awaited of
	left       uint64                  // bytes of its body that are to come
	tags       map[uint16]uint64       // by channel: of the latest message
}

func (c *client) serve() {
	defer func() {
		c.conn.Close()
		c.server.mu.Lock()
		delete(c.server.conns, c.conn)
		c.server.mu.Unlock()
	}()
	var hello [8]byte
	if _, err := io.ReadFull(c.in, hello[:]); err != nil || string(hello[:]) != "AMQP\x00\x00\x09\x01" {
		return
	}
	if m := c.server.manners; m.beats > 0 {
		over := make(chan struct{})
		defer close(over)
		c.server.running.Go(func() { c.beat(m.beats, over) })
	}
	properties := fields{}.short("version").byte('S').long(c.server.manners.version)
	if c.answer(connectionStart, fields{0, 9}.long(string(properties)).long("PLAIN AMQPLAIN").long("en_US")) {
		for c.next() {
		}
	}
	io.Copy(io.Discard, c.conn) // until the client hangs up
}

func (c *client) beat(every time.Duration, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(every):
			c.write(heartbeatFrame, 0, nil)
		}
	}
}

// answer sends a method over the channel of the connection, as the manners of
// the server have it. It returns false when nothing more is to be said.
func (c *client) answer(method uint32, arguments fields) bool {
	if m := c.server.manners; c.number >= m.from {
		switch method {
		case m.mute:
			return false
		case m.curt:
			c.conn.Close()
			return false
		case m.refused:
			method, arguments = connectionClose, fields{}.number(uint64(m.code), 2).short(m.reason).number(0, 4)
		}
	}
	return c.send(0, method, arguments)
}

func (c *client) send(channel uint16, method uint32, arguments fields) bool {
	return c.write(methodFrame, channel, append(fields{}.number(uint64(method), 4), arguments...))
}

func (c *client) write(kind byte, channel uint16, payload fields) bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	frame := fields{kind}.number(uint64(channel), 2).long(string(payload)).byte(frameEnd)
	_, err := c.conn.Write(frame)
	return err == nil
}

// next deals with a frame. It returns false when the client is to be listened to
// no more.
func (c *client) next() bool {
	var begin [7]byte
	if _, err := io.ReadFull(c.in, begin[:]); err != nil {
		return false
	}
	channel, size := binary.BigEndian.Uint16(begin[1:]), binary.BigEndian.Uint32(begin[3:])
	if size > maxFrame-8 {
		c.server.t.Errorf("a frame of type %d has %d bytes", begin[0], size)
		return false
	}
	payload := make(fields, size+1)
	if _, err := io.ReadFull(c.in, payload); err != nil || payload[size] != frameEnd {
		return false
	}
	payload = payload[:size]
	switch begin[0] {
	case methodFrame:
		return c.method(channel, payload)
	case headerFrame:
		c.publishing[channel].header = len(payload)
		c.left = binary.BigEndian.Uint64(payload[4:])
		return c.left > 0 || c.confirm(channel)
	case bodyFrame:
		c.left -= uint64(size)
		return c.left > 0 || c.confirm(channel)
	}
	return true
}

// confirm is called when all of a message has come.
func (c *client) confirm(channel uint16) bool {
	c.server.mu.Lock()
	c.server.published = append(c.server.published, *c.publishing[channel])
	c.server.mu.Unlock()
	c.tags[channel]++
	return c.send(channel, basicAck, fields{}.number(c.tags[channel], 8).byte(0))
}

func (c *client) method(channel uint16, arguments fields) bool {
	method := uint32(arguments.cut(4))
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	me := &s.greetings[c.number]
	silent := false // it is not to be answered
	switch method {
	case connectionStartOK:
		me.name, _ = table(arguments.cutLong())["connection_name"].(string)
		me.mechanism = arguments.cutShort()
		if _, identity, found := strings.Cut(arguments.cutLong(), "\x00"); found {
			me.user, me.password, _ = strings.Cut(identity, "\x00")
		}
		return c.answer(connectionTune, fields{}.number(2047, 2).number(uint64(cmp.Or(s.manners.frame, maxFrame)), 4).number(60, 2))
	case connectionTuneOK:
		arguments.cut(6)
		me.heartbeat = uint16(arguments.cut(2))
		return true
	case connectionOpen:
		me.vhost = arguments.cutShort()
		return c.answer(connectionOpenOK, fields{0})
	case connectionClose:
		return c.answer(connectionCloseOK, nil)
	case exchangeDeclare, exchangeBind, queueDeclare, queueBind:
		silent = s.topology.declare(s.t, method, arguments)
	case basicPublish:
		arguments.cut(2)
		c.publishing[channel] = &publication{exchange: arguments.cutShort(), key: arguments.cutShort()}
		return true
	}
	if silent {
		return true
	}
	var answer fields
	switch method { // the others say no more than ok
	case channelOpen:
		answer = answer.long("")
	case queueDeclare:
		answer = answer.short("").number(0, 8) // it is empty and has no consumers
	}
	return c.send(channel, method+1, answer)
}

// fields are values as AMQP writes them.
type fields []byte

func (f fields) byte(b byte) fields { return append(f, b) }

func (f fields) short(text string) fields { return append(append(f, byte(len(text))), text...) }

func (f fields) long(text string) fields { return append(f.number(uint64(len(text)), 4), text...) }

func (f fields) number(n uint64, size int) fields {
	return append(f, binary.BigEndian.AppendUint64(nil, n)[8-size:]...)
}

// cut takes a number of a size off the front.
func (f *fields) cut(size int) (n uint64) {
	for range size {
		n = n<<8 | uint64((*f)[0])
		*f = (*f)[1:]
	}
	return n
}

func (f *fields) cutShort() string { return f.cutText(1) }
func (f *fields) cutLong() string  { return f.cutText(4) }

func (f *fields) cutText(size int) string {
	n := f.cut(size)
	text := string((*f)[:n])
	*f = (*f)[n:]
	return text
}

// table reads a table, of whose values strings, numbers, booleans and other
// tables are understood.
func table(raw string) map[string]any {
	values := make(map[string]any)
	for rest := fields(raw); len(rest) > 0; {
		name := rest.cutShort()
		switch kind := rest.cut(1); kind {
		case 'S':
			values[name] = rest.cutLong()
		case 'l':
			values[name] = int64(rest.cut(8))
		case 't':
			values[name] = rest.cut(1) != 0
		case 'F':
			values[name] = table(rest.cutLong())
		default:
			values[name] = kind
			return values
		}
	}
	return values
}

// opened opens a backend, and closes it when the test is over.
func opened(t *testing.T, address string) backend.Backend {
	t.Helper()
	b, err := backend.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// refused opens what cannot be opened, and returns why. No error of Open may
// show the password, which is geheim in all of these tests.
func refused(ctx context.Context, t *testing.T, address string) error {
	t.Helper()
	b, err := backend.Open(ctx, address)
	if err == nil {
		b.Close()
		t.Errorf("%s: it was opened", address)
		return nil
	}
	if b != nil {
		t.Errorf("%s: got a backend and %v", address, err)
	}
	if strings.Contains(err.Error(), "geheim") {
		t.Errorf("%s: the error shows the password: %v", address, err)
	}
	return err
}
