package brokers

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
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

func TestPortThatIsTakenIsLeftForAnother(t *testing.T) {
	t.Parallel()
	path, tried := onPath(t), []int(nil)
	server := startProcess(t, program{
		name:      "Redis",
		path:      path,
		directory: t.TempDir(),
		arguments: func(port int) []string {
			tried = append(tried, port)
			if len(tried) < 3 { // somebody else is faster
				listenAndHangUp(t, port)
			}
			return []string{"--port", strconv.Itoa(port), "--bind", loopback}
		},
		ready: func(ctx context.Context, address string, pid int) error {
			return redisReady(ctx, address, "", pid)
		},
	})
	if len(tried) != 3 || server.port != tried[2] {
		t.Errorf("the server has port %d after %v were tried", server.port, tried)
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
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	path := onPath(t)
	r := &recorder{TB: t}
	r.during(func() { redisOnPath(r, path, "Redis", "", []string{"--no-such-option", "1"}) })
	r.finish()
	if !r.failed || !strings.Contains(r.said.String(), "no-such-option") {
		t.Errorf("failed: %v: %s", r.failed, &r.said)
	}
}

func TestServerIsGoneWithItsTestAndItsLogIsShownAfterFailure(t *testing.T) {
	t.Parallel()
	path := onPath(t)
	for _, failed := range []bool{false, true} {
		r := &recorder{TB: t}
		var server *RedisServer
		r.during(func() { server = redisOnPath(r, path, "Redis", "", nil) })
		if server == nil {
			t.Fatalf("no Redis: %s", &r.said)
		}
		r.failed = failed
		r.finish()
		expectGone(t, server.Addr())
		if shown := strings.Contains(r.said.String(), "Ready to accept connections"); shown != failed {
			t.Errorf("the test failed: %v, the log is shown: %v: %s", failed, shown, &r.said)
		}
	}
}

func TestHarmToWhatDoesNotRunFailsTheTest(t *testing.T) {
	t.Parallel()
	path := onPath(t)
	r := &recorder{TB: t}
	var server *RedisServer
	r.during(func() { server = redisOnPath(r, path, "Redis", "", nil) })
	defer r.finish()
	server.Kill()
	for name, harm := range map[string]func(){
		"Kill": server.Kill, "Shutdown": server.Shutdown, "Stop": server.Stop, "Continue": server.Continue,
	} {
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
	fmt.Println("server:", Redis(t).Addr())
	if how == "panic" {
		panic(fate)
	}
	time.Sleep(time.Hour) // until it is killed
}

func TestServersDieWithTheirTest(t *testing.T) {
	t.Parallel()
	onPath(t)
	for _, how := range []string{"panic", "kill"} {
		if how == "kill" && runtime.GOOS != "linux" {
			continue // here they live on
		}
		test := exec.Command(os.Args[0], "-test.run=^TestFate$")
		test.Env = append(os.Environ(), fate+"="+how, redisSource.variable+"=", "TMPDIR="+t.TempDir())
		output, err := test.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := test.Start(); err != nil {
			t.Fatal(err)
		}
		address := ""
		for lines := bufio.NewScanner(output); address == "" && lines.Scan(); {
			address, _ = strings.CutPrefix(lines.Text(), "server: ")
		}
		if how == "kill" {
			test.Process.Kill()
		}
		if err := test.Wait(); err == nil {
			t.Errorf("%s: the test passed", how)
		}
		if address == "" {
			t.Fatalf("%s: the test started no server", how)
		}
		expectGone(t, address)
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
