package beanstalkd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/backendtest"
	_ "github.com/goferhq/queue/backend/beanstalkd"
	"github.com/goferhq/queue/integration/brokers"
)

// The suite looks at the time: the other tests of this package wait until it is
// done.
func TestConformance(t *testing.T) {
	t.Run("one-server", func(t *testing.T) {
		t.Parallel()
		backendtest.Run(t, harness(t, brokers.Beanstalkd(t)))
	})
	t.Run("two-servers", func(t *testing.T) {
		t.Parallel()
		one, _ := server(t)
		other, _ := server(t)
		h := harness(t, one, other)
		// Jobs are spread over the servers, each of which knows the order of
		// its own only.
		h.Without = append(h.Without, backendtest.Order, backendtest.OldPlace)
		backendtest.Run(t, h)
	})
}

// conformanceLease is the lease of the suite, and the TTR of its jobs.
//
// A second would be the least that the server knows. But it warns of the end of
// a TTR a second before, and does not let a connection that holds such a job
// wait: with a TTR of one second that would be always.
const conformanceLease = 2 * time.Second

// harness describes the driver to the suite. What others put goes to the first
// of the servers.
func harness(t *testing.T, servers ...*brokers.BeanstalkdServer) backendtest.Harness {
	t.Helper()
	address := at("lease="+conformanceLease.String(), servers...)
	client := servers[0].Client()
	return backendtest.Harness{
		Open: func(ctx context.Context) (backend.Backend, error) { return backend.Open(ctx, address) },
		PutRaw: func(_ context.Context, queue string, raw []byte) error {
			_, err := beanstalk.NewTube(client, queue).Put(raw, foreignPriority, 0, conformanceLease)
			if errors.Is(err, beanstalk.ErrJobTooBig) {
				err = fmt.Errorf("%w: %w", backend.ErrUnsupported, err)
			}
			return err
		},
		Requests: requests(t, servers),
		Lease:    conformanceLease,
		// Only what a client says is in whole seconds. The server ends a TTR
		// and a delay to the millisecond.
		Slack:     500 * time.Millisecond,
		DelayUnit: time.Second,
		Without: []backendtest.Capability{
			backendtest.UniqueIDs, backendtest.AllQueues, backendtest.StoreProvider,
		},
	}
}

// foreignPriority is what other clients put their jobs with when they are told
// no other.
const foreignPriority = 1024

// requests returns a count of the commands that the servers were sent, without
// those that do the counting.
func requests(t *testing.T, servers []*brokers.BeanstalkdServer) func() int64 {
	var clients []*beanstalk.Conn
	for _, s := range servers {
		clients = append(clients, s.Client())
	}
	var asked int64
	return func() int64 {
		var sum int64
		for _, client := range clients {
			n, err := commands(client)
			if err != nil {
				t.Error(err)
			}
			asked++
			sum += n
		}
		return sum - asked
	}
}
