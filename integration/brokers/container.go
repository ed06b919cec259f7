package brokers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	containerexec "github.com/testcontainers/testcontainers-go/exec"
	containerlog "github.com/testcontainers/testcontainers-go/log"
)

const (
	// engineLimit is how long a Docker engine may take to answer. Who has none
	// should not wait for it.
	engineLimit = 3 * time.Second

	// pullLimit is how long the start of a container may take, with the
	// download of its image.
	pullLimit = 5 * time.Minute

	// dockerLimit is how long any other request to the engine may take.
	dockerLimit = 30 * time.Second
)

// engineAnswers returns nil if a Docker engine answers. It asks once in the
// life of this process.
var engineAnswers = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), engineLimit)
	defer cancel()
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err == nil {
		defer docker.Close()
		_, err = docker.Ping(ctx, client.PingOptions{})
	}
	if err != nil {
		return fmt.Errorf("no Docker engine answers: %w", err)
	}
	return nil
})

// appliance is how to run a server in a container.
type appliance struct {
	name    string // for messages: "Redis"
	image   string
	port    int // where it listens in the container
	command []string
	files   map[string]string // what is put into the container, by path

	// ready looks at the server once and returns nil if it serves.
	ready func(ctx context.Context, address string) error
}

// container is a server that runs in a container of its own. Its port is chosen
// here and not by Docker, which would choose another one at each start.
type container struct {
	appliance appliance
	docker    client.APIClient
	made      testcontainers.Container
	id        string
	host      string
	port      int

	mu sync.Mutex // held during a method, so that one sees the other's end
}

// startContainer starts an appliance for the test, and removes it with the test.
func startContainer(t testing.TB, a appliance) *container {
	t.Helper()
	server, err := newContainer(t, a)
	if err == nil {
		err = server.start()
	}
	if err != nil {
		t.Fatalf("brokers: %v", err)
	}
	return server
}

// making is held while a container is made: testcontainers makes a network
// before, and two tests at a time would make the same one.
var making sync.Mutex

// newContainer makes a container that does not run yet.
func newContainer(t testing.TB, a appliance) (*container, error) {
	t.Helper()
	making.Lock()
	defer making.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), pullLimit)
	defer cancel()
	provider, err := dockerProvider(t)
	if err != nil {
		return nil, fmt.Errorf("asking Docker for a container of %s: %w", a.image, err)
	}
	t.Cleanup(func() { provider.Close() })
	host, err := provider.DaemonHost(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking Docker where it publishes ports: %w", err)
	}
	server := &container{appliance: a, docker: provider.Client(), host: host, port: reservePort(t)}
	binding := network.PortBinding{HostPort: strconv.Itoa(server.port)}
	if host == "localhost" { // else Docker is not here, and nobody could reach its loopback
		server.host = loopback
		binding.HostIP = netip.MustParseAddr(loopback)
	}
	var files []testcontainers.ContainerFile
	for path, text := range a.files {
		files = append(files, testcontainers.ContainerFile{
			Reader: strings.NewReader(text), ContainerFilePath: path, FileMode: 0o644,
		})
	}
	inside := fmt.Sprintf("%d/tcp", a.port)
	made, err := provider.CreateContainer(ctx, testcontainers.ContainerRequest{
		Image:        a.image,
		Cmd:          a.command,
		Files:        files,
		ExposedPorts: []string{inside},
		HostConfigModifier: func(host *containertypes.HostConfig) {
			host.PortBindings = network.PortMap{network.MustParsePort(inside): {binding}}
		},
	})
	if made != nil {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("log of %s:\n%s", server, logOf(made))
			}
			if err := testcontainers.TerminateContainer(made, testcontainers.StopTimeout(0)); err != nil {
				t.Errorf("brokers: removing the container of %s: %v", server, err)
			}
		})
	}
	if err != nil {
		return nil, fmt.Errorf("making a container of %s: %w", a.image, err)
	}
	server.made, server.id = made, made.GetContainerID()
	return server, nil
}

// dockerProvider returns what testcontainers makes containers with, on Docker
// or on Podman.
func dockerProvider(t testing.TB) (*testcontainers.DockerProvider, error) {
	provider, err := testcontainers.ProviderDefault.GetProvider(testcontainers.WithLogger(containerlog.TestLogger(t)))
	if err != nil {
		return nil, err
	}
	docker, ok := provider.(*testcontainers.DockerProvider)
	if !ok {
		return nil, fmt.Errorf("testcontainers provides a %T; select Docker or Podman", provider)
	}
	return docker, nil
}

