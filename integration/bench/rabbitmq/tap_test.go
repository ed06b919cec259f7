package rabbitmq_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// What the protocol has on a connection: a client's greeting, and then frames,
// of which each has a header with its type, channel and size, and one octet at
// its end.
const (
	greetingSize    = 8
	frameHeaderSize = 7
	frameEndSize    = 1
	frameHeartbeat  = 8
)

// tap is a proxy that counts the frames which clients send, but no heartbeats.
type tap struct {
	url    string // for the clients
	frames atomic.Int64
}

// startTap starts a proxy before the server of a URL. It ends with the
// benchmark, when all its clients have gone.
func startTap(tb testing.TB, server string) *tap {
	tb.Helper()
	address, err := url.Parse(server)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	behind := address.Host
	address.Host = listener.Addr().String()
	t := &tap{url: address.String()}
	var running sync.WaitGroup
	running.Go(func() { // until the listener is closed
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			broker, err := net.Dial("tcp", behind)
			if err != nil {
				client.Close()
				tb.Error(err)
				continue
			}
			running.Go(func() {
				t.count(broker, client)
				broker.Close()
			})
			running.Go(func() {
				io.Copy(client, broker)
				client.Close()
			})
		}
	})
	tb.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return t
}

// count passes on what a client sends until one side ends.
func (t *tap) count(broker io.Writer, client io.Reader) {
	in := bufio.NewReader(client)
	if _, err := io.CopyN(broker, in, greetingSize); err != nil {
		return
	}
	for {
		header, err := in.Peek(frameHeaderSize)
		if err != nil {
			return
		}
		if header[0] != frameHeartbeat {
			t.frames.Add(1)
		}
		size := frameHeaderSize + int64(binary.BigEndian.Uint32(header[3:])) + frameEndSize
		if _, err := io.CopyN(broker, in, size); err != nil {
			return
		}
	}
}
