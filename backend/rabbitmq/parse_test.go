package rabbitmq

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// parsed reads a URL as it is written in a configuration.
func parsed(t *testing.T, address string) (settings, error) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parse(u)
}

func TestEveryFormOfTheHostsIsRead(t *testing.T) {
	for address, want := range map[string][]string{
		"amqp://":                        {"localhost:5672"},
		"amqp:///mail":                   {"localhost:5672"},
		"amqp://example.org":             {"example.org:5672"},
		"amqp://example.org/":            {"example.org:5672"},
		"amqp://:7000":                   {"localhost:7000"},
		"amqp://ann:secret@:7000/mail":   {"localhost:7000"},
		"amqp://127.0.0.1":               {"127.0.0.1:5672"},
		"amqp://[::1]":                   {"[::1]:5672"},
		"amqp://[::1]:7000":              {"[::1]:7000"},
		"amqp://a,b":                     {"a:5672", "b:5672"},
		"amqp://a,b:7000":                {"a:5672", "b:7000"},
		"amqp://a:1,b:65535,c:3/mail":    {"a:1", "b:65535", "c:3"},
		"amqp://a,a:2":                   {"a:5672", "a:2"},
		"amqps://":                       {"localhost:5671"},
		"amqps://example.org/mail":       {"example.org:5671"},
		"amqps://a,b:5672":               {"a:5671", "b:5672"},
		"amqps://ann:secret@a:1,b:2/%2F": {"a:1", "b:2"},
	} {
		s, err := parsed(t, address)
		if err != nil || !slices.Equal(s.hosts, want) {
			t.Errorf("%s: got %v, %v, want %v", address, s.hosts, err, want)
		}
	}
}

func TestWhatAURLDoesNotSayHasItsDefault(t *testing.T) {
	for _, scheme := range []string{"amqp", "amqps"} {
		s, err := parsed(t, scheme+"://")
		if err != nil {
			t.Fatal(err)
		}
		if (s.tls != nil) != (scheme == "amqps") {
			t.Errorf("%s: whether it speaks TLS is %t", scheme, s.tls != nil)
		}
		if s.tls != nil && (s.tls.InsecureSkipVerify || s.tls.ServerName != "" || s.tls.RootCAs != nil || s.tls.Certificates != nil) {
			t.Errorf("%s: the settings of TLS are not those of the system: %+v", scheme, s.tls)
		}
		if s.user != "guest" || s.password != "guest" || s.vhost != "/" || s.name != filepath.Base(os.Args[0]) {
			t.Errorf("%s: it is %q with %q for %q, named %q", scheme, s.user, s.password, s.vhost, s.name)
		}
		if s.timeout != 5*time.Second || s.heartbeat != 10*time.Second || s.classic || s.maxPriority != 0 {
			t.Errorf("%s: the timeout is %v, the heartbeat %v, classic %t, the highest priority %d", scheme, s.timeout, s.heartbeat, s.classic, s.maxPriority)
		}
	}
}

func TestTheParametersOfTheURLAreRead(t *testing.T) {
	s, err := parsed(t, "amqps://h?type=classic&max-priority=7&timeout=1m30s&heartbeat=15s&connection_name=mailer&tls_server_name=example.org")
	if err != nil {
		t.Fatal(err)
	}
	if !s.classic || s.maxPriority != 7 || s.timeout != 90*time.Second || s.heartbeat != 15*time.Second || s.name != "mailer" || s.tls.ServerName != "example.org" {
		t.Errorf("got %+v", s)
	}
	for address, want := range map[string]settings{
		"amqp://h?timeout=1ns":                    {timeout: 1, heartbeat: defaultHeartbeat},
		"amqp://h?heartbeat=1s":                   {timeout: defaultTimeout, heartbeat: time.Second},
		"amqp://h?type=classic":                   {timeout: defaultTimeout, heartbeat: defaultHeartbeat, classic: true},
		"amqp://h?type=classic&max-priority=255":  {timeout: defaultTimeout, heartbeat: defaultHeartbeat, classic: true, maxPriority: 255},
		"amqp://h?connection_name=&heartbeat=30s": {timeout: defaultTimeout, heartbeat: 30 * time.Second},
	} {
		s, err := parsed(t, address)
		if err != nil || s.timeout != want.timeout || s.heartbeat != want.heartbeat || s.classic != want.classic || s.maxPriority != want.maxPriority {
			t.Errorf("%s: got %+v, %v, want %+v", address, s, err, want)
		}
	}
}
