package backend

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Opener connects to the broker that u names. It refuses parameters that it
// does not know; [Params] does that for it. Its errors must not tell anything
// of u's user information.
type Opener func(ctx context.Context, u *url.URL) (Backend, error)

// Registry maps the schemes of URLs to drivers. The zero value is empty and
// ready for use. It is safe for concurrent use.
type Registry struct {
	mu      sync.RWMutex
	openers map[string]Opener // guarded by mu
}

// DefaultRegistry is the one that [Register] and [Open] use.
var DefaultRegistry = new(Registry)

// Register makes a driver known under a scheme of [DefaultRegistry]. Drivers
// call it from init, so that importing one is enough to use it.
func Register(scheme string, open Opener) { DefaultRegistry.Register(scheme, open) }

// Open connects to the broker of rawURL by [DefaultRegistry].
func Open(ctx context.Context, rawURL string) (Backend, error) {
	return DefaultRegistry.Open(ctx, rawURL)
}

// Register makes a driver known under a scheme. It panics when open is nil or
// the scheme is empty or taken.
func (r *Registry) Register(scheme string, open Opener) {
	if open == nil {
		panic("backend: Register of scheme " + scheme + " with a nil Opener")
	}
	if scheme == "" {
		panic("backend: Register with an empty scheme")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.openers[scheme]; taken {
		panic("backend: Register called twice for scheme " + scheme)
	}
	if r.openers == nil {
		r.openers = make(map[string]Opener)
	}
	r.openers[scheme] = open
}

// Schemes returns the known schemes, sorted.
func (r *Registry) Schemes() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.openers))
}

// Open connects to the broker of rawURL. A URL that cannot be used is an
// error that wraps [ErrInvalid] and that repeats nothing of the URL but its
// scheme and, when a driver was found, what [Redact] leaves: a password may
// stand anywhere in a URL that does not parse.
func (r *Registry) Open(ctx context.Context, rawURL string) (Backend, error) {
	scheme, _, found := strings.Cut(rawURL, "://")
	if !found || !isScheme(scheme) {
		return nil, fmt.Errorf("%w: the queue's URL has no scheme; write one such as memory:// (known: %s)", ErrInvalid, r.known())
	}
	scheme = strings.ToLower(scheme)
	r.mu.RLock()
	open := r.openers[scheme]
	r.mu.RUnlock()
	if open == nil {
		return nil, fmt.Errorf("%w: unknown scheme %q (forgotten import of the driver? known: %s)", ErrInvalid, scheme, r.known())
	}
	// The error of url.Parse is dropped: it quotes the URL, password included.
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: the %s:// URL does not parse; percent-encode the special characters of user, password and parameters", ErrInvalid, scheme)
	}
	b, err := open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", Redact(u), err)
	}
	return b, nil
}

func (r *Registry) known() string {
	schemes := r.Schemes()
	if len(schemes) == 0 {
		return "none"
	}
	return strings.Join(schemes, ", ")
}

func isScheme(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return s != ""
}

// Redact returns u's scheme, host and path, without user information,
// parameters and fragment, any of which may hold a secret.
func Redact(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, OmitHost: u.OmitHost}).String()
}
