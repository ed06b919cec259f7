package backend

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
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

// Register makes a driver known under a scheme. It panics when open is nil, or
// the scheme is taken or not one that a URL can have, in lower case.
func (r *Registry) Register(scheme string, open Opener) {
	if open == nil {
		panic("backend: Register of scheme " + scheme + " with a nil Opener")
	}
	if !isScheme(scheme) || scheme != strings.ToLower(scheme) {
		panic("backend: Register of " + strconv.Quote(scheme) + ", which is not a scheme in lower case")
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
//
// An @ behind the host must be written %40. One that is not is taken for a
// password with a / ? or # that should have been percent-encoded: net/url
// would read a part of the password as the host, and a log would show it.
func (r *Registry) Open(ctx context.Context, rawURL string) (Backend, error) {
	scheme, _, found := strings.Cut(rawURL, "://")
	if !found || !isScheme(scheme) {
		return nil, fmt.Errorf("%w: the queue's URL has no scheme; write one such as memory:// (known: %s)", ErrInvalid, list(r.Schemes()))
	}
	scheme = strings.ToLower(scheme)
	r.mu.RLock()
	open := r.openers[scheme]
	r.mu.RUnlock()
	if open == nil {
		return nil, fmt.Errorf("%w: unknown scheme %q (forgotten import of the driver? known: %s)", ErrInvalid, scheme, list(r.Schemes()))
	}
	// The error of url.Parse is dropped: it quotes the URL, password included.
	u, err := url.Parse(rawURL)
	if err != nil || isMisread(u) {
		return nil, fmt.Errorf("%w: the %s:// URL does not parse; percent-encode the special characters of user, password and parameters, and give each of several hosts its port", ErrInvalid, scheme)
	}
	b, err := open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", Redact(u), err)
	}
	return b, nil
}

// list returns names for a person to read.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
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

// isMisread reports whether u has an @ where it ends a password that was not
// percent-encoded, as in redis://user:1/x@host.
func isMisread(u *url.URL) bool {
	return strings.Contains(u.EscapedPath(), "@") || strings.Contains(u.RawQuery, "@") || strings.Contains(u.EscapedFragment(), "@")
}

// Redact returns u's scheme, host and path, without user information,
// parameters and fragment, any of which may hold a secret. Of a URL that Open
// would refuse for a misplaced @ it returns the scheme alone.
func Redact(u *url.URL) string {
	if isMisread(u) {
		return u.Scheme + "://"
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}
