package redis

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
)

//go:embed lua/*.lua
var sources embed.FS

// The scripts. What each does and takes is said in its file.
var (
	pushScript       = load("push")
	reserveScript    = load("reserve")
	ackScript        = load("ack")
	settleScript     = load("settle")
	extendScript     = load("extend")
	tickScript       = load("tick")
	registerScript   = load("register")
	unregisterScript = load("unregister")
	pauseScript      = load("pause")
	purgeScript      = load("purge")
	failedScript     = load("failed")
	requeueScript    = load("requeue")
	scanScript       = load("scan")
	removeScript     = load("remove")
	promoteScript    = load("promote")
	statusScript     = load("status")
	putBackScript    = load("putback")
)

func load(name string) *goredis.Script {
	prelude, err := sources.ReadFile("lua/prelude.lua")
	if err == nil {
		var body []byte
		if body, err = sources.ReadFile("lua/" + name + ".lua"); err == nil {
			return goredis.NewScript(string(prelude) + string(body))
		}
	}
	panic(err)
}

// node returns the client of the server that holds the keys. On a cluster it
// is that of one node: the cluster client would send again what may have come
// through.
func (b *Backend) node(ctx context.Context, client goredis.UniversalClient) (*goredis.Client, error) {
	if c, ok := client.(*goredis.ClusterClient); ok {
		return c.MasterForKey(ctx, b.prefix)
	}
	return client.(*goredis.Client), nil
}

// run calls a script, whose first argument is always the prefix.
func (b *Backend) run(script *goredis.Script, args ...any) (any, error) {
	var reply any
	err := b.onNode(func(node *goredis.Client) (err error) {
		reply, err = runOn(context.Background(), node, script, b.prefix, args)
		return err
	})
	return reply, err
}

func runOn(ctx context.Context, node goredis.Cmdable, script *goredis.Script, prefix string, args []any) (any, error) {
	keys := []string{prefix + "queues"} // any will do: they are all on one node
	args = append([]any{prefix}, args...)
	reply, err := node.EvalSha(ctx, script.Hash(), keys, args...).Result()
	if err != nil && goredis.HasErrorPrefix(err, "NOSCRIPT") {
		reply, err = script.Eval(ctx, node, keys, args...).Result()
	}
	if err == goredis.Nil {
		err = nil
	}
	return reply, err
}

// onNode calls f on the node that holds the keys, and again on another one
// when it has been told that they have moved.
func (b *Backend) onNode(f func(node *goredis.Client) error) error {
	for try := 0; ; try++ {
		node, err := b.node(context.Background(), b.client)
		if err == nil {
			err = f(node)
		}
		cluster, ok := b.client.(*goredis.ClusterClient)
		if err == nil || !ok || try == 5 {
			return b.explain(err)
		}
		switch {
		case goredis.HasErrorPrefix(err, "MOVED"), goredis.HasErrorPrefix(err, "ASK"), goredis.HasErrorPrefix(err, "TRYAGAIN"), goredis.HasErrorPrefix(err, "CLUSTERDOWN"), goredis.HasErrorPrefix(err, "EXECABORT"):
			cluster.ReloadState(context.Background())
			b.pause(time.Duration(try+1) * 20 * time.Millisecond)
		default:
			cluster.ReloadState(context.Background()) // the node may be gone
			return b.explain(err)
		}
	}
}

// pause waits for d, or until the backend is closed.
func (b *Backend) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.life.Done():
	}
}

// refusals are the beginnings of replies by which a server says that it has
// not done what it was asked to.
var refusals = []string{
	"LOADING", "READONLY", "OOM", "MISCONF", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK",
	"BUSY", "NOAUTH", "WRONGPASS", "NOPERM", "EXECABORT", "ERR max number of clients",
}

// explain turns an error of the client into one of package backend. One that
// leaves open whether the request came through is returned as it is.
func (b *Backend) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case b.life.Err() != nil, errors.Is(err, goredis.ErrClosed):
		return backend.ErrClosed
	case errors.Is(err, backend.ErrUnavailable):
		return err
	case isDial(err), errors.Is(err, goredis.ErrPoolTimeout), errors.Is(err, goredis.ErrPoolExhausted):
		return fmt.Errorf("%w: redis: %w", backend.ErrUnavailable, err)
	case errors.Is(err, context.DeadlineExceeded): // only the client's dialing has a context that ends
		return fmt.Errorf("%w: redis: no connection within the dial timeout: %w", backend.ErrUnavailable, err)
	}
	for _, refusal := range refusals {
		if isRefusal(err, refusal) {
			return fmt.Errorf("%w: redis: %w", backend.ErrUnavailable, err)
		}
	}
	return fmt.Errorf("redis: %w", err)
}

