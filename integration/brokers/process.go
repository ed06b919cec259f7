package brokers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// loopback is where servers listen: nobody else can reach them.
	loopback = "127.0.0.1"

	// startLimit is how long a server may take until it is ready, on a machine
	// that is busy with many tests.
	startLimit = 60 * time.Second

	// terminateLimit is how long a server may take to end when it is asked to.
	terminateLimit = 20 * time.Second

	// probeLimit is how long one look at a server may take.
	probeLimit = 2 * time.Second

	// pause is between two looks at a server.
	pause = 20 * time.Millisecond

	// logLimit is how many bytes of a server's log are shown, the last ones.
	logLimit = 64 << 10
)

// program is how to run a server as a process.
type program struct {
	name      string // for messages: "Redis"
	path      string
	directory string // where it runs and keeps its data
	arguments func(port int) []string

	// environment returns the variables of the process; nil leaves it those of
	// the test.
	environment func(port int) []string

	// ready looks at the server once and returns nil if it serves. The look
	// must make sure that the answer comes from the process with the given id
	// if it is not 0: another one may have been given the port.
	ready func(ctx context.Context, address string, pid int) error

	// announcement is what the server writes as the last thing before it is
	// ready; "" if that cannot be told from what it writes.
	announcement string
}

// process is a server that runs as a process of this machine.
type process struct {
	program program
	port    int

	mu      sync.Mutex
	current *run // guarded by mu: the last that was started; nil before
}

// run is one run of a process, from its start to its end.
type run struct {
	process *os.Process
	ended   chan struct{} // closed when the process is gone
	status  error         // how it ended; set before ended is closed
}

var (
	// errEnded is what poll gives up for: the server runs no more.
	errEnded = errors.New("it ended")

	// errPortTaken is the end of a process whose port is in use.
	errPortTaken = errors.New("the port is in use")
)

