package redis

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

// parsed reads a URL as it is written in a configuration.
func parsed(t *testing.T, address string) (target, settings, error) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parse(u)
}

func TestEveryFormOfTheURLIsRead(t *testing.T) {
	for address, want := range map[string]target{
		"redis://":                                        {addresses: []string{"localhost:6379"}},
		"redis://example.org":                             {addresses: []string{"example.org:6379"}},
		"redis://:7000":                                   {addresses: []string{"localhost:7000"}},
		"redis://[::1]:7000/3":                            {addresses: []string{"[::1]:7000"}, database: 3},
		"redis://[::1]":                                   {addresses: []string{"[::1]:6379"}},
		"resque://example.org:7000/":                      {addresses: []string{"example.org:7000"}},
		"redis://ann:p%40%2Fss@example.org/2":             {addresses: []string{"example.org:6379"}, user: "ann", password: "p@/ss", database: 2},
		"redis://:secret@example.org?db=4":                {addresses: []string{"example.org:6379"}, password: "secret", database: 4},
		"redis://h?pool=5&client_name=app":                {addresses: []string{"h:6379"}, pool: 5, name: "app"},
		"redis+unix:///run/redis.sock":                    {addresses: []string{"/run/redis.sock"}},
		"redis+unix://ann:secret@/run/redis.sock?db=2":    {addresses: []string{"/run/redis.sock"}, user: "ann", password: "secret", database: 2},
		"redis+sentinel://a,b:7000,c:7001/mymaster":       {addresses: []string{"a:26379", "b:7000", "c:7001"}, master: "mymaster"},
		"redis+sentinel://:secret@a:1/mymaster/3":         {addresses: []string{"a:1"}, master: "mymaster", password: "secret", database: 3},
		"redis+sentinel://a:1/m?sentinel_username=s":      {addresses: []string{"a:1"}, master: "m", sentinelUser: "s"},
		"redis+sentinel://a:1/m?sentinel_password=secret": {addresses: []string{"a:1"}, master: "m", sentinelPass: "secret"},
		"redis+cluster://a:1,b:2,c:3":                     {addresses: []string{"a:1", "b:2", "c:3"}},
		"redis+cluster://a:1,b:2/":                        {addresses: []string{"a:1", "b:2"}},
	} {
		want.dialing, want.reading, want.writing = 3*time.Second, 3*time.Second, 3*time.Second
		got, _, err := parsed(t, address)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", address, got, err, want)
		}
	}
}

func TestTheParametersOfTheURLAreRead(t *testing.T) {
	got, s, err := parsed(t, "redis://h?namespace=app&lease=1m&delayed=resque&allow_eviction=1&dial_timeout=1s&read_timeout=2s&write_timeout=4s")
	if err != nil {
		t.Fatal(err)
	}
	if want := (settings{namespace: "app", lease: time.Minute, resqueDelayed: true, allowEviction: true}); s != want {
		t.Errorf("the settings are %+v, want %+v", s, want)
	}
	if got.dialing != time.Second || got.reading != 2*time.Second || got.writing != 4*time.Second {
		t.Errorf("the timeouts are %v, %v and %v", got.dialing, got.reading, got.writing)
	}
	if _, s, err := parsed(t, "redis://h?delayed=gofer"); err != nil || s != (settings{}) {
		t.Errorf("the defaults are %+v, %v", s, err)
	}
}

func TestAURLThatIsWrongSaysHow(t *testing.T) {
	for address, says := range map[string]string{
		"redis://h?nmespace=a":              "namespace", // among those that are known
		"redis://h?db=one":                  "db",
		"redis://h?db=-1":                   "negative",
		"redis://h?pool=-1":                 "negative",
		"redis://h?lease=30":                "lease",
		"redis://h?read_timeout=0s":         "read_timeout",
		"redis://h?delayed=ruby":            "delayed",
		"redis://h?allow_eviction=perhaps":  "allow_eviction",
		"redis://h/one":                     "database",
		"redis://h/-1":                      "database",
		"redis://h/1/2":                     "database",
		"redis://h:1,i:2":                   "redis+cluster://",
		"redis://h:0":                       "65535",
		"redis+sentinel://a,/mymaster":      "empty",
		"redis+cluster://a,b,a:6379":        "stands twice",
		"redis://h#fragment":                "fragment",
		"redis+unix://run/redis.sock":       "three slashes",
		"redis+unix://":                     "three slashes",
		"redis+sentinel://h:26379":          "mymaster",
		"redis+sentinel://h:26379/":         "mymaster",
		"redis+cluster://h:1/2":             "no databases",
		"redis+cluster://h:1?db=2":          "no databases",
		"redis://h?tls_ca=ca.pem":           "rediss://",
		"redis://h?tls_server_name=h":       "rediss://",
		"rediss://h?tls=false":              "leave tls=false out",
		"rediss://h?tls_ca=/nowhere/ca.pem": "tls_ca",
	} {
		address = strings.Replace(address, "://", "://ann:geheim@", 1)
		_, _, err := parsed(t, address)
		if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want ErrInvalid and %q", address, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: the error shows the password: %v", address, err)
		}
	}
}

func TestTLSIsUsedWhereTheURLAsksForIt(t *testing.T) {
	for address, want := range map[string]string{
		"redis://h": "none", "redis://h?tls=true&tls_server_name=example.org": "example.org", "rediss://h": "",
		"rediss://h?tls_server_name=example.org": "example.org", "redis+sentinel://h:1/m?tls=true": "", "redis+cluster://h:1?tls=1": "",
		"redis+cluster://h:1": "none",
	} {
		target, _, err := parsed(t, address)
		got := "none"
		if target.tls != nil {
			got = target.tls.ServerName
		}
		if err != nil || got != want || target.tls != nil && target.tls.InsecureSkipVerify {
			t.Errorf("%s: got %q, %v, want %q", address, got, err, want)
		}
	}
}