// isRefusal reports whether err is a reply that begins so, or, of Redis 6.2, that
// of a script which was refused its first write so. What a user may not do in a
// script is no refusal: the script may have done the rest.
func isRefusal(err error, refusal string) bool {
	if goredis.HasErrorPrefix(err, "ERR Error running script") {
		return refusal != "NOPERM" && strings.Contains(err.Error(), "-"+refusal+" ")
	}
	return goredis.HasErrorPrefix(err, refusal) && !(refusal == "NOPERM" && strings.Contains(err.Error(), "script"))
}

// isDial reports whether err is of a connection that has not come about. One
// with TLS has not before the server has shown a certificate that is valid.
func isDial(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial" || strings.Contains(err.Error(), "all sentinels specified in configuration are unreachable")
}

// isOpen reports whether err leaves open if the request came through.
func isOpen(err error) bool {
	if err == nil || errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrClosed) {
		return false
	}
	if _, partly := errors.AsType[*backend.BatchError](err); partly {
		return false
	}
	_, replied := errors.AsType[goredis.Error](err)
	return !replied
}

// pauses are how long send waits before it tries again.
var pauses = [...]time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}

// send makes a request, and makes it again when its reply was lost: f is told
// so, and must do nothing twice. An error of the last try that would say that
// nothing was done is no longer one then.
func (b *Backend) send(f func(again bool) error) error {
	err := f(false)
	if !isOpen(err) {
		return err
	}
	began := time.Now()
	for _, pause := range pauses {
		// Leases that were lost are remembered for an hour.
		if !isOpen(err) || time.Since(began) > 30*time.Minute {
			return err
		}
		b.pause(pause)
		if next := f(true); next == nil || !errors.Is(next, backend.ErrUnavailable) {
			err = next
		}
	}
	return err
}

// await calls f and returns what it does, or the error of ctx as soon as that
// ends. f then goes on by itself, at most for as long as the client's timeouts
// allow, and what it returns is handed to late: a request that has been sent
// cannot be called back.
func await[T any](ctx context.Context, b *Backend, f func() (T, error), late func(T, error)) (T, error) {
	if err := b.begin(ctx); err != nil {
		var none T
		return none, err
	}
	return awaitBegun(ctx, b, f, late)
}

// begin notes that a call is made, unless it is too late for it.
func (b *Backend) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !b.flights.begin(b) {
		return backend.ErrClosed
	}
	return nil
}

// awaitBegun is await after begin. It always calls f.
func awaitBegun[T any](ctx context.Context, b *Backend, f func() (T, error), late func(T, error)) (T, error) {
	var none T
	if ctx.Done() == nil {
		defer b.flights.end()
		return f()
	}
	type outcome struct {
		value T
		err   error
	}
	var decided atomic.Bool // by who comes first: f or the end of ctx
	done := make(chan outcome, 1)
	go func() {
		defer b.flights.end()
		value, err := f()
		if decided.CompareAndSwap(false, true) {
			done <- outcome{value, err}
			return
		}
		if late != nil {
			late(value, err)
		}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
	case <-b.life.Done():
	}
	if !decided.CompareAndSwap(false, true) {
		o := <-done
		return o.value, o.err
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	return none, backend.ErrClosed
}

// flights are the calls that have been made and have not come back, also those
// for which nobody waits any more.
type flights struct {
	mu  sync.Mutex // held while one more begins: none does once Close waits
	all sync.WaitGroup
}

func (f *flights) begin(b *Backend) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.life.Err() != nil {
		return false
	}
	f.all.Add(1)
	return true
}

func (f *flights) end() { f.all.Done() }

// land waits until all are back, after the end of the backend's life, as far as
// Redis answers. What one has brought is given back by then.
func (f *flights) land() {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := make(chan struct{})
	go func() {
		f.all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(farewell):
	}
}
