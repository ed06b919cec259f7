package queuetest

import (
	"context"
	"sync"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// Duplicate is an option of [New] that delivers every job twice, to prove that
// its handler is idempotent: what is acknowledged for the first time is handed
// out once more, as if the acknowledgement had been lost. Both deliveries are
// the same attempt; a retry, a release and a burial are as ever. It has no
// effect on a queue that New did not make.
func Duplicate() queue.OpenOption { return duplicate{queue.Hooks{}} }

// duplicate is an OpenOption, by the empty one in it, that New looks for.
type duplicate struct{ queue.OpenOption }

func isDuplicate(option queue.OpenOption) bool {
	_, ok := option.(duplicate)
	return ok
}

// duplicator is a backend that releases each job when it is first to
// acknowledge it.
type duplicator struct {
	backend.Backend

	mu    sync.Mutex
	again map[string]bool // guarded by mu: by ID, what was handed out again
}

func (d *duplicator) Unwrap() backend.Backend { return d.Backend }

func (d *duplicator) Ack(ctx context.Context, deliveries []*backend.Delivery) error {
	errs := make([]error, len(deliveries))
	for i, delivery := range deliveries {
		one := []*backend.Delivery{delivery}
		if d.first(delivery.ID) {
			errs[i] = backend.ErrorAt(d.Backend.Release(ctx, one, 0), 0)
		} else {
			errs[i] = backend.ErrorAt(d.Backend.Ack(ctx, one), 0)
		}
		if errs[i] != nil { // nothing has happened: the next Ack is like this one
			d.first(delivery.ID)
		}
	}
	return backend.NewBatchError(errs)
}

// first reports whether the job of an ID was not handed out again before, and
// notes that it is now; or that it no longer is, so that another job may have
// the ID.
func (d *duplicator) first(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.again[id] {
		delete(d.again, id)
		return false
	}
	d.again[id] = true
	return true
}