// logOf returns the last of what a container has written.
func logOf(c testcontainers.Container) string {
	ctx, cancel := context.WithTimeout(context.Background(), dockerLimit)
	defer cancel()
	reader, err := c.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	defer reader.Close()
	text, err := io.ReadAll(reader)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-logLimit):])
}

func (c *container) String() string { return c.appliance.name + " at " + c.address() }

func (c *container) address() string { return net.JoinHostPort(c.host, strconv.Itoa(c.port)) }

// ask has the engine do something, and says what failed.
func (c *container) ask(verb string, request func(ctx context.Context) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), dockerLimit)
	defer cancel()
	if err := request(ctx); err != nil {
		return fmt.Errorf("%s %s: %w", verb, c, err)
	}
	return nil
}

func (c *container) start() error {
	err := c.ask("start", func(ctx context.Context) error {
		_, err := c.docker.ContainerStart(ctx, c.id, client.ContainerStartOptions{})
		return err
	})
	if err != nil {
		return err
	}
	err = poll(startLimit, func(ctx context.Context) error {
		err := c.appliance.ready(ctx, c.address())
		if err != nil && !c.running() {
			return fmt.Errorf("%w: %w", errEnded, err)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s did not start: %w", c, err)
	}
	return nil
}

// state asks the engine what the container does.
func (c *container) state(ctx context.Context) (containertypes.State, error) {
	answer, err := c.docker.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
	switch {
	case err != nil:
		return containertypes.State{}, err
	case answer.Container.State == nil:
		return containertypes.State{}, errors.New("the engine does not tell its state")
	}
	return *answer.Container.State, nil
}

func (c *container) running() bool {
	running := false
	c.ask("inspect", func(ctx context.Context) error {
		state, err := c.state(ctx)
		running = state.Running
		return err
	})
	return running
}

func (c *container) kill() error {
	return c.ask("kill", func(ctx context.Context) error { return c.end(ctx, 0) })
}

func (c *container) terminate() error {
	return c.ask("end", func(ctx context.Context) error { return c.end(ctx, int(terminateLimit/time.Second)) })
}

// end gives the server so many seconds from SIGTERM to SIGKILL.
func (c *container) end(ctx context.Context, seconds int) error {
	state, err := c.state(ctx)
	if err != nil {
		return err
	}
	if !state.Running {
		return errors.New("it is not running; Restart starts it")
	}
	if seconds == 0 {
		if _, err := c.docker.ContainerKill(ctx, c.id, client.ContainerKillOptions{Signal: "SIGKILL"}); err != nil {
			return err
		}
		for state.Running {
			time.Sleep(pause)
			if state, err = c.state(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	if state.Paused { // it would not notice
		if _, err := c.docker.ContainerUnpause(ctx, c.id, client.ContainerUnpauseOptions{}); err != nil {
			return err
		}
	}
	_, err = c.docker.ContainerStop(ctx, c.id, client.ContainerStopOptions{Timeout: &seconds})
	return err
}

func (c *container) stop() error {
	return c.ask("pause", func(ctx context.Context) error {
		_, err := c.docker.ContainerPause(ctx, c.id, client.ContainerPauseOptions{})
		return err
	})
}

func (c *container) resume() error {
	return c.ask("unpause", func(ctx context.Context) error {
		_, err := c.docker.ContainerUnpause(ctx, c.id, client.ContainerUnpauseOptions{})
		return err
	})
}

func (c *container) user1() error {
	return c.ask("signal", func(ctx context.Context) error {
		_, err := c.docker.ContainerKill(ctx, c.id, client.ContainerKillOptions{Signal: "SIGUSR1"})
		return err
	})
}

// execute runs a command in the container and returns what it writes.
func (c *container) execute(command []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	code, reader, err := c.made.Exec(ctx, command, containerexec.Multiplexed())
	if err != nil {
		return "", fmt.Errorf("running %q in the container of %s: %w", command, c, err)
	}
	output, err := io.ReadAll(reader)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d", code)
	}
	if err != nil {
		return "", fmt.Errorf("%q: %w: %s", command, err, output)
	}
	return string(output), nil
}
