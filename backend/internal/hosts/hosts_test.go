package hosts_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/hosts"
)

func TestHostsHaveTheirPortOrTheOneThatIsGiven(t *testing.T) {
	for list, want := range map[string][]string{
		"":                     {"localhost:5672"},
		":7000":                {"localhost:7000"},
		"example.org":          {"example.org:5672"},
		"example.org:7000":     {"example.org:7000"},
		"127.0.0.1":            {"127.0.0.1:5672"},
		"::1":                  {"[::1]:5672"},
		"[::1]":                {"[::1]:5672"},
		"[::1]:7000":           {"[::1]:7000"},
		"[fe80::1%eth0]":       {"[fe80::1%eth0]:5672"},
		"a,b:7000,[::1]":       {"a:5672", "b:7000", "[::1]:5672"},
		"a,a:2":                {"a:5672", "a:2"},
		"a:1,b:65535":          {"a:1", "b:65535"},
		"[2001:db8::1]:1,h:10": {"[2001:db8::1]:1", "h:10"},
	} {
		got, err := hosts.WithPorts(strings.Split(list, ","), "5672")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", list, got, err, want)
		}
	}
}

func TestHostsThatAreWrongAreRefused(t *testing.T) {
	for list, says := range map[string]string{
		"a,,b":          "empty",
		"a,":            "empty",
		",":             "empty",
		",:7000":        "empty",
		"a,[]":          "empty",
		"h:":            "65535",
		"h:0":           "65535",
		"h:65536":       "65535",
		"h:-1":          "65535",
		"a:b,c:1":       "65535",
		"a:1,b:2,a:1":   "a:1 stands twice",
		"a,a:5672":      "a:5672 stands twice",
		"[::1],::1":     "[::1]:5672 stands twice",
		"[::1]:70000,h": "65535",
	} {
		got, err := hosts.WithPorts(strings.Split(list, ","), "5672")
		if got != nil || !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, %v, want ErrInvalid and %q", list, got, err, says)
		}
	}
	if got, err := hosts.WithPorts(nil, "5672"); got != nil || !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("no hosts: got %v, %v, want ErrInvalid", got, err)
	}
}
