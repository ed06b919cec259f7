package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
)

// reply is an error that a server has sent.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func living(t *testing.T) *Backend {
	b := new(Backend)
	b.life, b.die = context.WithCancel(context.Background())
	t.Cleanup(b.die)
	return b
}

func TestErrorsTellWhetherTheServerMayHaveActed(t *testing.T) {
	b := living(t)
	for name, c := range map[string]struct {
		err      error
		sentinel error // nil for none
		open     bool
	}{
		"nobody listens":                {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, backend.ErrUnavailable, false},
		"its certificate is not valid":  {&tls.CertificateVerificationError{Err: errors.New("expired")}, backend.ErrUnavailable, false},
		"it does not answer in TLS":     {context.DeadlineExceeded, backend.ErrUnavailable, false},
		"it does not speak TLS":         {tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, backend.ErrUnavailable, false},
		"no connection is free":         {goredis.ErrPoolTimeout, backend.ErrUnavailable, false},
		"the server loads its data":     {reply("LOADING Redis is loading the dataset in memory"), backend.ErrUnavailable, false},
		"it is a replica":               {reply("READONLY You can't write against a read only replica."), backend.ErrUnavailable, false},
		"its memory is full":            {reply("OOM command not allowed when used memory > 'maxmemory'."), backend.ErrUnavailable, false},
		"it cannot save":                {reply("MISCONF Redis is configured to save RDB snapshots"), backend.ErrUnavailable, false},
		"the password is wrong":         {reply("WRONGPASS invalid username-password pair or user is disabled."), backend.ErrUnavailable, false},
		"a password is missing":         {reply("NOAUTH Authentication required."), backend.ErrUnavailable, false},
		"a script runs":                 {reply("BUSY Redis is busy running a script."), backend.ErrUnavailable, false},
		"another reply":                 {reply("WRONGTYPE Operation against a key holding the wrong kind of value"), nil, false},
		"the connection broke":          {io.EOF, nil, true},
		"the reply did not come":        {&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, nil, true},
		"the request may not have gone": {&net.OpError{Op: "write", Err: errors.New("broken pipe")}, nil, true},
	} {
		err := b.explain(c.err)
		if c.sentinel != nil && !errors.Is(err, c.sentinel) || c.sentinel == nil && errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", name, err, c.sentinel)
		}
		if !errors.Is(err, c.err) {
			t.Errorf("%s: the error is hidden in %v", name, err)
		}
		if isOpen(err) != c.open {
			t.Errorf("%s: isOpen is %t", name, !c.open)
		}
	}
	if err := b.explain(nil); err != nil || isOpen(nil) {
		t.Errorf("no error became %v", err)
	}
	b.die()
	if err := b.explain(io.EOF); !errors.Is(err, backend.ErrClosed) || isOpen(err) {
		t.Errorf("after Close an error became %v", err)
	}
}

func TestARequestWhoseReplyWasLostIsMadeAgain(t *testing.T) {
	b := living(t)
	for name, c := range map[string]struct {
		replies []error // of each try
		tries   int
		err     error
	}{
		"it came":                        {[]error{nil}, 1, nil},
		"it was lost once":               {[]error{io.EOF, nil}, 2, nil},
		"it was lost each time":          {[]error{io.EOF, io.EOF, io.EOF, io.ErrUnexpectedEOF}, 4, io.ErrUnexpectedEOF},
		"it was refused":                 {[]error{backend.ErrUnavailable}, 1, backend.ErrUnavailable},
		"lost, and then nobody answers":  {[]error{io.EOF, backend.ErrUnavailable, backend.ErrUnavailable, backend.ErrUnavailable}, 4, io.EOF},
		"lost, and then something else":  {[]error{io.EOF, backend.ErrUnavailable, reply("ERR other")}, 3, reply("ERR other")},
		"lost, and then the queue ended": {[]error{io.EOF, backend.ErrClosed}, 2, backend.ErrClosed},
	} {
		tries := 0
		err := b.send(func(again bool) error {
			if again != (tries > 0) {
				t.Errorf("%s: try %d is told again=%t", name, tries+1, again)
			}
			tries++
			return c.replies[tries-1]
		})
		if !errors.Is(err, c.err) || tries != c.tries {
			t.Errorf("%s: got %v after %d tries, want %v after %d", name, err, tries, c.err, c.tries)
		}
	}
}

func TestDelaysAreRoundedUpToMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Second: 1000, maxDelay: maxDelay.Milliseconds()} {
		if got := milliseconds(d); got != want {
			t.Errorf("%v became %d ms, want %d", d, got, want)
		}
	}
}
