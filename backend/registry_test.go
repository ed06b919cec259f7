package backend_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/goferhq/queue/backend"
)

// fake is a backend that does nothing.
type fake struct{ backend.Backend }

func openFake(context.Context, *url.URL) (backend.Backend, error) { return fake{}, nil }

func TestOpenHandsTheURLToTheDriverOfItsScheme(t *testing.T) {
	var r backend.Registry
	var got *url.URL
	r.Register("redis+sentinel", func(_ context.Context, u *url.URL) (backend.Backend, error) {
		got = u
		return fake{}, nil
	})
	r.Register("other", openFake)
	b, err := r.Open(t.Context(), "Redis+Sentinel://ann:p%40ss@h1:26379,h2:26379/main?pool=3")
	if _, ok := b.(fake); !ok || err != nil {
		t.Fatalf("Open = %v, %v", b, err)
	}
	password, _ := got.User.Password()
	if got.Scheme != "redis+sentinel" || password != "p@ss" || got.Host != "h1:26379,h2:26379" || got.Path != "/main" || got.RawQuery != "pool=3" {
		t.Errorf("the driver got %#v", got)
	}
}

func TestUnknownSchemeSuggestsTheForgottenImport(t *testing.T) {
	var r backend.Registry
	_, err := r.Open(t.Context(), "redis://localhost")
	wantError(t, err, `unknown scheme "redis"`, "forgotten import", "known: none")

	r.Register("memory", openFake)
	r.Register("amqp", openFake)
	_, err = r.Open(t.Context(), "redis://localhost")
	wantError(t, err, `unknown scheme "redis"`, "forgotten import", "known: amqp, memory")
	_, err = r.Open(t.Context(), "localhost:6379")
	wantError(t, err, "has no scheme", "known: amqp, memory")
	if got := r.Schemes(); !slices.Equal(got, []string{"amqp", "memory"}) {
		t.Errorf("Schemes = %q", got)
	}
}

func TestRegisterPanicsOnAProgrammersMistake(t *testing.T) {
	var r backend.Registry
	r.Register("redis", openFake)
	for name, register := range map[string]func(){
		"twice":           func() { r.Register("redis", openFake) },
		"no opener":       func() { r.Register("amqp", nil) },
		"empty scheme":    func() { r.Register("", openFake) },
		"capitals":        func() { r.Register("AMQP", openFake) },
		"with separators": func() { r.Register("amqp://", openFake) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			register()
		})
	}
	if got := r.Schemes(); !slices.Equal(got, []string{"redis"}) {
		t.Errorf("Schemes = %q", got)
	}
}

func TestErrorOfADriverIsWrapped(t *testing.T) {
	var r backend.Registry
	r.Register("redis", func(context.Context, *url.URL) (backend.Backend, error) {
		return fake{}, backend.ErrUnavailable
	})
	b, err := r.Open(t.Context(), "redis://ann:canary@localhost:6379/0?x=canary#canary")
	if want := "open redis://localhost:6379/0: " + backend.ErrUnavailable.Error(); !errors.Is(err, backend.ErrUnavailable) || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if b != nil {
		t.Errorf("a backend came with the error: %v", b)
	}
}

// A password may stand anywhere in a URL that a person has written by hand.
func TestPasswordNeverReachesAnError(t *testing.T) {
	var r backend.Registry
	r.Register("redis", func(_ context.Context, u *url.URL) (backend.Backend, error) {
		p := backend.NewParams(u)
		p.Int("pool", 1)
		if err := p.Err(); err != nil {
			return nil, err
		}
		return nil, backend.ErrUnavailable
	})
	for _, rawURL := range []string{
		"redis://ann:canary@host", "redis://:canary@host", "redis://canary@host", "redis://canary:@host:1/2",
		"redis://ann:canary@host:port", "redis://ann:canary@host:99999999", "redis://host:canary", "redis://ann:canary@[::1",
		"redis://ann:canary@ho st", "redis://ann:can%ary@host", "redis://ann:canary%zz@host", "redis://ann:canary@h%zz",
		"redis://ann:ca\x00nary@host", "redis://ann:canary\n@host", "redis://ann:canary@host\x7f", "redis://ann:canary é@host",
		"redis://ann:p@canary@host", "redis://ann:canary@p@host", "redis://ann:canary:x@host:1:2",
		"redis://ann:canary/x@host", "redis://ann:1/canary@host", "redis://ann:1/x/canary@host:6379/0", "redis://p@1/canary@host",
		"redis://ann:1?canary@host", "redis://ann:1?x=canary@host", "redis://ann:1#canary@host", "redis://ann:1/#canary@host", "redis://ann:1/?#canary@host",
		"redis://host?password=canary", "redis://host?pool=canary", "redis://host?canary", "redis://host?password=a&canary", "redis://host?canary=",
		"redis://host?password=canary;x", "redis://host?password=%canary", "redis://host?pool=1&pool=canary", "redis://host#canary", "redis://host/#canary",
		"ann:canary@host", "ann:canary@host:6379/0", ":canary@host", "canary", "//ann:canary@host", "://ann:canary@host", " redis://ann:canary@host",
		"redis:canary@host", "redis:/ann:canary@host", "redis//ann:canary@host", "re dis://ann:canary@host", "redis:ann:canary://host",
		"canary@host://x", "1redis://canary@host", "unknown://ann:canary@host", "", "redis://", "%canary://x",
	} {
		b, err := r.Open(t.Context(), rawURL)
		if b != nil || err == nil {
			t.Errorf("Open(%q) = %v, %v, want an error", rawURL, b, err)
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("Open(%q) tells the password: %v", rawURL, err)
		}
		if !errors.Is(err, backend.ErrInvalid) && !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Open(%q) = %v, which is neither ErrInvalid nor of the driver", rawURL, err)
		}
	}
}

func TestAtBehindTheHostMustBeEscaped(t *testing.T) {
	var r backend.Registry
	r.Register("redis", openFake)
	for _, rawURL := range []string{"redis://ann:1/x@host", "redis://ann:1?x@host", "redis://ann:1#x@host", "redis://host/a@b", "redis://host?x=a@b"} {
		if _, err := r.Open(t.Context(), rawURL); !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("Open(%q) = %v, want ErrInvalid", rawURL, err)
		}
	}
	for _, rawURL := range []string{"redis://ann:p@ss@host", "redis://host/a%40b", "redis://host?x=a%40b", "redis://host#a%40b"} {
		if _, err := r.Open(t.Context(), rawURL); err != nil {
			t.Errorf("Open(%q) = %v", rawURL, err)
		}
	}
}

func TestRedactShowsNothingButSchemeHostAndPath(t *testing.T) {
	for rawURL, want := range map[string]string{
		"redis://ann:canary@host:6379/0?tls=canary#canary": "redis://host:6379/0",
		"memory://":                          "memory://",
		"redis+unix:///run/redis.sock?db=1":  "redis+unix:///run/redis.sock",
		"amqp://canary@h1:5672,h2:5672/%2Fa": "amqp://h1:5672,h2:5672/%2Fa",
		"redis://ann:1/canary@host":          "redis://",
		"redis://ann:1?canary@host":          "redis://",
		"amqp://host/a%40b":                  "amqp://host/a%40b",
	} {
		u, err := url.Parse(rawURL)
		if err != nil {
			t.Fatal(err)
		}
		if got := backend.Redact(u); got != want {
			t.Errorf("Redact(%s) = %s, want %s", rawURL, got, want)
		}
	}
}

// wantError fails t unless err is an ErrInvalid whose text has every part.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q, want %q in it", err, part)
		}
	}
}
