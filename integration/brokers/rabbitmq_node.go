package brokers

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
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

const (
	// commandLimit is how long a program may take that is run beside a server.
	commandLimit = 60 * time.Second

	// packagedScripts is where the packages of Debian, and those of RabbitMQ
	// itself, have the programs that they wrap.
	packagedScripts = "/usr/lib/rabbitmq/bin"

	// firstControlPort and lastControlPort are for rabbitmqctl, which is an
	// Erlang node too: next to the ports of servers and below outgoing ones.
	firstControlPort = firstPort + portCount + busOffset
	lastControlPort  = firstControlPort + 700
)

// rabbitMQNode is the one node of a RabbitMQ, or one of several, that runs as a
// process.
type rabbitMQNode struct {
	name      string // as Erlang has it: "gofer-abc@localhost"
	cluster   string
	scripts   string // the directory of rabbitmq-server and rabbitmqctl
	directory string
	epmd      int // the port of what tells nodes each other's ports
}

// rabbitMQOnPath starts a rabbitmq-server.
func rabbitMQOnPath(t testing.TB, path string, configuration []string) *RabbitMQServer {
	t.Helper()
	id := strings.ToLower(rand.Text())
	return prepareRabbitMQ(t, path, rabbitMQNode{
		name:    rabbitMQNodeName(id),
		cluster: id,
		epmd:    startEPMD(t),
	}, configuration).start(t, "RabbitMQ")
}

// rabbitMQNodeName returns the name for a node that Erlang makes connections to.
func rabbitMQNodeName(id string) string { return "gofer-" + id + "@localhost" }

// prepareRabbitMQ fills in where a node is.
func prepareRabbitMQ(t testing.TB, path string, node rabbitMQNode, configuration []string) *rabbitMQNode {
	t.Helper()
	var err error
	if node.scripts, err = rabbitMQScripts(path); err != nil {
		t.Fatalf("brokers: %v", err)
	}
	node.directory = t.TempDir()
	if err := node.prepare(configuration); err != nil {
		t.Fatalf("brokers: %v", err)
	}
	return &node
}

// start starts the node. The name is for messages.
func (n *rabbitMQNode) start(t testing.TB, name string) *RabbitMQServer {
	t.Helper()
	server := startProcess(t, n.program(name))
	made := newRabbitMQServer(t, server, server.address())
	made.control = func(arguments []string) (string, error) { return n.control(server.port, arguments) }
	return made
}

// program returns how to run the node.
func (n *rabbitMQNode) program(name string) program {
	return program{
		name:        name,
		path:        filepath.Join(n.scripts, "rabbitmq-server"),
		directory:   n.directory,
		arguments:   func(int) []string { return nil },
		environment: n.environment,
		ready: func(ctx context.Context, address string, _ int) error {
			return rabbitMQReady(ctx, guestURL(address), n.cluster)
		},
		// It lets clients in a moment before. A durable queue that was declared
		// then has been seen missing after Kill.
		announcement: " completed with ",
	}
}

// rabbitMQScripts returns the directory of the programs that a rabbitmq-server
// on PATH stands for. What Debian installs there becomes the user rabbitmq,
// refuses any but root, and keeps everything in /var. Homebrew has links.
func rabbitMQScripts(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	for _, directory := range []string{filepath.Dir(path), packagedScripts} {
		// The real ones come with this, which they read.
		if _, err := os.Stat(filepath.Join(directory, "rabbitmq-env")); err == nil {
			return directory, nil
		}
	}
	return "", fmt.Errorf("found no rabbitmq-env beside %s and in %s; install RabbitMQ from a package, or put its sbin on PATH",
		path, packagedScripts)
}

// prepare fills the directory of the node with what it reads.
func (n *rabbitMQNode) prepare(configuration []string) error {
	if err := os.Mkdir(n.in("conf.d"), 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"environment.conf": "",
		"rabbitmq.conf":    rabbitMQConfiguration(n.cluster, configuration),
		"advanced.config":  "[].",
		"enabled_plugins":  "[].",
		// Whoever knows it may command the node. Each cluster has its own, so
		// that a stray node of another test is turned away.
		".erlang.cookie": n.cluster,
	} {
		if err := os.WriteFile(n.in(name), []byte(text), 0o400); err != nil {
			return err
		}
	}
	return nil
}

