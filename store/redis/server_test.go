package redis

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// server is what a client under test talks to instead of Redis. It answers
// each command with what answer returns, in Redis' protocol: nothing for "",
// and by hanging up for hangUp. By itself it refuses what clients say on their
// own: HELLO, as old servers do, and COMMAND.
type server struct {
	answer func(connection net.Conn, command []string) string

	mu       sync.Mutex
	dials    int
	received []string // the other commands, in lower case
}

const hangUp = "hang up"

// client returns a client of the server that, unlike the documented one, tries
// again what fails.
func (s *server) client(t *testing.T) *redis.Client {
	client := redis.NewClient(&redis.Options{
		Dialer:     s.dial,
		MaxRetries: 2,
		// As little as possible is said when a connection is made.
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { client.Close() })
	return client
}

// cluster returns a client of the server as the only node of a cluster.
func (s *server) cluster(t *testing.T) *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Dialer:     s.dial,
		MaxRetries: -1,
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{{End: 16383, Nodes: []redis.ClusterNode{{Addr: "127.0.0.1:6379"}}}}, nil
		},
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { client.Close() })
	return client
}

func (s *server) dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	s.dials++
	s.mu.Unlock()
	near, far := net.Pipe()
	go s.serve(far) // until the client closes its end
	return socket{near}, nil
}

// socket is an end of a pipe on which, as on a real connection, it is the read
// that tells when the other end has hung up.
type socket struct{ net.Conn }

func (s socket) SetReadDeadline(deadline time.Time) error {
	s.Conn.SetReadDeadline(deadline)
	return nil
}

func (s *server) serve(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	for {
		command, err := readCommand(reader)
		if err != nil {
			return
		}
		reply := "-ERR unknown command\r\n"
		if verb := strings.ToLower(command[0]); verb != "hello" && verb != "command" {
			s.mu.Lock()
			s.received = append(s.received, verb)
			s.mu.Unlock()
			reply = s.answer(connection, command)
		}
		if reply == hangUp {
			return
		}
		if _, err := io.WriteString(connection, reply); err != nil {
			return
		}
	}
}

func (s *server) commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received
}

func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// readCommand reads an array of bulk strings.
func readCommand(reader *bufio.Reader) ([]string, error) {
	count, err := readLength(reader, '*')
	if err != nil {
		return nil, err
	}
	command := make([]string, count)
	for i := range command {
		length, err := readLength(reader, '$')
		if err != nil {
			return nil, err
		}
		text := make([]byte, length+len("\r\n"))
		if _, err := io.ReadFull(reader, text); err != nil {
			return nil, err
		}
		command[i] = string(text[:length])
	}
	return command, nil
}

func readLength(reader *bufio.Reader, kind byte) (int, error) {
	line, err := reader.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("%q does not begin with %q", line, kind)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}
