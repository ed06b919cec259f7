package brokers

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// clusterNodes is the least number of masters that can agree that one is
	// down.
	clusterNodes = 3

	// clusterSlots is how many slots a Redis cluster has.
	clusterSlots = 16384

	// clusterLimit is how long the nodes may take to find each other. They
	// usually need a second or two.
	clusterLimit = 60 * time.Second
)

// clusterSource and sentinelSource know but one way, since the servers name
// each other by addresses that clients must be able to reach.
var (
	clusterSource  = source{broker: "Redis cluster", executable: "redis-server"}
	sentinelSource = source{broker: "Redis with Sentinel", executable: "redis-server"}
)

// RedisClusterServers is a Redis cluster of three masters without replicas,
// each of which holds a third of the slots.
type RedisClusterServers struct {
	nodes []*RedisServer
}

// RedisCluster gives the test a Redis cluster of its own. The options are for
// each of its nodes, as those of [Redis], but for a password, which URL does not
// tell.
func RedisCluster(t testing.TB, options ...string) *RedisClusterServers {
	t.Helper()
	found := locate(t, clusterSource, engineAnswers)
	refusePassword(t, options)
	cluster := new(RedisClusterServers)
	options = append([]string{
		"--cluster-enabled", "yes",
		"--cluster-config-file", "nodes.conf",
		"--cluster-node-timeout", "2000", // milliseconds until a node is taken for dead
		"--cluster-announce-ip", loopback,
		"--appendonly", "yes",
		"--save", "",
	}, options...)
	for i := range clusterNodes {
		name := fmt.Sprintf("node %d of the Redis cluster", i+1)
		cluster.nodes = append(cluster.nodes, redisOnPath(t, found.executable, name, "", options))
	}
	if err := cluster.form(); err != nil {
		t.Fatalf("brokers: Redis cluster: %v", err)
	}
	return cluster
}

// form makes a cluster of the nodes.
func (c *RedisClusterServers) form() error {
	ctx, cancel := context.WithTimeout(context.Background(), clusterLimit)
	defer cancel()
	clients := make([]*redis.Client, len(c.nodes))
	for i, node := range c.nodes {
		clients[i] = newRedisClient(*node.options)
		defer clients[i].Close()
	}
	for i, client := range clients {
		first, end := i*clusterSlots/len(clients), (i+1)*clusterSlots/len(clients)
		if err := client.ClusterAddSlotsRange(ctx, first, end-1).Err(); err != nil {
			return fmt.Errorf("giving slots to %s: %w", c.nodes[i].Addr(), err)
		}
		// Nodes of the same epoch would have to find one each first.
		if err := client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return fmt.Errorf("numbering %s: %w", c.nodes[i].Addr(), err)
		}
		for _, other := range c.nodes[:i] {
			host, port, err := net.SplitHostPort(other.Addr())
			if err != nil {
				return err
			}
			if err := client.ClusterMeet(ctx, host, port).Err(); err != nil {
				return fmt.Errorf("introducing %s to %s: %w", c.nodes[i].Addr(), other.Addr(), err)
			}
		}
	}
	return poll(clusterLimit, func(ctx context.Context) error {
		for i, client := range clients {
			if err := clusterReady(ctx, client); err != nil {
				return fmt.Errorf("%s: %w", c.nodes[i].Addr(), err)
			}
		}
		return nil
	})
}

// clusterReady looks once whether a node knows of all nodes and all slots.
func clusterReady(ctx context.Context, client *redis.Client) error {
	text, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	info := fields(text)
	for name, want := range map[string]string{
		"cluster_state":       "ok",
		"cluster_known_nodes": strconv.Itoa(clusterNodes),
		"cluster_size":        strconv.Itoa(clusterNodes), // masters with slots
		"cluster_slots_ok":    strconv.Itoa(clusterSlots),
	} {
		if got := info[name]; got != want {
			return fmt.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	return nil
}

// URL returns where the cluster is, for queue.Open:
// "redis+cluster://127.0.0.1:12345,127.0.0.1:12346,127.0.0.1:12347".
func (c *RedisClusterServers) URL() string {
	return "redis+cluster://" + strings.Join(c.Addrs(), ",")
}

// Addrs returns the host and port of every node.
func (c *RedisClusterServers) Addrs() []string { return addresses(c.nodes) }

// Nodes returns the servers that make the cluster, to do them harm.
func (c *RedisClusterServers) Nodes() []*RedisServer { return c.nodes }

// refusePassword fails the test if the options set a password.
func refusePassword(t testing.TB, options []string) {
	t.Helper()
	if passwordOf(options) != "" {
		t.Fatalf("brokers: only a lone Redis can have a password; leave out --requirepass, or use Redis")
	}
}

// addresses returns the host and port of each server.
func addresses(servers []*RedisServer) []string {
	list := make([]string, len(servers))
	for i, server := range servers {
		list[i] = server.Addr()
	}
	return list
}
