package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/status"
)

// settlement is what the broker is to be told about an attempt.
type settlement struct {
	attempt *attempt
	verdict Verdict
	delay   time.Duration
	message *backend.Message // of Retried and Buried
	failure *backend.Failure // of Buried
	err     error            // that it was made of

	// record writes what the broker has settled into the status of the job;
	// nil when that is not tracked.
	record func(*status.Record)
}

// settler tells the broker what came of the attempts, without a timer and
// without holding up the slots: while one call is in flight the next
// settlements gather, and go as one batch. It tries again while the lease
// runs. Its context is its own; that of a job has nothing to say here.
type settler struct {
	worker *worker
	ctx    context.Context // ends when the worker gives up
	cancel context.CancelFunc

	mu      sync.Mutex
	call    context.Context    // guarded by mu: of the calls to the broker, until one hangs
	abort   context.CancelFunc // guarded by mu: ends call
	called  time.Time          // guarded by mu: when the latest call began
	changed sync.Cond          // on mu: pending was taken, or the work is done
	pending []settlement       // guarded by mu
	busy    bool               // guarded by mu: a goroutine works on what gathered
	failed  []settlement       // guarded by mu: to be tried again
	trying  bool               // guarded by mu: a goroutine tries those again
	locks   int                // guarded by mu: goroutines that release unique jobs
	hurried bool               // guarded by mu: add does not wait
}

// maxPending is how many settlements gather before the slots have to wait: the
// broker is down or slower than the handlers.
const maxPending = 1000

func newSettler(w *worker) *settler {
	s := &settler{worker: w}
	s.changed.L = &s.mu
	s.ctx, s.cancel = context.WithCancel(w.base)
	return s
}

func (s *settler) add(one settlement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pending)+len(s.failed) >= maxPending && !s.hurried {
		s.changed.Wait()
	}
	s.pending = append(s.pending, one)
	if !s.busy {
		s.busy = true
		go s.work()
	}
}

// hurry lets nobody wait in add any more: the worker ends.
func (s *settler) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hurried = true
	s.changed.Broadcast()
}

// wait waits until everything is settled or given up.
func (s *settler) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.busy || s.trying || s.locks > 0 {
		s.changed.Wait()
	}
}

// work settles until nothing is pending.
func (s *settler) work() {
	var batch []settlement
	for {
		clear(batch)
		s.mu.Lock()
		batch, s.pending = s.pending, batch[:0]
		s.busy = len(batch) > 0
		s.changed.Broadcast()
		s.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		s.settle(batch, false)
	}
}

