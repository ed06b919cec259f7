package redis

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// station is a server that has nothing but channels. It notes what it is asked.
type station struct {
	*server

	mu        sync.Mutex
	deaf      bool // answers nothing
	listeners map[net.Conn][]string
}

func newStation() *station {
	s := &station{listeners: make(map[net.Conn][]string)}
	s.server = &server{answer: s.answer}
	return s
}

func (s *station) answer(connection net.Conn, command []string) (reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf {
		return ""
	}
	switch verb := command[0]; verb {
	case "ping":
		return "*2\r\n$4\r\npong\r\n$0\r\n\r\n"
	case "subscribe", "unsubscribe":
		channels := s.listeners[connection]
		for _, channel := range command[1:] {
			channels = slices.DeleteFunc(channels, func(c string) bool { return c == channel })
			if verb == "subscribe" {
				channels = append(channels, channel)
			}
			reply += fmt.Sprintf("*3\r\n%s%s:%d\r\n", bulk(verb), bulk(channel), len(channels))
		}
		s.listeners[connection] = channels
		return reply
	}
	return hangUp
}

func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func (s *station) setDeaf(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = deaf
}

// publish tells of a change, and returns to how many.
func (s *station) publish(channel string) (told int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for connection, channels := range s.listeners {
		if slices.Contains(channels, channel) {
			if _, err := io.WriteString(connection, "*3\r\n"+bulk("message")+bulk(channel)+bulk("")); err == nil {
				told++
			}
		}
	}
	return told
}

// breakLines hangs up on all who are connected.
func (s *station) breakLines() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for connection := range s.listeners {
		connection.Close()
	}
	clear(s.listeners)
}

// open counts the connections that the client has not closed.
func (s *station) open() (open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for connection := range s.listeners {
		connection.SetWriteDeadline(time.Now())
		if _, err := connection.Write([]byte("*")); err != io.ErrClosedPipe {
			open++
		}
		connection.SetWriteDeadline(time.Time{})
	}
	return open
}

// ear counts how often a watch is told.
type ear struct {
	mu   sync.Mutex
	told int
}

func (e *ear) tell() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told++
}

// take returns how often the watch was told since the last time, once the
// bubble is at rest.
func (e *ear) take() int {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	told := e.told
	e.told = 0
	return told
}

func TestAWatchIsToldWhenItIsConfirmedAndOfEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		station := newStation()
		s := New(station.client(t), "{app}:")
		synctest.Wait()
		if station.connections() > 0 {
			t.Error("the store is connected before anything is watched")
		}
		var one, two, other ear
		defer s.Watch("key", one.tell)()
		if got := one.take(); got != 1 {
			t.Errorf("the first watch was told %d times at its confirmation, want once", got)
		}
		defer s.Watch("key", two.tell)()
		defer s.Watch("other", other.tell)()
		if other.take() != 1 {
			t.Error("the watch of another key was not told at its confirmation")
		}
		one.take()
		two.take()
		station.publish("{app}:changed:key")
		if a, b, c := one.take(), two.take(), other.take(); a != 1 || b != 1 || c != 0 {
			t.Errorf("a change was told %d and %d times to the watches of its key, and %d times to another", a, b, c)
		}
		if got := station.connections(); got != 1 {
			t.Errorf("three watches use %d connections, want one", got)
		}
		s.Close()
		if a, b, c := one.take(), two.take(), other.take(); a != 1 || b != 1 || c != 1 {
			t.Errorf("Close told %d, %d and %d times, want once each", a, b, c)
		}
		if got := station.open(); got != 0 {
			t.Errorf("%d connections are open after Close", got)
		}
	})
}

func TestAWatchThatHasStoppedIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		station := newStation()
		s := New(station.client(t), "")
		defer s.Close()
		var stopped, stays ear
		stop := s.Watch("key", stopped.tell)
		defer s.Watch("key", stays.tell)()
		synctest.Wait()
		stop()
		stop()
		stopped.take()
		stays.take()
		station.publish("changed:key")
		if a, b := stopped.take(), stays.take(); a != 0 || b != 1 {
			t.Errorf("told %d times after its stop, and %d times beside it, want 0 and 1", a, b)
		}
	})
}

