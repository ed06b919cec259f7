package faults

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

// Open opens a backend that is closed when the test ends.
func Open(t testing.TB, url string) backend.Backend {
	t.Helper()
	b, err := backend.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// Message returns a job of the queue "default". Its arguments are its ID, so
// that one job cannot pass for another; the workers of a [Load] run it.
func Message(id string) *backend.Message {
	return &backend.Message{ID: id, Kind: loadKind, Queue: "default", Args: []byte(strconv.Quote(id))}
}

// Push pushes jobs with the given IDs.
func Push(t testing.TB, b backend.Backend, ids ...string) {
	t.Helper()
	messages := make([]*backend.Message, len(ids))
	for i, id := range ids {
		messages[i] = Message(id)
	}
	if err := b.Push(t.Context(), messages); err != nil {
		t.Fatal(err)
	}
}

// Reserve reserves one job of the queue "default", which has to be there within
// the limit.
func Reserve(t testing.TB, b backend.Backend, lease, limit time.Duration) *backend.Delivery {
	t.Helper()
	return ReserveMany(t, b, 1, lease, limit)[0]
}

// ReserveMany reserves so many jobs of the queue "default".
func ReserveMany(t testing.TB, b backend.Backend, n int, lease, limit time.Duration) []*backend.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var all []*backend.Delivery
	for len(all) < n {
		deliveries, err := b.Reserve(ctx, []string{"default"}, n-len(all), lease)
		if err != nil {
			t.Fatalf("%d jobs within %v, want %d: %v", len(all), limit, n, err)
		}
		all = append(all, deliveries...)
	}
	return all
}

// Dead returns the dead jobs of the queue "default".
func Dead(t testing.TB, b backend.Backend) []*backend.Entry {
	t.Helper()
	list, _ := backend.As[backend.Lister](b)
	entries, err := list.Peek(t.Context(), "default", backend.Dead, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