// in returns the path of a file in the directory of the node.
func (n *rabbitMQNode) in(name string) string { return filepath.Join(n.directory, name) }

// environment returns the variables of the node that listens at the port, and
// of programs that command it. None is taken over from the test but PATH: many
// others would change what the scripts and Erlang do.
func (n *rabbitMQNode) environment(port int) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"LANG=C.UTF-8",
		"HOME=" + n.directory, // where Erlang looks for the cookie

		"RABBITMQ_NODENAME=" + n.name,
		"RABBITMQ_NODE_IP_ADDRESS=" + loopback,
		"RABBITMQ_NODE_PORT=" + strconv.Itoa(port),
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(port+busOffset),

		"RABBITMQ_CONF_ENV_FILE=" + n.in("environment.conf"),
		"RABBITMQ_CONFIG_FILE=" + n.in("rabbitmq.conf"),
		"RABBITMQ_CONFIG_FILES=" + n.in("conf.d"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + n.in("advanced.config"),
		"RABBITMQ_GENERATED_CONFIG_DIR=" + n.in("generated"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + n.in("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE=" + n.in("data"),
		"RABBITMQ_LOG_BASE=" + n.in("log"),
		"RABBITMQ_LOGS=-", // the output
		"RABBITMQ_PID_FILE=" + n.in("pid"),

		// The script then becomes Erlang, as it does for systemd, instead of
		// waiting for it: signals reach the server, and it dies with the test.
		"RUNNING_UNDER_SYSTEMD=true",

		// Erlang would start a daemon that outlives it.
		"ERL_EPMD_PORT=" + strconv.Itoa(n.epmd),
		"ERL_FLAGS=-start_epmd false",
		"ERL_CRASH_DUMP_SECONDS=0", // none

		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=" + onLoopback,
		"RABBITMQ_CTL_ERL_ARGS=+S 1:1 " + onLoopback,
		"RABBITMQ_CTL_DIST_PORT_MIN=" + strconv.Itoa(firstControlPort),
		"RABBITMQ_CTL_DIST_PORT_MAX=" + strconv.Itoa(lastControlPort),
	}
}

// onLoopback has an Erlang node listen for others where nobody else can reach
// it.
const onLoopback = "-kernel inet_dist_use_interface {127,0,0,1}"

// control runs rabbitmqctl on the node.
func (n *rabbitMQNode) control(port int, arguments []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join(n.scripts, "rabbitmqctl"),
		append([]string{"--silent", "--node", n.name}, arguments...)...)
	command.Dir = n.directory
	command.Env = n.environment(port)
	command.SysProcAttr = dieWithParent()
	command.WaitDelay = probeLimit
	var output, complaint bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaint
	// As for a server, see launch.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("rabbitmqctl %q: %w: %s%s", arguments, err, &output, &complaint)
	}
	return output.String(), nil
}

// startEPMD starts the daemon that tells Erlang nodes each other's ports, for
// the test alone, and returns its own port.
func startEPMD(t testing.TB) int {
	t.Helper()
	path, err := exec.LookPath("epmd")
	if err != nil {
		t.Fatalf("brokers: RabbitMQ is on PATH, but not what comes with its Erlang: %v", err)
	}
	return startProcess(t, program{
		name:      "epmd",
		path:      path,
		directory: t.TempDir(),
		arguments: func(port int) []string {
			// -d has it say why it ends, to us rather than to syslog.
			return []string{"-d", "-port", strconv.Itoa(port), "-address", loopback}
		},
		environment: func(int) []string { return []string{} },
		ready:       epmdReady,
	}).port
}

// epmdReady looks once whether an epmd serves. It does not tell its process.
func epmdReady(ctx context.Context, address string, _ int) error {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return err
		}
	}
	const names = 'n' // asks for all nodes; the answer begins with epmd's own port
	if _, err := connection.Write([]byte{0, 1, names}); err != nil {
		return err
	}
	var port uint32
	if err := binary.Read(connection, binary.BigEndian, &port); err != nil {
		return err
	}
	if _, text, err := net.SplitHostPort(address); err != nil || text != fmt.Sprint(port) {
		return errors.New("something else than epmd answers at " + address)
	}
	return nil
}
