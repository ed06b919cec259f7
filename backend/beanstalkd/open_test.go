package beanstalkd

import (
	"context"
	"errors"
	"math"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

// parsed reads a URL as it is written in a configuration.
func parsed(t *testing.T, address string) ([]string, settings, error) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parse(u)
}

func TestEveryFormOfTheURLIsRead(t *testing.T) {
	for address, want := range map[string][]string{
		"beanstalkd://":                       {"localhost:11300"},
		"beanstalkd:///":                      {"localhost:11300"},
		"beanstalkd://example.org":            {"example.org:11300"},
		"beanstalkd://example.org/":           {"example.org:11300"},
		"beanstalkd://:7000":                  {"localhost:7000"},
		"beanstalkd://[::1]":                  {"[::1]:11300"},
		"beanstalkd://[::1]:7000":             {"[::1]:7000"},
		"beanstalkd://a,b":                    {"a:11300", "b:11300"},
		"beanstalkd://a:1,b:2,c:3/":           {"a:1", "b:2", "c:3"},
		"beanstalkd://a,a:2":                  {"a:11300", "a:2"},
		"beanstalkd://a?lease=30s":            {"a:11300"},
		"beanstalkd://a:1,b:65535?timeout=3s": {"a:1", "b:65535"},
	} {
		got, s, err := parsed(t, address)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", address, got, err, want)
		}
		if want := (settings{timeout: 3 * time.Second, lease: 30 * time.Second}); s != want {
			t.Errorf("%s: the settings are %+v, want %+v", address, s, want)
		}
	}
}

func TestTheParametersOfTheURLAreRead(t *testing.T) {
	for address, want := range map[string]settings{
		"beanstalkd://h?lease=1m30s&timeout=500ms": {lease: 90 * time.Second, timeout: 500 * time.Millisecond},
		"beanstalkd://h?lease=1s":                  {lease: time.Second, timeout: defaultTimeout},
		"beanstalkd://h?lease=4294967295s":         {lease: math.MaxUint32 * time.Second, timeout: defaultTimeout},
	} {
		if _, s, err := parsed(t, address); err != nil || s != want {
			t.Errorf("%s: got %+v, %v, want %+v", address, s, err, want)
		}
	}
}

func TestAURLThatIsWrongSaysHow(t *testing.T) {
	for address, says := range map[string]string{
		"beanstalkd://h?lese=30s":          "lease", // among those that are known
		"beanstalkd://h?lease=30":          "lease",
		"beanstalkd://h?lease=500ms":       "at least 1s",
		"beanstalkd://h?lease=1500ms":      "whole seconds",
		"beanstalkd://h?lease=-1s":         "at least 1s",
		"beanstalkd://h?lease=4294967296s": "at most 4294967295s",
		"beanstalkd://h?timeout=0s":        "timeout",
		"beanstalkd://h?timeout=-1s":       "timeout",
		"beanstalkd://h?timeout=soon":      "timeout",
		"beanstalkd://h?lease=1s&lease=2s": "twice",
		"beanstalkd://geheim@h":            "neither users nor passwords",
		"beanstalkd://ann:geheim@h":        "neither users nor passwords",
		"beanstalkd://:geheim@h:11300?x=1": "unknown parameter",
		"beanstalkd://h/jobs":              "no path",
		"beanstalkd:h":                     "no path",
		"beanstalkd://h#fragment":          "fragment",
		"beanstalkd://a,a:11300":           "stands twice",
		"beanstalkd://a,,b":                "empty",
		"beanstalkd://h:0":                 "65535",
	} {
		_, _, err := parsed(t, address)
		if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want ErrInvalid and %q", address, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: the error shows the password: %v", address, err)
		}
	}
}

func TestNewRefusesWhatAURLMayNotSay(t *testing.T) {
	for what, c := range map[string]struct {
		addresses []string
		options   []Option
	}{
		"no address":              {nil, nil},
		"an address twice":        {[]string{"a", "a:11300"}, nil},
		"an address that is none": {[]string{"a:b"}, nil},
		"a lease of no second":    {[]string{"a"}, []Option{Lease(time.Millisecond)}},
		"no timeout":              {[]string{"a"}, []Option{Timeout(0)}},
	} {
		if b, err := New(t.Context(), c.addresses, c.options...); b != nil || !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("%s: got %v, %v, want ErrInvalid", what, b, err)
		}
	}
}

// silent returns the address of a server that takes connections and says
// nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestOpenFailsWhenNoServerAnswers(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	addresses := []string{gone.Addr().String(), silent(t)}
	_, err = backend.Open(t.Context(), "beanstalkd://"+strings.Join(addresses, ",")+"?timeout=100ms")
	if !errors.Is(err, backend.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	for _, address := range addresses {
		if !strings.Contains(err.Error(), "beanstalkd at "+address) {
			t.Errorf("the error does not tell of %s: %v", address, err)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := New(ctx, []string{silent(t)}, Timeout(time.Hour))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 500*time.Millisecond {
		t.Errorf("got %v after %v, want the error of the context at once", err, time.Since(start))
	}
}

func TestNamesThatATubeMayNotHaveAreRefused(t *testing.T) {
	for _, name := range []string{"", "-a", "a b", "a:b", "grün", "gofer.", "gofer.paused.a", strings.Repeat("a", 201)} {
		if err := checkQueue(name); !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("%.20q: got %v, want ErrInvalid", name, err)
		}
	}
	for _, name := range []string{"default", "a-b_c.d/e+f", "gofer", "gofers", strings.Repeat("a", 200)} {
		if err := checkQueue(name); err != nil {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}

func TestTheTubeOfAMarkerHasANameThatATubeMayHave(t *testing.T) {
	long := strings.Repeat("a", 199)
	names := []string{markerTube("a"), markerTube(long + "a"), markerTube(long + "b")}
	if names[0] != "gofer.paused.a" || names[1] == names[2] {
		t.Errorf("got %q", names)
	}
	for _, name := range names {
		if backend.CheckQueueName(name) != nil || checkQueue(name) == nil {
			t.Errorf("%q is no name of a tube, or one of a queue", name)
		}
	}
}
