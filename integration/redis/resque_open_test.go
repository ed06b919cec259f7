package redis_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis"
	"github.com/goferhq/queue/integration/brokers"
)

// usable opens an address, sends a job through it and closes it.
func usable(t *testing.T, address string) {
	t.Helper()
	b, err := backend.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Push(t.Context(), []*backend.Message{{ID: "1", Kind: "A", Queue: "default", Args: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	deliveries, err := b.Reserve(ctx, []string{"default"}, 1, time.Minute)
	if err == nil {
		err = b.Ack(t.Context(), deliveries)
	}
	if err != nil {
		t.Error(err)
	}
}

// refused opens an address that must be refused, and returns the text of the
// error, which may not show what is secret.
func refused(t *testing.T, address string, want error) string {
	t.Helper()
	began := time.Now()
	b, err := backend.Open(t.Context(), address)
	if err == nil {
		b.Close()
		t.Fatalf("%s was opened", address)
	}
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the error came after %v", took)
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the error shows the password: %v", err)
	}
	return err.Error()
}

// secret is a password with all that a URL must escape.
const secret = `s/e@c#r%e?t`

func TestAPasswordIsAskedForAndNeverShown(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t, "--requirepass", secret)
	usable(t, server.URL())
	usable(t, server.URL()+"?db=3")
	address := server.Addr()
	if text := refused(t, "redis://"+address, backend.ErrUnavailable); !strings.Contains(text, "NOAUTH") {
		t.Errorf("without a password: %s", text)
	}
	if text := refused(t, "redis://:"+url.QueryEscape(secret+"x")+"@"+address, backend.ErrUnavailable); !strings.Contains(text, "WRONGPASS") {
		t.Errorf("with another password: %s", text)
	}
	if text := refused(t, server.URL()+"?nmespace=a", backend.ErrInvalid); !strings.Contains(text, "nmespace") || !strings.Contains(text, "namespace,") {
		t.Errorf("with an unknown parameter: %s", text)
	}
	refused(t, "redis://:"+secret+"@"+address, backend.ErrInvalid) // not escaped
}

func TestAUserOfAnACLCanOpenWithoutINFO(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	client := server.Client()
	for _, rule := range [][]any{{"ACL", "SETUSER", "ann", "on", ">geheim", "~resque:*", "&*", "+@all", "-info"}} {
		if err := client.Do(t.Context(), rule...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	address := "redis://ann:geheim@" + server.Addr()
	usable(t, address)
	if warnings := check(t, address); len(warnings) != 1 || !strings.Contains(warnings[0], "INFO") {
		t.Errorf("the warnings are %q, want one about INFO", warnings)
	}
	refused(t, "redis://ann:wrong@"+server.Addr(), backend.ErrUnavailable)
}

func TestAHostThatCannotBeReachedIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"redis://:" + url.QueryEscape(secret) + "@127.0.0.1:1",
		"rediss://127.0.0.1:1",
		"redis://no-such-host.invalid:6379?dial_timeout=2s",
		"redis+unix:///nowhere/redis.sock",
	} {
		refused(t, address, backend.ErrUnavailable)
	}
}

// check returns the warnings about a server.
func check(t *testing.T, address string) []string {
	t.Helper()
	b, err := backend.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	warnings, err := b.(backend.Checker).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return warnings
}

func TestAServerThatMayLoseJobsIsWarnedOf(t *testing.T) {
	t.Parallel()
	if warnings := check(t, brokers.Redis(t).URL()); len(warnings) > 0 {
		t.Errorf("of a server with an append-only file it warns %q", warnings)
	}
	server := brokers.Redis(t, "--appendonly", "no")
	warnings := check(t, server.URL())
	if len(warnings) != 1 || !strings.Contains(warnings[0], "neither") || !strings.Contains(warnings[0], "appendonly yes") {
		t.Errorf("of a server without anything it warns %q", warnings)
	}
	replica := brokers.Redis(t).Client()
	host, port, _ := strings.Cut(server.Addr(), ":")
	if err := replica.Do(t.Context(), "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		info, err := client.Info(t.Context(), "replication").Result()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no replica has come: %v", err)
		}
		if strings.Contains(info, "connected_slaves:1") {
			break
		}
	}
	if warnings := check(t, server.URL()); len(warnings) != 1 || !strings.Contains(warnings[0], "replicas go down together") {
		t.Errorf("of a server with a replica it warns %q", warnings)
	}
}

func TestAServerThatEvictsJobsIsRefused(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	text := refused(t, server.URL(), backend.ErrUnsupported)
	for _, says := range []string{"allkeys-lru", "noeviction", "allow_eviction=true"} {
		if !strings.Contains(text, says) {
			t.Errorf("there is no %q in the error %s", says, text)
		}
	}
	usable(t, server.URL()+"?allow_eviction=true")
	if warnings := check(t, server.URL()+"?allow_eviction=true"); len(warnings) != 1 || !strings.Contains(warnings[0], "allkeys-lru") {
		t.Errorf("with allow_eviction it warns %q", warnings)
	}
	client := server.Client()
	if _, err := redis.New(t.Context(), client); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("New returned %v, want ErrUnsupported", err)
	}
	b, err := redis.New(t.Context(), client, redis.AllowEviction())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Close(), client.Ping(t.Context()).Err()); err != nil {
		t.Errorf("Close of the backend closed the client too: %v", err)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	usable(t, server.URL()) // it evicts nothing without a limit
}

func TestEverySchemeOfOneServerOpens(t *testing.T) {
	t.Parallel()
	directory, err := os.MkdirTemp("", "redis") // short: the path of a socket has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	socket := filepath.Join(directory, "redis.sock")
	server := brokers.Redis(t, "--unixsocket", socket)
	usable(t, "redis://"+server.Addr())
	usable(t, "resque://"+server.Addr()+"/5?namespace=app&pool=2&client_name=app&lease=1m")
	if _, err := os.Stat(socket); err != nil {
		t.Skipf("the server's socket is not in this file system: %v", err)
	}
	usable(t, "redis+unix://"+socket)
	usable(t, "redis+unix://"+socket+"?db=7")
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr(), DB: 7})
	defer client.Close()
	if n, err := client.Exists(t.Context(), "resque:queues").Result(); n != 1 || err != nil {
		t.Errorf("database 7 has no queues: %d, %v", n, err)
	}
}

func TestTheParametersReachTheServer(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	b, err := backend.Open(t.Context(), server.URL()+"?client_name=orders&lease=45s")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if lease := backend.LimitsOf(b).DefaultLease; lease != 45*time.Second {
		t.Errorf("the default lease is %v, want 45s", lease)
	}
	list, err := server.Client().ClientList(t.Context()).Result()
	if err != nil || !strings.Contains(list, "name=orders ") {
		t.Errorf("no client is called orders: %v\n%s", err, list)
	}
	for _, lease := range []string{"50ms", "9000h"} {
		refused(t, server.URL()+"?lease="+lease, backend.ErrInvalid)
	}
	refused(t, server.URL()+"?namespace=a%20b", backend.ErrInvalid)
}
