package rabbitmq_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/integration/faults"
)

func TestWorkGoesOnWhenANodeOfAClusterIsKilled(t *testing.T) {
	t.Parallel()
	cluster := brokers.RabbitMQCluster(t)
	nodes := cluster.Nodes()
	l := startLoad(t, withHosts(nodes[0].URL(), cluster.Addrs()...))
	l.AwaitProgress(faults.Patience, 200)
	held := l.HoldOne("hold")
	victim := nodeOfClients(t, nodes)
	victim.Kill()
	held.ExpectLost(t)
	// Not only the clients, but also the queues have to find another node.
	l.AwaitProgress(2*recovery, 200)
	victim.Restart()
	l.AwaitProgress(recovery, 200)
	finish(l, 1)
}

// nodeOfClients returns the node of a cluster that all clients are connected to.
func nodeOfClients(t *testing.T, nodes []*brokers.RabbitMQServer) *brokers.RabbitMQServer {
	t.Helper()
	ports := strings.Fields(nodes[0].Control("list_connections", "port"))
	slices.Sort(ports)
	ports = slices.Compact(ports)
	if len(ports) != 1 {
		t.Fatalf("clients are connected to the ports %q, want those of one node", ports)
	}
	return nodes[slices.IndexFunc(nodes, func(n *brokers.RabbitMQServer) bool { return strings.HasSuffix(n.Addr(), ":"+ports[0]) })]
}
