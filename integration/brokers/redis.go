package brokers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

var redisSource = source{
	broker:     "Redis",
	variable:   "GOFER_TEST_REDIS_URL",
	executable: "redis-server",
	image:      "redis:7-alpine",
}

// RedisServer is a Redis. See [Server] for what can be done to it.
type RedisServer struct {
	Server
	options *redis.Options
}

// Redis gives the test a Redis, as the package comment says. It appends what it
// does to a file, and it is empty unless the environment names it. The options
// are those of the command line of redis-server, the last one counts:
//
//	brokers.Redis(t, "--maxmemory", "10mb")
//
// By default Redis may answer up to two seconds before it writes to that file.
// A test that expects all that was answered to outlive Kill says so:
//
//	brokers.Redis(t, "--appendfsync", "always")
func Redis(t testing.TB, options ...string) *RedisServer {
	t.Helper()
	found := locate(t, redisSource, engineAnswers)
	if found.url != "" {
		return redisFromEnvironment(t, found.url, options)
	}
	options = append([]string{"--appendonly", "yes", "--save", ""}, options...)
	if found.image != "" {
		return redisInContainer(t, found.image, options)
	}
	return redisOnPath(t, found.executable, "Redis", "", options)
}

// redisOnPath starts a redis-server. The name is for messages. The server has a
// configuration file, where CONFIG REWRITE and Sentinel keep what they change.
func redisOnPath(t testing.TB, path, name, configuration string, options []string) *RedisServer {
	t.Helper()
	directory := t.TempDir()
	file := filepath.Join(directory, "redis.conf")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatalf("brokers: %v", err)
	}
	password := passwordOf(options)
	server := startProcess(t, program{
		name:      name,
		path:      path,
		directory: directory,
		arguments: func(port int) []string {
			return append([]string{file, "--port", strconv.Itoa(port), "--bind", loopback}, options...)
		},
		ready: func(ctx context.Context, address string, pid int) error {
			return redisReady(ctx, address, password, pid)
		},
	})
	return newRedisServer(t, server, server.address(), password)
}

// redisInContainer starts the image of a Redis.
func redisInContainer(t testing.TB, image string, options []string) *RedisServer {
	t.Helper()
	password := passwordOf(options)
	server := startContainer(t, appliance{
		name:  "Redis",
		image: image,
		port:  6379,
		// Clients come from outside of the container, which Redis refuses else.
		command: append([]string{"redis-server", "--protected-mode", "no"}, options...),
		ready: func(ctx context.Context, address string) error {
			return redisReady(ctx, address, password, 0)
		},
	})
	return newRedisServer(t, server, server.address(), password)
}

func newRedisServer(t testing.TB, server runner, address, password string) *RedisServer {
	u := url.URL{Scheme: "redis", Host: address, Path: "/0"}
	if password != "" {
		u.User = url.UserPassword("", password)
	}
	return &RedisServer{
		Server:  Server{t: t, source: redisSource, runner: server, url: u.String(), address: address},
		options: &redis.Options{Addr: address, Password: password},
	}
}

// redisFromEnvironment is the Redis that the environment names.
func redisFromEnvironment(t testing.TB, address string, flags []string) *RedisServer {
	t.Helper()
	redisSource.refuse(t, "started", flags)
	options, err := redis.ParseURL(address)
	if err != nil { // without the text of the error, which may hold a password
		t.Fatalf("brokers: %s is not the URL of a Redis, such as redis://localhost:6379/0; correct or unset it",
			redisSource.variable)
	}
	client := newRedisClient(*options)
	defer client.Close()
	server := redisSource.given(t, address, options.Addr, func(ctx context.Context) error { return client.Ping(ctx).Err() })
	return &RedisServer{Server: server, options: options}
}

// Client returns a new client of the server, for what the test itself wants to
// ask. It is closed when the test ends.
func (s *RedisServer) Client() *redis.Client {
	client := newRedisClient(*s.options)
	s.t.Cleanup(func() { client.Close() })
	return client
}

// newRedisClient returns a client that says nothing but what it is asked to, and
// that gives up when its context ends.
func newRedisClient(options redis.Options) *redis.Client {
	options.ContextTimeoutEnabled = true
	options.DialerRetries = 1
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(&options)
}

// redisReady looks once whether a Redis serves: it answers, has loaded its data,
// and is the process with the given id, if that is not 0.
func redisReady(ctx context.Context, address, password string, pid int) error {
	// The client would print that it cannot connect.
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	connection.Close()
	client := newRedisClient(redis.Options{Addr: address, Password: password, MaxRetries: -1})
	defer client.Close()
	info, err := redisInfo(ctx, client)
	if err != nil {
		return err
	}
	if id := info["process_id"]; pid != 0 && id != strconv.Itoa(pid) {
		return fmt.Errorf("process %s answers at %s instead of %d", id, address, pid)
	}
	if info["loading"] == "1" {
		return errors.New("it is loading its data")
	}
	return client.Ping(ctx).Err()
}

// redisInfo returns what INFO tells of a server, by name.
func redisInfo(ctx context.Context, client *redis.Client) (map[string]string, error) {
	text, err := client.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	return fields(text), nil
}

// fields takes lines of the form "name:value" apart.
func fields(text string) map[string]string {
	values := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			values[name] = value
		}
	}
	return values
}

// passwordOf returns the password that the options of a redis-server set.
func passwordOf(options []string) string {
	i := slices.Index(options, "--requirepass")
	if i < 0 || i+1 == len(options) {
		return ""
	}
	return options[i+1]
}
