package brokers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// sentinelMaster is what the Sentinels call the master that they watch.
	sentinelMaster = "mymaster"

	// sentinelCount is the least number that can outvote one that is wrong.
	sentinelCount = 3

	// sentinelLimit is how long the Sentinels may take to find each other, or to
	// agree on a new master. They usually need two or three seconds, and ten
	// more when an election comes to nothing.
	sentinelLimit = 60 * time.Second
)

// RedisSentinelServers is a Redis master with a replica, and three Sentinels
// that make the replica the master when the master is down for a second.
type RedisSentinelServers struct {
	t         testing.TB
	servers   []*RedisServer // the first master, and its replica
	sentinels []*RedisServer
}

// RedisSentinel gives the test a master, a replica and three Sentinels of its
// own. The options are for the master and the replica, as those of [Redis], but
// for a password, which they would have to tell each other.
//
// Replication lags: what the master has answered may be unknown to the replica
// when the master is killed. A test that is about to do that, and that counts on
// what it wrote, asks for WAIT 1 first.
func RedisSentinel(t testing.TB, options ...string) *RedisSentinelServers {
	t.Helper()
	found := locate(t, sentinelSource, engineAnswers)
	refusePassword(t, options)
	s := &RedisSentinelServers{t: t}
	options = append([]string{
		"--appendonly", "yes",
		"--save", "",
		"--repl-diskless-sync-delay", "0", // do not wait five seconds for more replicas
	}, options...)
	for _, name := range []string{"the first Redis master", "the first Redis replica"} {
		s.servers = append(s.servers, redisOnPath(t, found.executable, name, "", options))
	}
	if err := s.replicate(); err != nil {
		t.Fatalf("brokers: Redis replica: %v", err)
	}
	host, port, err := net.SplitHostPort(s.servers[0].Addr())
	if err != nil {
		t.Fatalf("brokers: %v", err)
	}
	configuration := fmt.Sprintf("sentinel monitor %s %s %s %d\n", sentinelMaster, host, port, sentinelCount/2+1) +
		fmt.Sprintf("sentinel down-after-milliseconds %s 1000\n", sentinelMaster) +
		fmt.Sprintf("sentinel failover-timeout %s 5000\n", sentinelMaster)
	for i := range sentinelCount {
		name := fmt.Sprintf("Sentinel %d", i+1)
		s.sentinels = append(s.sentinels,
			redisOnPath(t, found.executable, name, configuration, []string{"--sentinel"}))
	}
	err = poll(sentinelLimit, func(ctx context.Context) error {
		return s.ask(ctx, func(sentinel *redis.SentinelClient) error { return sentinelReady(ctx, sentinel) })
	})
	if err != nil {
		t.Fatalf("brokers: Redis Sentinel: %v", err)
	}
	return s
}

// replicate makes the second server a replica of the first one.
func (s *RedisSentinelServers) replicate() error {
	ctx, cancel := context.WithTimeout(context.Background(), sentinelLimit)
	defer cancel()
	client := newRedisClient(*s.servers[1].options)
	defer client.Close()
	host, port, err := net.SplitHostPort(s.servers[0].Addr())
	if err != nil {
		return err
	}
	if err := client.ReplicaOf(ctx, host, port).Err(); err != nil {
		return err
	}
	if err := client.ConfigRewrite(ctx).Err(); err != nil { // so that it stays one after Restart
		return err
	}
	return poll(sentinelLimit, func(ctx context.Context) error {
		info, err := redisInfo(ctx, client)
		if err == nil && info["master_link_status"] != "up" {
			err = fmt.Errorf("its link to the master is %q", info["master_link_status"])
		}
		return err
	})
}

// sentinelReady looks once whether a Sentinel could fail over: it knows a
// replica that is in step, and the other Sentinels.
func sentinelReady(ctx context.Context, sentinel *redis.SentinelClient) error {
	master, err := sentinel.Master(ctx, sentinelMaster).Result()
	if err != nil {
		return err
	}
	for name, want := range map[string]string{
		"flags":               "master", // and not down
		"num-slaves":          "1",
		"num-other-sentinels": fmt.Sprint(sentinelCount - 1),
	} {
		if got := master[name]; got != want {
			return fmt.Errorf("%s of the master is %q, not %q", name, got, want)
		}
	}
	replicas, err := sentinel.Replicas(ctx, sentinelMaster).Result()
	if err != nil {
		return err
	}
	for _, replica := range replicas {
		for name, want := range map[string]string{"flags": "slave", "master-link-status": "ok"} {
			if got := replica[name]; got != want {
				return fmt.Errorf("%s of a replica is %q, not %q", name, got, want)
			}
		}
	}
	return sentinel.CkQuorum(ctx, sentinelMaster).Err()
}

