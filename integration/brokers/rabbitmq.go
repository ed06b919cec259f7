package brokers

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// rabbitMQPort is where a RabbitMQ listens that is told nothing else.
	rabbitMQPort = 5672

	// closeLimit is how long a client waits at the end of its test for the
	// answer to its goodbye, which a server that is stopped does not give.
	closeLimit = time.Second
)

var rabbitMQSource = source{
	broker:     "RabbitMQ",
	variable:   "GOFER_TEST_RABBITMQ_URL",
	executable: "rabbitmq-server",
	image:      "rabbitmq:4-alpine",
}

// RabbitMQServer is a RabbitMQ. See [Server] for what can be done to it.
type RabbitMQServer struct {
	Server

	// control runs rabbitmqctl; nil for a server that the environment names.
	control func(arguments []string) (string, error)
}

// RabbitMQ gives the test a RabbitMQ, as the package comment says: one node
// without plugins, which is empty unless the environment names it. The
// configuration is made of lines of rabbitmq.conf, the last one counts:
//
//	brokers.RabbitMQ(t, "consumer_timeout = 10000")
//
// It takes some seconds to start. What outlives Kill is what the protocol
// promises: durable queues, and of them the persistent messages that were
// confirmed. But a declaration stays in the memory of the server for a moment;
// Control("eval", "mnesia:sync_log().") has it written.
func RabbitMQ(t testing.TB, configuration ...string) *RabbitMQServer {
	t.Helper()
	found := locate(t, rabbitMQSource, engineAnswers)
	switch {
	case found.url != "":
		return rabbitMQFromEnvironment(t, found.url, configuration)
	case found.image != "":
		return rabbitMQInContainer(t, found.image, configuration)
	}
	return rabbitMQOnPath(t, found.executable, configuration)
}

// rabbitMQInContainer starts the image of a RabbitMQ. It follows the image's
// documentation and has not been run yet.
func rabbitMQInContainer(t testing.TB, image string, configuration []string) *RabbitMQServer {
	t.Helper()
	server := startContainer(t, appliance{
		name:  "RabbitMQ",
		image: image,
		port:  rabbitMQPort,
		files: map[string]string{
			// After the image's own file, which lets guests in from outside.
			"/etc/rabbitmq/conf.d/90-test.conf": rabbitMQConfiguration("", configuration),
		},
		ready: func(ctx context.Context, address string) error {
			return rabbitMQReady(ctx, guestURL(address), "")
		},
	})
	made := newRabbitMQServer(t, server, server.address())
	made.control = func(arguments []string) (string, error) {
		return server.execute(append([]string{"rabbitmqctl", "--silent"}, arguments...))
	}
	return made
}

func newRabbitMQServer(t testing.TB, server runner, address string) *RabbitMQServer {
	return &RabbitMQServer{
		Server: Server{t: t, source: rabbitMQSource, runner: server, url: guestURL(address), address: address},
	}
}

// guestURL is the URL of a RabbitMQ that has the user whom it makes itself.
func guestURL(address string) string {
	u := url.URL{Scheme: "amqp", User: url.UserPassword("guest", "guest"), Host: address, Path: "/"}
	return u.String()
}

// rabbitMQConfiguration returns the text of rabbitmq.conf. A name for the
// cluster tells servers apart, see [rabbitMQReady].
func rabbitMQConfiguration(cluster string, configuration []string) string {
	var lines []string
	if cluster != "" {
		lines = append(lines, "cluster_name = "+cluster)
	}
	return strings.Join(append(lines, configuration...), "\n") + "\n"
}

// rabbitMQFromEnvironment is the RabbitMQ that the environment names.
func rabbitMQFromEnvironment(t testing.TB, address string, configuration []string) *RabbitMQServer {
	t.Helper()
	rabbitMQSource.refuse(t, "configured", configuration)
	uri, err := amqp.ParseURI(address)
	if err != nil || uri.Host == "" { // without its text, as for a Redis
		t.Fatalf("brokers: %s is not the URL of a RabbitMQ, such as amqp://guest:guest@localhost:%d/; correct or unset it",
			rabbitMQSource.variable, rabbitMQPort)
	}
	host := net.JoinHostPort(uri.Host, fmt.Sprint(uri.Port))
	return &RabbitMQServer{Server: rabbitMQSource.given(t, address, host, func(ctx context.Context) error {
		return rabbitMQReady(ctx, address, "")
	})}
}

// Client returns a new connection to the server, for what the test itself wants
// to ask. It is closed when the test ends. It breaks for good when the server
// ends.
func (s *RabbitMQServer) Client() *amqp.Connection {
	s.t.Helper()
	client, err := amqp.Dial(s.url)
	if err != nil {
		s.t.Fatalf("brokers: connecting to RabbitMQ at %s: %v", s.address, err)
	}
	s.t.Cleanup(func() { client.CloseDeadline(time.Now().Add(closeLimit)) })
	return client
}

// Control runs rabbitmqctl on the server and returns what it prints, without
// headings:
//
//	server.Control("list_queues", "name", "messages")
//	server.Control("set_vm_memory_high_watermark", "absolute", "1MB")
//
// It fails the test if rabbitmqctl does. It takes a second or two.
func (s *RabbitMQServer) Control(arguments ...string) string {
	s.t.Helper()
	output := ""
	s.inflict("Control", func(r runner) (err error) {
		if !r.running() { // rabbitmqctl would guess at reasons
			return fmt.Errorf("RabbitMQ at %s is not running; Restart starts it", s.address)
		}
		output, err = s.control(arguments)
		return err
	})
	return output
}

// rabbitMQReady looks once whether a RabbitMQ serves, which it does not before
// it has read its data. If a cluster is given, it must be the one that answers:
// its name makes sure that the server is the one which was started.
func rabbitMQReady(ctx context.Context, address, cluster string) error {
	client, err := amqp.DialConfig(address, amqp.Config{
		Dial: func(network, host string) (net.Conn, error) {
			connection, err := new(net.Dialer).DialContext(ctx, network, host)
			if err != nil {
				return nil, err
			}
			if deadline, ok := ctx.Deadline(); ok { // until the handshake is over
				if err := connection.SetDeadline(deadline); err != nil {
					connection.Close()
					return nil, err
				}
			}
			return connection, nil
		},
	})
	if err != nil {
		return err
	}
	defer client.CloseDeadline(time.Now().Add(probeLimit))
	if name := client.Properties["cluster_name"]; cluster != "" && name != cluster {
		return fmt.Errorf("the cluster %q answers at %s instead of %q", name, client.RemoteAddr(), cluster)
	}
	return nil
}
