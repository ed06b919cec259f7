package redis_test

import (
	"strconv"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend/backendtest"
	"github.com/goferhq/queue/integration/brokers"
)

func TestConformanceOnACluster(t *testing.T) {
	cluster := brokers.RedisCluster(t)
	client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: cluster.Addrs()})
	t.Cleanup(func() { client.Close() })
	node, err := client.MasterForKey(t.Context(), "{resque}")
	if err != nil {
		t.Fatal(err)
	}
	backendtest.Run(t, onMany(harness(t, cluster.URL()+"?namespace={resque}", client), t, node))
}

// The suite begins on the master that has just taken over, with a backend that
// knew the one before.
func TestConformanceAfterAFailover(t *testing.T) {
	sentinel := brokers.RedisSentinel(t)
	client := goredis.NewFailoverClient(&goredis.FailoverOptions{MasterName: "mymaster", SentinelAddrs: sentinel.SentinelAddrs()})
	t.Cleanup(func() { client.Close() })
	h := harness(t, sentinel.URL(), client)
	before, err := h.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	sentinel.AwaitFailover(sentinel.KillMaster())
	backendtest.Run(t, onMany(h, t, client))
}

// onMany makes h count the calls of commands that wait and of scripts, because
// servers that are connected with each other send requests too.
func onMany(h backendtest.Harness, t *testing.T, node *goredis.Client) backendtest.Harness {
	alone := h.Fresh
	h.Fresh = func() backendtest.Harness { return onMany(alone(), t, node) }
	h.Requests = func() int64 {
		info, err := node.Do(t.Context(), "INFO", "commandstats").Text()
		if err != nil {
			t.Error(err)
		}
		var calls int64
		for line := range strings.Lines(info) {
			command, rest, _ := strings.Cut(line, ":calls=")
			switch command {
			case "cmdstat_evalsha", "cmdstat_eval", "cmdstat_blmove", "cmdstat_blpop", "cmdstat_client|unblock":
				text, _, _ := strings.Cut(rest, ",")
				n, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					t.Error(err)
				}
				calls += n
			}
		}
		return calls
	}
	return h
}
