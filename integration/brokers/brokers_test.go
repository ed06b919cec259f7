package brokers

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestRedisKeepsWhatItAnsweredWhenItIsKilled(t *testing.T) {
	t.Parallel()
	server := Redis(t, "--appendfsync", "always")
	client := server.Client()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if connection, err := net.Dial("tcp", server.Addr()); err == nil {
		connection.Close()
		t.Error("a Redis that was killed listens")
	}
	server.Restart()
	expectValue(t, client, "key", "value")
	server.Shutdown()
	server.Restart()
	expectValue(t, client, "key", "value")
	server.Restart() // while it runs
	expectValue(t, client, "key", "value")
}

func TestRedisThatIsStoppedAnswersWhenItContinues(t *testing.T) {
	t.Parallel()
	server := Redis(t)
	client := server.Client()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Error("a Redis that is stopped answers")
	}
	server.Continue()
	expectValue(t, client, "key", "value")
	server.Stop()
	server.Shutdown() // has to wake it first
	server.Restart()
	server.Stop()
	server.Kill()
}

func expectValue(t *testing.T, client redis.Cmdable, key, want string) {
	t.Helper()
	if got, err := client.Get(t.Context(), key).Result(); err != nil || got != want {
		t.Errorf("GET %s = %q, %v; want %q", key, got, err, want)
	}
}

func TestRedisClusterAnswersForEverySlot(t *testing.T) {
	t.Parallel()
	cluster := RedisCluster(t)
	addresses := strings.TrimPrefix(cluster.URL(), "redis+cluster://")
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: strings.Split(addresses, ",")})
	defer client.Close()
	for i := range 100 {
		key := fmt.Sprint("key", i)
		if err := client.Set(t.Context(), key, key, 0).Err(); err != nil {
			t.Fatal(err)
		}
		expectValue(t, client, key, key)
	}
	for _, node := range cluster.Nodes() {
		if keys := node.Client().DBSize(t.Context()).Val(); keys == 0 {
			t.Errorf("node %s has none of 100 keys", node.Addr())
		}
	}
}

func TestRedisSentinelFailsOver(t *testing.T) {
	t.Parallel()
	servers := RedisSentinel(t)
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:    "mymaster",
		SentinelAddrs: servers.SentinelAddrs(),
	})
	defer client.Close()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if replicas, err := client.Wait(t.Context(), 1, 10*time.Second).Result(); err != nil || replicas != 1 {
		t.Fatalf("WAIT 1 = %d, %v", replicas, err)
	}
	old := servers.KillMaster()
	master := servers.AwaitFailover(old)
	if master == old || master != servers.Master() {
		t.Errorf("master is %s after %s was killed, and then %s", master, old, servers.Master())
	}
	for _, server := range servers.Servers() {
		if server.Addr() == master {
			expectValue(t, server.Client(), "key", "value")
		}
	}
}