func TestAWatchThatStopsWhileOthersAreToldIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		station := newStation()
		s := New(station.client(t), "")
		defer s.Close()
		var told ear
		var stops [2]func()
		var armed atomic.Bool
		for i := range stops {
			stops[i] = s.Watch("key", func() {
				if armed.Load() {
					told.tell()
					stops[1-i]()
				}
			})
		}
		synctest.Wait()
		armed.Store(true)
		station.publish("changed:key")
		if got := told.take(); got != 1 {
			t.Errorf("of two watches that stop each other %d were told, want 1", got)
		}
	})
}

func TestTheConnectionIsClosedAWhileAfterTheLastWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		station := newStation()
		s := New(station.client(t), "")
		defer s.Close()
		var e ear
		stop := s.Watch("key", e.tell)
		e.take()
		time.Sleep(time.Hour)
		stop()
		synctest.Wait()
		if got := station.publish("changed:key"); got != 0 {
			t.Errorf("%d connections are subscribed to what is no longer watched", got)
		}
		time.Sleep(lingerFor - time.Second)
		stop = s.Watch("key", e.tell)
		if got := e.take(); got != 1 || station.connections() != 1 {
			t.Errorf("a watch soon after the last was told %d times, on connection %d, want once, on the first", got, station.connections())
		}
		stop()
		time.Sleep(lingerFor + time.Second)
		synctest.Wait()
		if got := station.open(); got != 0 {
			t.Errorf("%d connections are open long after the last watch stopped", got)
		}
		defer s.Watch("key", e.tell)()
		if got := e.take(); got != 1 || station.connections() != 2 {
			t.Errorf("a watch long after the last was told %d times, on connection %d, want once, on the second", got, station.connections())
		}
	})
}

func TestAWatchIsToldAgainOnANewConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		station := newStation()
		s := New(station.client(t), "")
		defer s.Close()
		var e, other ear
		defer s.Watch("key", e.tell)()
		stop := s.Watch("other", other.tell)
		e.take()
		for range 10 { // always as soon, since each connection works
			station.breakLines()
			synctest.Wait()
			time.Sleep(2 * firstPause)
			if e.take() == 0 {
				t.Error("the watch was not told on the new connection")
			}
			station.publish("changed:key")
			if e.take() == 0 {
				t.Error("a change on the new connection was not told")
			}
		}
		stop()
		synctest.Wait()
		station.breakLines()
		time.Sleep(time.Second)
		if got := station.publish("changed:other"); got != 0 {
			t.Error("the new connection is subscribed to what is no longer watched")
		}
	})
}

func TestASilentConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		station := newStation()
		s := New(station.client(t), "")
		defer s.Close()
		var e ear
		defer s.Watch("key", e.tell)()
		e.take()
		time.Sleep(time.Hour)
		if got := station.connections(); got != 1 || e.take() != 0 {
			t.Errorf("a quiet hour took %d connections, want one", got)
		}
		pings := len(station.commands()) - 1
		if pings < 100 || pings > 400 {
			t.Errorf("a quiet hour took %d pings, want one in about 20 seconds", pings)
		}
		station.setDeaf(true)
		time.Sleep(3*checkEvery - time.Second)
		station.setDeaf(false)
		time.Sleep(2 * time.Second)
		if e.take() == 0 {
			t.Error("a connection that was silent for half a minute was not replaced")
		}
	})
}

func TestAServerThatIsDownIsNotStormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := &server{answer: func(net.Conn, []string) string { return hangUp }}
		s := New(down.client(t), "")
		defer s.Close()
		defer s.Watch("key", func() { t.Error("a watch was told although the server is down") })()
		time.Sleep(time.Minute)
		// go-redis tries once more by itself each time.
		if got := down.connections(); got < 10 || got > 50 {
			t.Errorf("in a minute the store connected %d times", got)
		}
		if got := slices.Compact(slices.Sorted(slices.Values(down.commands()))); !slices.Equal(got, []string{"subscribe"}) {
			t.Errorf("the server got %q, want nothing but subscribe", got)
		}
	})
}
