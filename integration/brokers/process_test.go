package brokers

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// onPath returns the path of redis-server, for tests of processes.
func onPath(t *testing.T) string {
	t.Helper()
	return locate(t, clusterSource, noEngine).executable
}

// beanstalkdPath returns the path of beanstalkd, for tests of processes.
func beanstalkdPath(t *testing.T) string {
	t.Helper()
	s := beanstalkdSource
	s.variable = ""
	return locate(t, s, noEngine).executable
}

// rabbitMQPath returns the path of rabbitmq-server, for tests of processes.
func rabbitMQPath(t *testing.T) string {
	t.Helper()
	return locate(t, rabbitMQClusterSource, noEngine).executable
}

func epmdPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("epmd")
	if err != nil {
		t.Skip(err)
	}
	return path
}

func TestPortThatIsTakenIsLeftForAnother(t *testing.T) {
	t.Parallel()
	for _, p := range []program{
		{
			name: "Redis",
			path: onPath(t),
			arguments: func(port int) []string {
				return []string{"--port", strconv.Itoa(port), "--bind", loopback}
			},
			ready: func(ctx context.Context, address string, pid int) error {
				return redisReady(ctx, address, "", pid)
			},
		},
		{
			name: "beanstalkd",
			path: beanstalkdPath(t),
			arguments: func(port int) []string {
				return []string{"-p", strconv.Itoa(port), "-l", loopback, "-b", "."}
			},
			ready: beanstalkdReady,
		},
		{
			name: "epmd",
			path: epmdPath(t),
			arguments: func(port int) []string {
				return []string{"-d", "-port", strconv.Itoa(port), "-address", loopback}
			},
			ready: epmdReady,
		},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			tried, arguments := []int(nil), p.arguments
			p.directory = t.TempDir()
			p.arguments = func(port int) []string {
				tried = append(tried, port)
				if len(tried) < 3 { // somebody else is faster
					listenAndHangUp(t, port)
				}
				return arguments(port)
			}
			server := startProcess(t, p)
			if len(tried) != 3 || server.port != tried[2] {
				t.Errorf("the server has port %d after %v were tried", server.port, tried)
			}
		})
	}
}

// listenAndHangUp takes a port until the test ends.
func listenAndHangUp(t *testing.T, port int) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { listener.Close() })
	go func() { // until the listener is closed
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connection.Close()
		}
	}()
}

func TestReadyIsOnlyTheProcessThatWasStarted(t *testing.T) {
	t.Parallel()
	server := redisOnPath(t, onPath(t), "Redis", "", nil)
	if err := redisReady(t.Context(), server.Addr(), "", os.Getpid()); err == nil {
		t.Error("another process is taken for the one that was started")
	}
	other := beanstalkdOnPath(t, beanstalkdPath(t), nil)
	if err := beanstalkdReady(t.Context(), other.Addr(), os.Getpid()); err == nil {
		t.Error("another beanstalkd is taken for the one that was started")
	}
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	redisPath, beanstalkdPath, rabbitMQPath := onPath(t), beanstalkdPath(t), rabbitMQPath(t)
	options := []string{"--no-such-option", "1"}
	for name, start := range map[string]func(testing.TB){
		"Redis":      func(t testing.TB) { redisOnPath(t, redisPath, "Redis", "", options) },
		"beanstalkd": func(t testing.TB) { beanstalkdOnPath(t, beanstalkdPath, options) },
		"RabbitMQ":   func(t testing.TB) { rabbitMQOnPath(t, rabbitMQPath, []string{"no-such-option = 1"}) },
	} {
		r := &recorder{TB: t}
		r.during(func() { start(r) })
		r.finish()
		if !r.failed || !strings.Contains(r.said.String(), "no-such-option") {
			t.Errorf("%s: failed: %v: %s", name, r.failed, &r.said)
		}
	}
}

func TestServerIsGoneWithItsTestAndItsLogIsShownAfterFailure(t *testing.T) {
	t.Parallel()
	redisPath, beanstalkdPath, rabbitMQPath := onPath(t), beanstalkdPath(t), rabbitMQPath(t)
	for _, kind := range []struct {
		line  string // of the log
		start func(testing.TB) string
	}{
		{"Ready to accept connections", func(t testing.TB) string {
			return redisOnPath(t, redisPath, "Redis", "", nil).Addr()
		}},
		{"bind ", func(t testing.TB) string {
			return beanstalkdOnPath(t, beanstalkdPath, nil).Addr()
		}},
		{"started TCP listener", func(t testing.TB) string {
			return rabbitMQOnPath(t, rabbitMQPath, nil).Addr()
		}},
	} {
		for _, failed := range []bool{false, true} {
			r := &recorder{TB: t}
			address := ""
			r.during(func() { address = kind.start(r) })
			if address == "" {
				t.Fatalf("no server: %s", &r.said)
			}
			r.failed = failed
			r.finish()
			expectGone(t, address)
			if shown := strings.Contains(r.said.String(), kind.line); shown != failed {
				t.Errorf("the test failed: %v, the log is shown: %v: %s", failed, shown, &r.said)
			}
		}
	}
}

