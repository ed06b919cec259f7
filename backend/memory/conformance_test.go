package memory_test

import (
	"context"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/backendtest"
	"github.com/goferhq/queue/backend/memory"
)

func TestMemoryPassesTheSuite(t *testing.T) {
	backendtest.RunInBubbles(t, func() backendtest.Harness {
		broker := memory.NewBroker()
		return backendtest.Harness{
			Open:   func(context.Context) (backend.Backend, error) { return broker.Connect(), nil },
			PutRaw: broker.Connect().PutRaw,
			Slack:  10 * time.Millisecond, // its clock ticks in milliseconds
			// There is no setting to check.
			Without: []backendtest.Capability{backendtest.Checker},
		}
	})
}
