package beanstalkd_test

import (
	"net"
	"sync"
	"testing"
)

// relay is a network between a driver and a server in which the test decides
// about each reply, where a proxy lets it decide about requests. One can be put
// before the other.
type relay struct {
	server   string // its address
	listener net.Listener
	running  sync.WaitGroup

	// heard is called with each part of what the server says before the driver
	// is told. It may take its time, and ends the connection behind the part by
	// returning true.
	heard func(l *link, reply []byte) (end bool)

	mu    sync.Mutex // guards all below
	links []*link
	over  bool
}

// link is a connection of the driver, and the one to the server that it is
// connected with.
type link struct {
	driver, server net.Conn
	left           chan struct{} // closed when the driver has ended it
}

func newRelay(t testing.TB, server string, heard func(l *link, reply []byte) (end bool)) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{server: server, listener: listener, heard: heard}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		listener.Close()
		r.mu.Lock()
		r.over = true
		for _, l := range r.links {
			l.close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

// addr is where a driver has to connect to.
func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		driver, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.server)
		if err != nil {
			driver.Close()
			continue
		}
		l := &link{driver: driver, server: server, left: make(chan struct{})}
		r.mu.Lock()
		r.links = append(r.links, l)
		if r.over {
			l.close()
		}
		r.mu.Unlock()
		r.running.Go(l.requests)
		r.running.Go(func() { r.replies(l) })
	}
}

func (l *link) requests() {
	defer close(l.left)
	defer l.close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.driver.Read(buffer)
		if _, failed := l.server.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

func (r *relay) replies(l *link) {
	defer l.close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buffer)
		end := n > 0 && r.heard(l, buffer[:n])
		if _, failed := l.driver.Write(buffer[:n]); end || err != nil || failed != nil {
			return
		}
	}
}

func (l *link) close() {
	l.driver.Close()
	l.server.Close()
}

// abandoned returns how many connections the driver has ended.
func (r *relay) abandoned() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		select {
		case <-l.left:
			n++
		default:
		}
	}
	return n
}
