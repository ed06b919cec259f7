package rabbitmq_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
)

// meter is the way to a server, and counts what it is asked: the frames that
// come from a driver. A publish is three of them. Heartbeats are none, which
// both sides send whenever there is nothing else.
type meter struct {
	listener net.Listener
	server   url.URL
	frames   atomic.Int64
}

const (
	// protocolHeader is how a connection begins: "AMQP" and a version.
	protocolHeader = 8

	// A frame is its type, its channel, the length of what is in it, that, and
	// an octet that ends it.
	frameHeader = 1 + 2 + 4
	frameEnd    = 1
	heartbeat   = 8 // the type
)

// newMeter starts a meter before the server of a URL. It ends with the test.
func newMeter(t testing.TB, address string) *meter {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	m := &meter{listener: listener, server: *u}
	go m.accept()
	return m
}

// url is where a driver has to connect to.
func (m *meter) url() string {
	u := m.server
	u.Host = m.listener.Addr().String()
	return u.String()
}

// requests returns how many frames there were.
func (m *meter) requests() int64 { return m.frames.Load() }

// accept ends with the listener, and what it starts with the connections.
func (m *meter) accept() {
	for {
		driver, err := m.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", m.server.Host)
		if err != nil {
			driver.Close()
			continue
		}
		go func() {
			defer server.Close()
			m.count(server, driver)
		}()
		go func() {
			defer driver.Close()
			io.Copy(driver, server)
		}()
	}
}

// count carries what a driver says until its connection ends.
func (m *meter) count(server io.Writer, driver io.Reader) {
	from := bufio.NewReaderSize(driver, 64<<10)
	if _, err := io.CopyN(server, from, protocolHeader); err != nil {
		return
	}
	for {
		header, err := from.Peek(frameHeader)
		if err != nil {
			return
		}
		if header[0] != heartbeat {
			m.frames.Add(1)
		}
		size := frameHeader + int64(binary.BigEndian.Uint32(header[3:])) + frameEnd
		if _, err := io.CopyN(server, from, size); err != nil {
			return
		}
	}
}
