// Package brokers gives tests real brokers.
//
//	func TestSomething(t *testing.T) {
//		server := brokers.Redis(t)
//		q, err := queue.Open(t.Context(), server.URL())
//		...
//		server.Kill()    // and see what the queue makes of it
//		server.Restart() // the same address, the same data
//	}
//
// # Three ways to a broker
//
// Each function looks for its broker in three places, in this order:
//
//  1. The environment: GOFER_TEST_REDIS_URL, GOFER_TEST_BEANSTALKD_URL or
//     GOFER_TEST_RABBITMQ_URL names a server that runs already. The test shares it with whoever else uses
//     it, finds there what others left, and cannot kill it: a test that wants
//     to is skipped.
//  2. The PATH: an executable, such as redis-server, is started for this test
//     alone, on a free port of the loopback and in a directory of its own,
//     and is gone when the test ends, also when it ends in a panic (on Linux,
//     also when the test's process is killed). This is what integration/setup
//     installs, and the only way to clusters and to Sentinel.
//  3. Docker: where an engine answers, a container is started for this test
//     alone.
//
// Where there is none, the test is skipped with a word on what to provide. With
// GOFER_REQUIRE_BROKERS=1, as make test has it, it fails instead.
//
// The log of a server is shown when its test has failed.
//
// # Faults
//
// What a test is given has the methods of [Server]: Kill, Shutdown, Restart,
// Stop and Continue. They end the test when they fail. They can be called from
// any goroutine, but outside the test's own one a failure ends only that
// goroutine, as with [testing.TB].
package brokers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// require is the environment variable that turns a missing broker from a skip
// into a failure, when it is neither empty nor 0.
const require = "GOFER_REQUIRE_BROKERS"

// source is where one kind of broker can come from.
type source struct {
	broker     string // what people call it: "Redis"
	variable   string // the environment variable that names a running one; "" if none can
	executable string // what to look for on PATH
	image      string // what to start in Docker; "" if a container will not do
}

// place is where a broker was found: the one field that is not empty.
type place struct {
	url        string // a server that runs
	executable string // the path of a program to start
	image      string // an image to start in a container
}

// find looks for the broker. Its error says what would have been found. The
// function engine tells whether a Docker engine answers, and is called last.
func (s source) find(engine func() error) (place, error) {
	var provide []string
	if s.variable != "" {
		if url := os.Getenv(s.variable); url != "" {
			return place{url: url}, nil
		}
		provide = append(provide, fmt.Sprintf("set %s to the URL of one that runs", s.variable))
	}
	path, err := exec.LookPath(s.executable)
	if err == nil {
		return place{executable: path}, nil
	}
	missing := err
	provide = append(provide, fmt.Sprintf("put %s on PATH (integration/setup installs it)", s.executable))
	if s.image != "" {
		err := engine()
		if err == nil {
			return place{image: s.image}, nil
		}
		missing = errors.Join(missing, err)
		provide = append(provide, fmt.Sprintf("start Docker, which will run %s", s.image))
	}
	return place{}, fmt.Errorf("no %s to test with: %s\n%w", s.broker, strings.Join(provide, ", or "), missing)
}

// locate finds the broker, or ends the test: skipped, or failed when brokers
// are required.
func locate(t testing.TB, s source, engine func() error) place {
	t.Helper()
	found, err := s.find(engine)
	if err == nil {
		return found
	}
	if value := os.Getenv(require); value != "" && value != "0" {
		t.Fatalf("brokers: %s=%s, but there is %v", require, value, err)
	}
	t.Skipf("brokers: %v", err)
	panic("brokers: the test did not end when it was skipped")
}

// refuse skips a test that needs a server made in a special way, since the one
// that runs was made by somebody else.
func (s source) refuse(t testing.TB, made string, options []string) {
	t.Helper()
	if len(options) > 0 {
		t.Skipf("brokers: the test needs a %s that is %s with %q; unset %s and put %s on PATH",
			s.broker, made, options, s.variable, s.executable)
	}
}

// given returns the server that the environment names. It ends the test unless
// that is ready.
func (s source) given(t testing.TB, url, address string, ready func(ctx context.Context) error) Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := ready(ctx); err != nil {
		t.Fatalf("brokers: no %s answers at %s: %v; start it, or unset %s", s.broker, address, err, s.variable)
	}
	return Server{t: t, source: s, url: url, address: address}
}

// runner runs the one server of a test: a process or a container. Its methods
// are safe for concurrent use.
type runner interface {
	// start starts the server, again at the same address and with the same
	// data if it has run before, and returns when it is ready.
	start() error

	// terminate asks the server to end, and returns when it has. It is an
	// error if that does not run; so it is for the next three.
	terminate() error

	// kill ends the server without its knowledge.
	kill() error

	// stop freezes the server, and resume wakes it.
	stop() error
	resume() error

	// user1 sends the server SIGUSR1, and does not wait for what it makes of
	// it. It is an error if the server does not run.
	user1() error

	// running tells whether the server was started and has not ended.
	running() bool
}

// Server is one broker of a test, and the harm that the test can do to it.
type Server struct {
	t       testing.TB
	source  source
	runner  runner // nil for a server that the environment names
	url     string
	address string
}

// URL returns where the server is, for queue.Open: "redis://127.0.0.1:12345/0",
// "beanstalkd://127.0.0.1:12345", "amqp://guest:guest@127.0.0.1:12345/".
func (s *Server) URL() string { return s.url }

// Addr returns the server's host and port.
func (s *Server) Addr() string { return s.address }

// Kill ends the server as kill -9 does: it cannot save what it has not written,
// and its connections break. Ending what is not running fails the test.
func (s *Server) Kill() {
	s.t.Helper()
	s.inflict("Kill", runner.kill)
}

// Shutdown ends the server as a service manager does, with SIGTERM, and returns
// when it is gone.
func (s *Server) Shutdown() {
	s.t.Helper()
	s.inflict("Shutdown", runner.terminate)
}

// Restart starts the server again, at the same address and with the same data,
// and returns when it serves. One that is running is shut down first.
func (s *Server) Restart() {
	s.t.Helper()
	s.inflict("Restart", func(r runner) error {
		if r.running() {
			if err := r.terminate(); err != nil {
				return err
			}
		}
		return r.start()
	})
}

// Stop freezes the server: its connections stay up and new ones are accepted,
// but nothing is answered until Continue. It is what a network that swallows
// everything looks like, or a machine that swaps.
func (s *Server) Stop() {
	s.t.Helper()
	s.inflict("Stop", runner.stop)
}

// Continue wakes a server from Stop. It then does what was asked meanwhile.
func (s *Server) Continue() {
	s.t.Helper()
	s.inflict("Continue", runner.resume)
}

// inflict does to the server what a method of the given name is for.
func (s *Server) inflict(method string, do func(runner) error) {
	s.t.Helper()
	if s.runner == nil {
		s.t.Skipf("brokers: %s needs a %s of the test's own; unset %s and put %s on PATH",
			method, s.source.broker, s.source.variable, s.source.executable)
	}
	if err := do(s.runner); err != nil {
		s.t.Fatalf("brokers: %s: %v", method, err)
	}
}