// startProcess starts a program for the test, on a free port, and ends it with
// the test.
func startProcess(t testing.TB, p program) *process {
	t.Helper()
	var err error
	for range 10 {
		server := &process{program: p, port: reservePort(t)}
		t.Cleanup(func() {
			server.end()
			if t.Failed() {
				t.Logf("log of %s:\n%s", server, server.log())
			}
		})
		if err = server.start(); err == nil {
			return server
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	t.Fatalf("brokers: %v", err)
	return nil
}

func (p *process) String() string { return p.program.name + " at " + p.address() }

func (p *process) address() string { return net.JoinHostPort(loopback, strconv.Itoa(p.port)) }

// logFile is where the process writes, in all its runs. Its name has the port
// so that every port that was tried has its own.
func (p *process) logFile() string {
	return filepath.Join(p.program.directory, fmt.Sprintf("output-%d.log", p.port))
}

// log returns the last of what the process has written.
func (p *process) log() string {
	text, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	if len(text) > logLimit {
		text = text[len(text)-logLimit:]
	}
	return string(text)
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alive() {
		return fmt.Errorf("%s is running already; end it first", p)
	}
	file, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	before, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	p.current, err = launch(p.program, p.port, file)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if err := p.await(before); err != nil {
		p.current.process.Kill()
		<-p.current.ended
		text := p.written(before)
		if saysPortTaken(text) {
			err = fmt.Errorf("%w: %w", errPortTaken, err)
		}
		return fmt.Errorf("%s did not start: %w; it wrote:\n%s", p, err, text)
	}
	return nil
}

// saysPortTaken tells whether a server has written that its port is in use.
func saysPortTaken(text string) bool {
	text = strings.ToLower(text)
	for _, words := range []string{
		"address already in use",
		"already a epmd running",              // epmd, of its own kind only
		"could not bind to distribution port", // RabbitMQ, of its second port
	} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// launch starts a process that writes to output.
func launch(p program, port int, output *os.File) (*run, error) {
	command := exec.Command(p.path, p.arguments(port)...)
	command.Dir = p.directory
	if p.environment != nil {
		command.Env = p.environment(port)
	}
	command.Stdout = output
	command.Stderr = output
	command.SysProcAttr = dieWithParent()
	r := &run{ended: make(chan struct{})}
	started := make(chan error)
	go func() { // until the process ends
		// To Linux the parent of a process is the thread that started it, and
		// a process that dies with its parent needs that thread to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := command.Start(); err != nil {
			started <- err
			return
		}
		r.process = command.Process
		started <- nil
		r.status = command.Wait()
		close(r.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return r, nil
}

// written returns what the process has written from a place in its log on.
func (p *process) written(from int64) string {
	text, _ := os.ReadFile(p.logFile())
	return string(text[min(int(from), len(text)):])
}

// await returns when the current run serves, or cannot any more. Its log begins
// at the given place. The caller holds mu.
func (p *process) await(from int64) error {
	return poll(startLimit, func(ctx context.Context) error {
		var err error
		if !strings.Contains(p.written(from), p.program.announcement) {
			err = fmt.Errorf("it has not written %q", p.program.announcement)
		} else {
			err = p.program.ready(ctx, p.address(), p.current.process.Pid)
		}
		if err != nil && !p.alive() {
			return fmt.Errorf("%w: %v", errEnded, p.current.status)
		}
		return err
	})
}

// poll looks at a server until look returns nil, or [errEnded], or the limit has
// passed.
func poll(limit time.Duration, look func(ctx context.Context) error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(pause) {
		ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
		err := look(ctx)
		cancel()
		switch {
		case err == nil || errors.Is(err, errEnded):
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("still after %v: %w", limit, err)
		}
	}
}

// alive tells whether the process runs, stopped or not. The caller holds mu.
func (p *process) alive() bool {
	if p.current == nil {
		return false
	}
	select {
	case <-p.current.ended:
		return false
	default:
		return true
	}
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alive()
}

// signal sends a signal to the process. The caller holds mu.
func (p *process) signal(s os.Signal) error {
	if !p.alive() {
		return fmt.Errorf("%s is not running; Restart starts it", p)
	}
	if err := p.current.process.Signal(s); err != nil {
		return fmt.Errorf("%s: %v: %w", p, s, err)
	}
	return nil
}

func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.current.ended
	return nil
}

func (p *process) terminate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	// A stopped process would not notice before it is continued. Another one
	// may be gone by now.
	if err := p.current.process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %v: %w", p, syscall.SIGCONT, err)
	}
	select {
	case <-p.current.ended:
		return nil
	case <-time.After(terminateLimit):
		return fmt.Errorf("%s still runs %v after SIGTERM; Kill ends it", p, terminateLimit)
	}
}

func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := poll(probeLimit, func(context.Context) error {
		if !p.alive() {
			return errEnded
		}
		return frozen(p.current.process.Pid)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}

func (p *process) resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signal(syscall.SIGCONT)
}

func (p *process) user1() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signal(syscall.SIGUSR1)
}

// end kills the process if it runs.
func (p *process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alive() {
		p.current.process.Kill()
		<-p.current.ended
	}
}

// The ports of servers lie below those that Linux and macOS give to outgoing
// connections, so that nobody takes the port of a server that is down for a
// moment. Each has a second one that is its own too, where a node of a Redis
// cluster and a RabbitMQ talk to others.
const (
	firstPort = 12000
	portCount = 10000
	busOffset = 10000 // from a port to its second one, as Redis has it
)

// reserved are the ports of this process's tests.
var reserved struct {
	mu    sync.Mutex
	ports map[int]bool // guarded by mu
}

// reservePort returns a port that is free, as is the second one, and that no
// other test of this process is given until this one ends. A test of another
// process may be; whoever binds it later has to try another.
func reservePort(t testing.TB) int {
	t.Helper()
	reserved.mu.Lock()
	defer reserved.mu.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(portCount)
		if reserved.ports[port] || !free(port) || !free(port+busOffset) {
			continue
		}
		if reserved.ports == nil {
			reserved.ports = make(map[int]bool)
		}
		reserved.ports[port] = true
		t.Cleanup(func() {
			reserved.mu.Lock()
			defer reserved.mu.Unlock()
			delete(reserved.ports, port)
		})
		return port
	}
	t.Fatalf("brokers: found no free port from %d to %d; end servers that are left over",
		firstPort, firstPort+portCount-1)
	return 0
}

// free tells whether a server could listen on the port of the loopback.
func free(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
