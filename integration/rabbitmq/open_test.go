package rabbitmq_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

func TestAnUnknownParameterIsAnErrorThatListsTheKnownOnes(t *testing.T) {
	t.Parallel()
	_, err := backend.Open(t.Context(), with(place(t), "lease", "30s"))
	if !errors.Is(err, backend.ErrInvalid) {
		t.Fatalf("Open: %v; want %v", err, backend.ErrInvalid)
	}
	for _, name := range []string{"lease", "type", "max-priority", "timeout", "heartbeat", "connection_name"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("Open: %v; want that it names %s", err, name)
		}
	}
}

func TestParametersThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	address := place(t)
	for _, parameters := range [][]string{
		{"type", "stream"}, {"type", ""}, {"type", "Quorum"},
		{"max-priority", "10"}, // quorum queues have none
		{"type", "quorum", "max-priority", "10"},
		{"type", "classic", "max-priority", "0"}, {"type", "classic", "max-priority", "-1"}, {"type", "classic", "max-priority", "256"},
		{"type", "classic", "max-priority", "many"},
		{"timeout", "5"}, {"timeout", "0s"}, {"timeout", "-1s"}, {"heartbeat", "-1s"}, {"heartbeat", "often"},
		{"tls_ca", "/no/such/file"}, // without TLS
		{"tls_server_name", "example.com"},
	} {
		b, err := backend.Open(t.Context(), with(address, parameters...))
		if err == nil {
			b.Close()
		}
		if !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("Open with %q: %v; want %v", parameters, err, backend.ErrInvalid)
		}
	}
}

func TestParametersThatCanBeAreTaken(t *testing.T) {
	t.Parallel()
	address := place(t)
	for _, c := range []struct {
		parameters []string
		most       int
	}{
		{nil, 0},
		{[]string{"type", "quorum"}, 0},
		{[]string{"type", "classic"}, 0},
		{[]string{"type", "classic", "max-priority", "1"}, 1},
		{[]string{"type", "classic", "max-priority", "255"}, 255},
		{[]string{"timeout", "1s", "heartbeat", "1s", "connection_name", "the name & more"}, 0},
	} {
		b, err := backend.Open(t.Context(), with(address, c.parameters...))
		if err != nil {
			t.Errorf("Open with %q: %v", c.parameters, err)
			continue
		}
		if limits := backend.LimitsOf(b); limits.MinPriority != 0 || limits.MaxPriority != c.most {
			t.Errorf("with %q the priorities are %d to %d, want 0 to %d", c.parameters, limits.MinPriority, limits.MaxPriority, c.most)
		}
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func TestAConnectionHasItsName(t *testing.T) {
	t.Parallel()
	address := with(place(t), "connection_name", "mailer of the tests")
	b, err := backend.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if names := shared.control("list_connections", "client_properties"); !strings.Contains(names, "mailer of the tests") {
		t.Errorf("the connections are %q", names)
	}
}

// The errors of Open reach logs and web pages.
func TestNoErrorShowsThePassword(t *testing.T) {
	t.Parallel()
	const secret, encoded = "s3cr3t@word", "s3cr3t%40word"
	server, err := url.Parse(place(t))
	if err != nil {
		t.Fatal(err)
	}
	dead := deadAddress(t)
	user := "amqp://guest:" + encoded + "@"
	for name, address := range map[string]string{
		"a wrong password":             user + server.Host + server.Path,
		"a dead host":                  user + dead + "/",
		"two dead hosts":               user + dead + "," + dead + "/",
		"a host that does not speak":   strings.Replace(user, "amqp:", "amqps:", 1) + server.Host + "/",
		"a port that is none":          user + "localhost:port/",
		"a port that is too large":     user + "localhost:99999/",
		"no host":                      user + "/",
		"an escape that is none":       user + "localhost/%zz",
		"a character that is none":     user + "local host/",
		"an unknown parameter":         user + server.Host + "/?lease=" + encoded,
		"a parameter that cannot be":   user + server.Host + "/?timeout=" + encoded,
		"a parameter that is no pair":  user + server.Host + "/?" + encoded,
		"a type that is none":          user + server.Host + "/?type=" + encoded,
		"a password with a line break": "amqp://guest:" + encoded + "\n@" + server.Host + "/",
	} {
		for _, open := range []func(context.Context) error{
			func(ctx context.Context) error {
				b, err := backend.Open(ctx, address)
				if err == nil {
					b.Close()
				}
				return err
			},
			func(ctx context.Context) error {
				q, err := queue.Open(ctx, address)
				if err == nil {
					q.Close()
				}
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			err := open(ctx)
			cancel()
			if err == nil {
				t.Errorf("%s: Open succeeds", name)
				continue
			}
			if text := err.Error(); strings.Contains(text, "s3cr3t") {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
}

func TestAHostThatIsDownIsUnavailable(t *testing.T) {
	t.Parallel()
	_, err := backend.Open(t.Context(), "amqp://guest:guest@"+deadAddress(t)+"/")
	if !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Open: %v; want %v", err, backend.ErrUnavailable)
	}
}

func TestOfSeveralHostsOneThatIsUpIsEnough(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(place(t))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = deadAddress(t) + "," + u.Host + "," + deadAddress(t)
	b, err := backend.Open(t.Context(), u.String())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	b.Close()
}

func TestAVirtualHostThatDoesNotExistIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	address := strings.Replace(place(t), "/place-", "/elsewhere-", 1)
	b, err := backend.Open(t.Context(), address)
	if err == nil {
		b.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "elsewhere-") {
		t.Errorf("Open: %v; want an error that names the virtual host", err)
	}
}

// deadAddress is one at which nobody listens.
func deadAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