// tryAgain settles what has failed, after pauses that grow, until nothing is
// left of that. It does so beside work: a broker may refuse one verb and take
// the others, as a Redis without memory does with retries and acks.
func (s *settler) tryAgain() {
	pause := backoff{least: 50 * time.Millisecond, most: 2 * time.Second}
	for {
		sleep(s.ctx, pause.next())
		s.mu.Lock()
		batch := s.failed
		s.failed = nil
		s.changed.Broadcast()
		s.mu.Unlock()
		s.settle(batch, true)
		s.mu.Lock()
		if len(s.failed) == 0 {
			s.trying = false
			s.changed.Broadcast()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// settle makes one call for each verb that the batch needs, and one for each
// different delay of a release. again says that they have failed before.
func (s *settler) settle(batch []settlement, again bool) {
	var retries, burials []settlement
	var releases map[time.Duration][]settlement
	acks := batch[:0]
	for _, one := range batch {
		switch one.verdict {
		case Retried:
			retries = append(retries, one)
		case Buried:
			burials = append(burials, one)
		case Released:
			if releases == nil {
				releases = make(map[time.Duration][]settlement)
			}
			releases[one.delay] = append(releases[one.delay], one)
		default:
			acks = append(acks, one)
		}
	}
	b := s.worker.queue.backend
	s.try(acks, again, func(ctx context.Context, some []settlement) error {
		return b.Ack(ctx, deliveriesOf(some))
	})
	s.try(retries, again, func(ctx context.Context, some []settlement) error {
		replacements := make([]backend.Replacement, len(some))
		for i, one := range some {
			replacements[i] = backend.Replacement{Delivery: one.attempt.delivery, Message: one.message}
		}
		return b.Retry(ctx, replacements)
	})
	s.try(burials, again, func(ctx context.Context, some []settlement) error {
		list := make([]backend.Burial, len(some))
		for i, one := range some {
			list[i] = backend.Burial{Delivery: one.attempt.delivery, Message: one.message, Failure: *one.failure}
		}
		return b.Bury(ctx, list)
	})
	for delay, some := range releases {
		s.try(some, again, func(ctx context.Context, some []settlement) error {
			return b.Release(ctx, deliveriesOf(some), delay)
		})
	}
}

func deliveriesOf(batch []settlement) []*backend.Delivery {
	deliveries := make([]*backend.Delivery, len(batch))
	for i, one := range batch {
		deliveries[i] = one.attempt.delivery
	}
	return deliveries
}

// try calls the broker for batch. What fails is tried again for as long as
// its lease runs.
func (s *settler) try(batch []settlement, again bool, call func(context.Context, []settlement) error) {
	if len(batch) == 0 {
		return
	}
	var err error
	if again {
		ctx, cancel := context.WithTimeout(s.ctx, s.worker.leases.lease)
		err = call(ctx, batch)
		cancel()
	} else {
		err = call(s.callContext(), batch)
	}
	if err == nil {
		s.settled(batch)
		return
	}
	var settled, failed []settlement
	for i, one := range batch {
		err := backend.ErrorAt(err, i)
		switch {
		case err == nil:
			settled = append(settled, one)
		case isLeaseLost(err), errors.Is(err, ErrClosed):
			s.giveUp(one, err)
		case isPermanent(err):
			s.refused(one, again, err)
		case s.ctx.Err() != nil || s.worker.leases.over(one.attempt):
			s.giveUp(one, err)
		default:
			failed = append(failed, one)
		}
	}
	s.settled(settled)
	if len(failed) == 0 {
		return
	}
	s.worker.queue.logger.Warn("queue: cannot settle jobs; trying again", "jobs", len(failed), "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = append(s.failed, failed...)
	if !s.trying {
		s.trying = true
		go s.tryAgain()
	}
}

// callContext returns the context of a call that begins now. A timeout of its
// own would cost more than the call does on a fast broker; the leases, which
// have a timer anyway, look for a call that hangs.
func (s *settler) callContext() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call == nil || s.call.Err() != nil {
		s.call, s.abort = context.WithCancel(s.ctx)
	}
	s.called = time.Now()
	return s.call
}

// abortHanging ends a call that has been in flight for a whole lease.
func (s *settler) abortHanging(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy && s.abort != nil && now.Sub(s.called) > s.worker.leases.lease {
		s.abort()
	}
}

func isLeaseLost(err error) bool { return errors.Is(err, ErrLeaseLost) }

// isPermanent reports whether the broker will refuse the same call again.
func isPermanent(err error) bool {
	return errors.Is(err, ErrTooLarge) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnsupported)
}

func (s *settler) settled(batch []settlement) {
	if len(batch) == 0 {
		return
	}
	attempts := make([]*attempt, len(batch))
	var locked []settlement
	for i, one := range batch {
		attempts[i] = one.attempt
		ended := one.verdict != Retried && one.verdict != Released
		if ended && one.attempt.delivery.Extra[extraUnique] != nil {
			locked = append(locked, one)
		} else if one.record != nil {
			one.attempt.track(one.record)
		}
	}
	s.worker.leases.remove(attempts...)
	if len(locked) > 0 {
		s.unlock(locked)
	}
}

// unlock releases unique jobs beside the settling, which must not wait for
// the store. Their status follows, so that who waits for the end of one can
// enqueue the next.
func (s *settler) unlock(batch []settlement) {
	s.mu.Lock()
	s.locks++
	s.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(s.worker.base, storeTimeout)
		defer cancel()
		for _, one := range batch {
			s.worker.queue.unlockUnique(ctx, &one.attempt.delivery.Message)
			if one.record != nil {
				one.attempt.track(one.record)
			}
		}
		s.mu.Lock()
		s.locks--
		s.changed.Broadcast()
		s.mu.Unlock()
	}()
}

// giveUp lets go of an attempt that can no longer be settled: the broker hands
// the job out again.
func (s *settler) giveUp(one settlement, err error) {
	s.worker.leases.remove(one.attempt)
	d := one.attempt.delivery
	s.worker.queue.logger.Warn("queue: job not settled here; unless another worker has done it, it will run again",
		"kind", d.Kind, "id", d.ID, "attempt", d.Attempt, "verdict", one.verdict.String(), "error", err)
}

// refused buries a job whose replacement the broker does not take. For any
// other settlement there is nothing left to do.
func (s *settler) refused(one settlement, again bool, err error) {
	if one.verdict != Retried {
		s.giveUp(one, err)
		return
	}
	err = fmt.Errorf("the broker refused the retry: %w", err)
	one.verdict = Buried
	one.message.Delay = 0
	one.failure = failureOf(err)
	one.record = one.attempt.outcome(Bury(err))
	s.settle([]settlement{one}, again)
}

// postponed returns m as it was before this attempt, with the number of times
// that its kind was unknown.
func postponed(m *backend.Message, times int) *backend.Message {
	copied := *m
	copied.Attempt--
	copied.Extra = maps.Clone(m.Extra)
	if copied.Extra == nil {
		copied.Extra = make(map[string]json.RawMessage)
	}
	copied.Extra[extraPostpone] = strconv.AppendInt(nil, int64(times), 10)
	return &copied
}
