package brokers

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"testing"

	"github.com/beanstalkd/go-beanstalk"
)

// WithoutBinlog is an option for [Beanstalkd], and none of beanstalkd's own: the
// server has no binlog, and what it holds is lost when it ends.
const WithoutBinlog = "--without-binlog"

// beanstalkdPort is where a beanstalkd listens that is told nothing else.
const beanstalkdPort = 11300

var beanstalkdSource = source{
	broker:     "beanstalkd",
	variable:   "GOFER_TEST_BEANSTALKD_URL",
	executable: "beanstalkd",
	// The one of the project itself. What people take from Docker Hub instead,
	// schickling/beanstalkd, is of version 1.11, which as the first process of
	// its container does not end on SIGTERM.
	image: "ghcr.io/beanstalkd/beanstalkd:latest",
}

// BeanstalkdServer is a beanstalkd. See [Server] for what can be done to it.
type BeanstalkdServer struct{ Server }

// Beanstalkd gives the test a beanstalkd, as the package comment says. It keeps
// its jobs in a binlog, and it is empty unless the environment names it. The
// options are those of the command line of beanstalkd, the last one counts:
//
//	brokers.Beanstalkd(t, "-z", "1000000")
//
// What beanstalkd has answered to is in the binlog and outlives Kill, with and
// without "-f0": that is about the end of the machine. With [WithoutBinlog]
// nothing outlives the server.
func Beanstalkd(t testing.TB, options ...string) *BeanstalkdServer {
	t.Helper()
	found := locate(t, beanstalkdSource, engineAnswers)
	switch {
	case found.url != "":
		return beanstalkdFromEnvironment(t, found.url, options)
	case found.image != "":
		return beanstalkdInContainer(t, found.image, options)
	}
	return beanstalkdOnPath(t, found.executable, options)
}

// beanstalkdOnPath starts a beanstalkd.
func beanstalkdOnPath(t testing.TB, path string, options []string) *BeanstalkdServer {
	t.Helper()
	directory := t.TempDir()
	options = beanstalkdOptions(directory, options)
	server := startProcess(t, program{
		name:      "beanstalkd",
		path:      path,
		directory: directory,
		arguments: func(port int) []string {
			return append([]string{"-l", loopback, "-p", strconv.Itoa(port)}, options...)
		},
		ready: beanstalkdReady,
	})
	return newBeanstalkdServer(t, server, server.address())
}

// beanstalkdInContainer starts the image of a beanstalkd, whose entry point is
// the server. It follows the image's Dockerfile and has not been run yet.
func beanstalkdInContainer(t testing.TB, image string, options []string) *BeanstalkdServer {
	t.Helper()
	server := startContainer(t, appliance{
		name:  "beanstalkd",
		image: image,
		port:  beanstalkdPort,
		// The server is nobody there, who can write to no other directory.
		command: beanstalkdOptions("/tmp", options),
		ready: func(ctx context.Context, address string) error {
			return beanstalkdReady(ctx, address, 0)
		},
	})
	return newBeanstalkdServer(t, server, server.address())
}

// beanstalkdOptions returns the command line for the options of a test.
func beanstalkdOptions(directory string, options []string) []string {
	line := []string{"-V"} // else its log is empty
	if !slices.Contains(options, WithoutBinlog) {
		line = append(line, "-b", directory)
	}
	for _, option := range options {
		if option != WithoutBinlog {
			line = append(line, option)
		}
	}
	return line
}

func newBeanstalkdServer(t testing.TB, server runner, address string) *BeanstalkdServer {
	u := url.URL{Scheme: "beanstalkd", Host: address}
	return &BeanstalkdServer{Server{t: t, source: beanstalkdSource, runner: server, url: u.String(), address: address}}
}

// beanstalkdFromEnvironment is the beanstalkd that the environment names.
func beanstalkdFromEnvironment(t testing.TB, address string, options []string) *BeanstalkdServer {
	t.Helper()
	beanstalkdSource.refuse(t, "started", options)
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "beanstalkd" || u.Hostname() == "" { // without its text, as for a Redis
		t.Fatalf("brokers: %s is not the URL of a beanstalkd, such as beanstalkd://localhost:%d; correct or unset it",
			beanstalkdSource.variable, beanstalkdPort)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), strconv.Itoa(beanstalkdPort))
	}
	return &BeanstalkdServer{beanstalkdSource.given(t, address, host, func(ctx context.Context) error {
		return beanstalkdReady(ctx, host, 0)
	})}
}

// Client returns a new connection to the server, for what the test itself wants
// to ask. It is closed when the test ends. Unlike that of a Redis it breaks for
// good when the server ends, and it waits for as long as the server does not
// answer.
func (s *BeanstalkdServer) Client() *beanstalk.Conn {
	s.t.Helper()
	client, err := beanstalk.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatalf("brokers: connecting to beanstalkd at %s: %v", s.address, err)
	}
	s.t.Cleanup(func() { client.Close() })
	return client
}

// Drain has the server refuse new jobs from now on, with DRAINING, as SIGUSR1
// does. It goes on to hand out those that it has. Only Restart ends that.
func (s *BeanstalkdServer) Drain() {
	s.t.Helper()
	s.inflict("Drain", func(r runner) error {
		if err := r.user1(); err != nil {
			return err
		}
		return poll(startLimit, func(ctx context.Context) error {
			stats, err := beanstalkdStats(ctx, s.address)
			if err == nil && stats["draining"] != "true" {
				err = fmt.Errorf("beanstalkd at %s does not drain", s.address)
			}
			return err
		})
	})
}

// beanstalkdReady looks once whether a beanstalkd serves: it answers, and is the
// process with the given id, if that is not 0. It has read its binlog by then.
func beanstalkdReady(ctx context.Context, address string, pid int) error {
	stats, err := beanstalkdStats(ctx, address)
	if err != nil {
		return err
	}
	if id := stats["pid"]; pid != 0 && id != strconv.Itoa(pid) {
		return fmt.Errorf("process %s answers at %s instead of %d", id, address, pid)
	}
	return nil
}

// beanstalkdStats returns what stats tells of a server, by name.
func beanstalkdStats(ctx context.Context, address string) (map[string]string, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	client := beanstalk.NewConn(connection)
	defer client.Close()
	if deadline, ok := ctx.Deadline(); ok { // the client knows no contexts
		if err := connection.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	return client.Stats()
}