// ask puts a question to every Sentinel that runs, until one has no answer.
func (s *RedisSentinelServers) ask(ctx context.Context, question func(*redis.SentinelClient) error) error {
	asked := false
	for _, server := range s.sentinels {
		if !server.runner.running() {
			continue
		}
		options := *server.options
		options.ContextTimeoutEnabled = true
		client := redis.NewSentinelClient(&options)
		err := question(client)
		client.Close()
		if err != nil {
			return fmt.Errorf("the one at %s: %w", server.Addr(), err)
		}
		asked = true
	}
	if !asked {
		return errors.New("no Sentinel is running; Restart starts one of Sentinels()")
	}
	return nil
}

// masterNow returns what the Sentinels that run agree on.
func (s *RedisSentinelServers) masterNow(ctx context.Context) (string, error) {
	agreed := ""
	err := s.ask(ctx, func(sentinel *redis.SentinelClient) error {
		address, err := sentinel.GetMasterAddrByName(ctx, sentinelMaster).Result()
		if err != nil {
			return err
		}
		master := net.JoinHostPort(address[0], address[1])
		if agreed != "" && agreed != master {
			return fmt.Errorf("it names %s the master, another %s", master, agreed)
		}
		agreed = master
		return nil
	})
	return agreed, err
}

// URL returns where the Sentinels are, for queue.Open:
// "redis+sentinel://127.0.0.1:12345,127.0.0.1:12346,127.0.0.1:12347/mymaster/0".
func (s *RedisSentinelServers) URL() string {
	return "redis+sentinel://" + strings.Join(s.SentinelAddrs(), ",") + "/" + sentinelMaster + "/0"
}

// SentinelAddrs returns the host and port of every Sentinel.
func (s *RedisSentinelServers) SentinelAddrs() []string { return addresses(s.sentinels) }

// Sentinels returns the Sentinels, to do them harm. Their URL and Client are
// for the commands of Sentinel only.
func (s *RedisSentinelServers) Sentinels() []*RedisServer { return s.sentinels }

// Servers returns the first master and the first replica, whatever they are now.
// A master that was killed comes back with Restart, and the Sentinels make it a
// replica of its successor some ten seconds later.
func (s *RedisSentinelServers) Servers() []*RedisServer { return s.servers }

// Master returns the host and port of the master, when all Sentinels that run
// name the same one.
func (s *RedisSentinelServers) Master() string {
	s.t.Helper()
	var master string
	err := poll(sentinelLimit, func(ctx context.Context) (err error) {
		master, err = s.masterNow(ctx)
		return err
	})
	if err != nil {
		s.t.Fatalf("brokers: Master: %v", err)
	}
	return master
}

// KillMaster kills the master and returns its host and port, for AwaitFailover.
func (s *RedisSentinelServers) KillMaster() string {
	s.t.Helper()
	master := s.Master()
	for _, server := range s.servers {
		if server.Addr() == master {
			server.Kill()
			return master
		}
	}
	s.t.Fatalf("brokers: KillMaster: the Sentinels name %s, which is none of %v", master, addresses(s.servers))
	return ""
}

// AwaitFailover returns when all Sentinels that run name another master than
// the old one, and that one takes itself for it. It returns its host and port.
func (s *RedisSentinelServers) AwaitFailover(old string) string {
	s.t.Helper()
	var master string
	err := poll(sentinelLimit, func(ctx context.Context) (err error) {
		if master, err = s.masterNow(ctx); err != nil {
			return err
		}
		if master == old {
			return fmt.Errorf("%s is still the master", old)
		}
		client := newRedisClient(redis.Options{Addr: master})
		defer client.Close()
		info, err := redisInfo(ctx, client)
		if err == nil && info["role"] != "master" {
			err = fmt.Errorf("%s, which is to be the master, is a %s", master, info["role"])
		}
		return err
	})
	if err != nil {
		s.t.Fatalf("brokers: AwaitFailover: %v", err)
	}
	return master
}
