package rabbitmq_test

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/backendtest"
)

// The suite looks at the time, and a server makes hundreds of queues meanwhile: the
// other tests of this package wait.
func TestConformance(t *testing.T) {
	t.Run("quorum", func(t *testing.T) {
		t.Parallel()
		backendtest.Run(t, harness(t, server(t).URL(), asOurs(), backendtest.Priorities))
	})
	t.Run("classic", func(t *testing.T) {
		t.Parallel()
		address := with(server(t).URL(), "type", "classic", "max-priority", "10")
		backendtest.Run(t, harness(t, address, classic(10)))
	})
}

// harness describes the driver to the suite. Others declare a queue with these
// arguments before they put something there.
func harness(t *testing.T, address string, arguments amqp.Table, without ...backendtest.Capability) backendtest.Harness {
	t.Helper()
	wire := newMeter(t, address)
	foreign := plain(t, address)
	layLadder(t, address)
	return backendtest.Harness{
		Open: func(ctx context.Context) (backend.Backend, error) { return backend.Open(ctx, wire.url()) },
		PutRaw: func(ctx context.Context, queue string, raw []byte) error {
			if err := foreign.do(func(channel *amqp.Channel) error {
				_, err := channel.QueueDeclare(queue, true, false, false, false, arguments)
				return err
			}); err != nil {
				return err
			}
			return foreign.tryPublish(ctx, queue, amqp.Publishing{Body: raw, DeliveryMode: amqp.Persistent})
		},
		Requests: wire.requests,
		// A delay goes through several queues of the server, and its unit is as
		// long.
		Slack:     time.Second,
		Lease:     3 * time.Second,
		DelayUnit: time.Second,
		Without: append([]backendtest.Capability{
			backendtest.Extender, backendtest.Leases, backendtest.Remover, backendtest.Purger, backendtest.Pauser,
			backendtest.StoreProvider, backendtest.UniqueIDs, backendtest.AllQueues, backendtest.OldPlace,
		}, without...),
	}
}

// layLadder has the queues of delays made, which takes the server half a second
// and more: by the first delayed job that it is ever given.
func layLadder(t *testing.T, address string) {
	t.Helper()
	b, err := backend.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	first := &backend.Message{ID: "first", Kind: "first", Queue: "first", Args: []byte("null"), Delay: time.Hour}
	if err := b.Push(t.Context(), []*backend.Message{first}); err != nil {
		t.Fatal(err)
	}
}
