package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
	"github.com/goferhq/queue/status"
)

// attempt is a delivery on its way through a worker.
type attempt struct {
	job      Job[Raw]
	delivery *backend.Delivery
	settings settings
	ctx      context.Context
	cancel   context.CancelCauseFunc // nil until the attempt begins
	began    time.Time               // zero unless the job is tracked
	tracker  *status.Tracker         // nil unless the job is tracked
	result   json.RawMessage

	// foregone is the outcome when that was clear without a handler: the
	// message is malformed, its kind unknown, its handler gone by Goexit.
	foregone error

	// settled is set by whoever settles the attempt: the slot that ran it or,
	// for a handler that does not return, the shutdown.
	settled atomic.Bool

	// tracking is set by the Tracking middleware of a job that is tracked.
	tracking atomic.Bool

	// expires is when the context ends or has ended, by the timeout of the job
	// or with its lease, in Unix nanoseconds; 0 while it does not.
	expires atomic.Int64

	// Guarded by leases.mu.
	prev, next *attempt
	until      time.Time // end of the lease, by the clock of this process
	begun      bool      // its context can be cancelled
	lost       bool
	stuck      bool // reported
}

// settings is what a job asks of the middleware.
type settings struct {
	retry       retry.Policy  // nil: the default of Retries
	timeout     time.Duration // 0: the default of Timeouts
	buryOnError bool
	postponed   int // how often its kind was unknown
	track       bool
	positional  bool // the arguments are a list by position
}

// claim reports whether the caller is the one to settle the attempt.
func (a *attempt) claim() bool { return a.settled.CompareAndSwap(false, true) }

// disowned reports whether the job was given to another worker while its
// handler ran, so that what the handler returns does not count.
func (a *attempt) disowned() bool {
	return a.settled.Load() || context.Cause(a.ctx) == ErrLeaseLost
}

func (a *attempt) expire(t time.Time) { a.expires.Store(t.UnixNano()) }

// readAll takes the settings of a kind and then those that the message itself
// carries.
func (s *settings) readAll(r *registration, m *backend.Message) error {
	if r != nil {
		s.retry, s.timeout = r.defaults.retry, r.defaults.timeout
	}
	for name, raw := range m.Extra {
		if string(raw) == "null" { // counts as absent, as for all fields
			continue
		}
		if err := s.read(name, raw); err != nil {
			return fmt.Errorf("%w: field %q: %w", ErrMalformed, name, err)
		}
	}
	return nil
}

func (s *settings) read(name string, raw json.RawMessage) error {
	switch name {
	case extraRetry:
		var policy retry.Backoff
		if err := json.Unmarshal(raw, &policy); err != nil {
			return err
		}
		s.retry = policy
	case extraTimeout:
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return err
		}
		if d <= 0 {
			return fmt.Errorf("%v is not positive", d)
		}
		s.timeout = d
	case backend.ExtraPositional:
		s.positional = string(raw) == "true"
	case extraTrack:
		return json.Unmarshal(raw, &s.track)
	case extraPostpone:
		return json.Unmarshal(raw, &s.postponed)
	case extraError:
		var onError struct {
			Bury bool `json:"bury"`
		}
		if err := json.Unmarshal(raw, &onError); err != nil {
			return err
		}
		s.buryOnError = onError.Bury
	}
	return nil
}