func TestHarmToWhatDoesNotRunFailsTheTest(t *testing.T) {
	t.Parallel()
	redisPath, beanstalkdPath, rabbitMQPath := onPath(t), beanstalkdPath(t), rabbitMQPath(t)
	r := &recorder{TB: t}
	var server *RedisServer
	var other *BeanstalkdServer
	var third *RabbitMQServer
	r.during(func() {
		server = redisOnPath(r, redisPath, "Redis", "", nil)
		other = beanstalkdOnPath(r, beanstalkdPath, nil)
		third = rabbitMQOnPath(r, rabbitMQPath, nil)
	})
	defer r.finish()
	if server == nil || other == nil || third == nil {
		t.Fatalf("no servers: %s", &r.said)
	}
	server.Kill()
	other.Kill()
	third.Kill()
	for name, harm := range map[string]func(){
		"Kill": server.Kill, "Shutdown": server.Shutdown, "Stop": server.Stop, "Continue": server.Continue,
		"Drain": other.Drain, "Control": func() { third.Control("status") },
	} {
		r.said.Reset()
		r.failed = false
		r.during(harm)
		if !r.failed || !strings.Contains(r.said.String(), "Restart") {
			t.Errorf("%s: failed: %v: %s", name, r.failed, &r.said)
		}
	}
}

func TestPortsOfOneProcessAreDistinct(t *testing.T) {
	t.Parallel()
	ports := make(map[int]bool)
	for range 500 {
		port := reservePort(t)
		if ports[port] {
			t.Fatalf("port %d is given twice", port)
		}
		ports[port] = true
	}
}

// fate is the environment variable that makes TestFate one to die of.
const fate = "GOFER_TEST_FATE"

// TestFate is the test that the next one has die.
func TestFate(t *testing.T) {
	how := os.Getenv(fate)
	if how == "" {
		t.Skip("it is run by TestServersDieWithTheirTest")
	}
	addresses := []string{Redis(t).Addr()}
	rabbitMQ := rabbitMQOnPath(t, rabbitMQPath(t), nil)
	for _, variable := range rabbitMQ.runner.(*process).program.environment(0) {
		if port, found := strings.CutPrefix(variable, "ERL_EPMD_PORT="); found {
			addresses = append(addresses, net.JoinHostPort(loopback, port))
		}
	}
	fmt.Println("servers:", strings.Join(append(addresses, rabbitMQ.Addr()), " "))
	if how == "panic" {
		panic(fate)
	}
	time.Sleep(time.Hour) // until it is killed
}

func TestServersDieWithTheirTest(t *testing.T) {
	t.Parallel()
	onPath(t)
	rabbitMQPath(t)
	for _, how := range []string{"panic", "kill"} {
		directory := t.TempDir()
		if how == "kill" && runtime.GOOS != "linux" {
			continue // here they live on
		}
		test := exec.Command(os.Args[0], "-test.run=^TestFate$")
		test.Env = append(os.Environ(), fate+"="+how, redisSource.variable+"=", "TMPDIR="+directory)
		output, err := test.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := test.Start(); err != nil {
			t.Fatal(err)
		}
		var addresses []string
		for lines := bufio.NewScanner(output); len(addresses) == 0 && lines.Scan(); {
			if list, found := strings.CutPrefix(lines.Text(), "servers: "); found {
				addresses = strings.Fields(list)
			}
		}
		if how == "kill" {
			test.Process.Kill()
		}
		if err := test.Wait(); err == nil {
			t.Errorf("%s: the test passed", how)
		}
		if len(addresses) != 3 {
			t.Fatalf("%s: the test started servers at %q", how, addresses)
		}
		for _, address := range addresses {
			expectGone(t, address)
		}
		expectNoProcessBelow(t, directory)
	}
}

// expectGone fails the test unless nothing listens at the address soon.
func expectGone(t *testing.T, address string) {
	t.Helper()
	err := poll(10*time.Second, func(ctx context.Context) error {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil
		}
		connection.Close()
		return fmt.Errorf("a server listens at %s", address)
	})
	if err != nil {
		t.Error(err)
	}
}

// expectNoProcessBelow fails the test unless no process runs soon in the
// directory or below it, where this machine tells: none of those that a server
// has started itself, either.
func expectNoProcessBelow(t *testing.T, directory string) {
	t.Helper()
	err := poll(10*time.Second, func(context.Context) error {
		links, err := filepath.Glob("/proc/[0-9]*/cwd")
		if err != nil {
			return err
		}
		for _, link := range links {
			if where, err := os.Readlink(link); err == nil && strings.HasPrefix(where, directory) {
				return fmt.Errorf("%s is %s", link, where)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
