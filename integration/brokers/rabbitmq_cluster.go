package brokers

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// rabbitMQClusterNodes is the least number of nodes of which most are left when
// one is down.
const rabbitMQClusterNodes = 3

// rabbitMQClusterSource knows but one way, as for a Redis cluster: the nodes
// would have to find each other's containers.
var rabbitMQClusterSource = source{broker: "RabbitMQ cluster", executable: "rabbitmq-server"}

// RabbitMQClusterServers is a cluster of three RabbitMQ nodes.
type RabbitMQClusterServers struct {
	nodes []*RabbitMQServer
}

// RabbitMQCluster gives the test a RabbitMQ cluster of its own. The
// configuration is for each of its nodes, as that of [RabbitMQ]. It takes three
// times as long to start.
func RabbitMQCluster(t testing.TB, configuration ...string) *RabbitMQClusterServers {
	t.Helper()
	found := locate(t, rabbitMQClusterSource, engineAnswers)
	cluster := new(RabbitMQClusterServers)
	id := strings.ToLower(rand.Text())
	epmd := startEPMD(t)
	first := rabbitMQNodeName(id + "-1")
	for i := range rabbitMQClusterNodes {
		node := rabbitMQNode{
			name:    rabbitMQNodeName(fmt.Sprintf("%s-%d", id, i+1)),
			cluster: id,
			epmd:    epmd,
		}
		lines := configuration
		if node.name != first { // which would look for others for a while
			lines = append([]string{
				"cluster_formation.peer_discovery_backend = classic_config",
				"cluster_formation.classic_config.nodes.1 = " + first,
				"cluster_formation.classic_config.nodes.2 = " + node.name,
			}, configuration...)
		}
		name := fmt.Sprintf("node %d of the RabbitMQ cluster", i+1)
		server := prepareRabbitMQ(t, found.executable, node, lines).start(t, name)
		server.source = rabbitMQClusterSource
		cluster.nodes = append(cluster.nodes, server)
	}
	if err := cluster.complete(); err != nil {
		t.Fatalf("brokers: RabbitMQ cluster: %v", err)
	}
	return cluster
}

// complete returns nil if the last node knows of all. A node that does not find
// the others starts alone.
func (c *RabbitMQClusterServers) complete() error {
	output, err := c.nodes[len(c.nodes)-1].control([]string{"cluster_status", "--formatter", "json"})
	if err != nil {
		return err
	}
	var status struct {
		Running []string `json:"running_nodes"`
	}
	if err := json.Unmarshal([]byte(output), &status); err != nil {
		return fmt.Errorf("%w in %s", err, output)
	}
	if len(status.Running) != len(c.nodes) {
		return fmt.Errorf("only %q found each other", status.Running)
	}
	return nil
}

// Addrs returns the host and port of every node.
func (c *RabbitMQClusterServers) Addrs() []string {
	list := make([]string, len(c.nodes))
	for i, node := range c.nodes {
		list[i] = node.Addr()
	}
	return list
}

// Nodes returns the servers that make the cluster, to do them harm. One that
// ended while others went on does not serve again before one of these does.
func (c *RabbitMQClusterServers) Nodes() []*RabbitMQServer { return c.nodes }
