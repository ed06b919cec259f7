// Package backendtest is the suite that every broker driver passes. The
// author of a driver runs it in a test of their own, against a real broker:
//
//	func TestConformance(t *testing.T) {
//		backendtest.Run(t, backendtest.Harness{
//			Open: func(ctx context.Context) (backend.Backend, error) {
//				return backend.Open(ctx, "beanstalkd://localhost:11300")
//			},
//			PutRaw:    putWithPlainClient,
//			Lease:     10 * time.Second,
//			DelayUnit: time.Second,
//			Without: []backendtest.Capability{
//				backendtest.UniqueIDs, backendtest.AllQueues, backendtest.StoreProvider,
//			},
//		})
//	}
//
// # How to read a failure
//
// Each case is one sentence of the contract in package backend, and its name
// is that sentence. When it fails it says what was expected and what happened
// instead, which calls led there, each with the time it was made, its
// connection (A is the first that the case opened) and its outcome, and why
// the rule matters:
//
//	--- FAIL: TestConformance/settle/retry-leaves-one-copy
//	    Reserve handed out mwzx-1 (attempt 1, deliveries 2), want nothing for 110ms
//	    What was done:
//	         0s  A.Open(): ok
//	         0s  A.Push(mwzx-1): ok
//	         0s  A.Reserve(bt-mwzx-jobs, max 1, lease 1s): mwzx-1 (attempt 1, deliveries 1)
//	         0s  A.Retry(mwzx-1): ok
//	         …
//	    Why it matters: A retry that leaves the old copy behind runs the job twice …
//
// Run one case alone with
//
//	go test -run 'TestConformance/settle/retry-leaves-one-copy'
//
// Begin with the groups delivery and settle, then lease; the others build on
// them. A case that hangs fails by itself and names the call that did not
// return.
//
// Nothing is left out in silence. What the broker is known not to have is
// listed in [Harness.Without]; a capability that is missing and not listed is
// a failure, and so is one that is listed and there.
//
// The suite uses queues of its own, whose names begin with bt-, leaves the
// others alone, and does not clear up behind itself. What takes from all
// queues is looked at on a broker that nobody else uses: see [Harness.Fresh].
package backendtest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend"
)

// Harness tells the suite how to reach the broker under test, and what to
// expect of it.
type Harness struct {
	// Open opens a connection to the broker. All calls reach the same one,
	// from several goroutines. The suite closes what it opens.
	Open func(ctx context.Context) (backend.Backend, error)

	// PutRaw stores bytes in a queue as a foreign producer would, past the
	// driver. Bytes that the broker itself does not take, such as an empty
	// body, are an error that wraps backend.ErrUnsupported. It is nil only
	// without [ForeignProducers].
	PutRaw func(ctx context.Context, queue string, raw []byte) error

	// Minimal returns the least that a foreign producer must write to have a
	// job run. When nil, that is {"job":kind,"data":args}.
	Minimal func(kind string, args []byte) []byte

	// Accepts reports whether bytes of a foreign producer are a message. When
	// nil, that is what backend.DecodeEnvelope says.
	Accepts func(raw []byte) bool

	// Lease is the shortest lease that suits the broker; the suite waits for
	// dozens of them to end. When zero it is a second.
	Lease time.Duration

	// Slack is how late a job that is due, or whose lease has ended, may be,
	// and by how much a call may overstay. When zero it is half a second. It
	// should be well below Lease. Early is never allowed.
	Slack time.Duration

	// DelayUnit is the finest delay that the broker knows: shorter ones are
	// rounded up to it. When zero it is a millisecond.
	DelayUnit time.Duration

	// Fresh returns the harness of a broker that is empty and that nobody else
	// uses, or of a part of one, such as a namespace, that is as good as that.
	// It is for the cases that take messages from every queue there is, and is
	// called for each of them; nothing of the harness around it, such as Lease
	// or Requests, then holds. It is nil only without [AllQueues].
	Fresh func() Harness

	// Requests, if not nil, counts the requests that the broker has received
	// so far. It shows a Reserve that polls. While it is looked at no other
	// case runs.
	Requests func() int64

	// Without lists the capabilities that the broker is known not to have.
	Without []Capability
}

func (h Harness) withDefaults() Harness {
	if h.Lease == 0 {
		h.Lease = time.Second
	}
	if h.Slack == 0 {
		h.Slack = 500 * time.Millisecond
	}
	if h.DelayUnit == 0 {
		h.DelayUnit = time.Millisecond
	}
	if h.Accepts == nil {
		h.Accepts = func(raw []byte) bool {
			_, err := backend.DecodeEnvelope(raw)
			return err == nil
		}
	}
	if h.Minimal == nil {
		h.Minimal = func(kind string, args []byte) []byte {
			return []byte(`{"job":"` + kind + `","data":` + string(args) + `}`)
		}
	}
	return h
}

// atOnce is how many cases share a broker at a time. Most only wait for a
// lease to end; more of them would be in each other's way.
const atOnce = 16

// Run checks every case in a subtest of t, many at a time.
func Run(t *testing.T, h Harness) {
	t.Helper()
	turns := make(chan struct{}, atOnce)
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if c.alone {
				report(t, c.Run(t.Context(), h))
				return
			}
			// The case begins before t.Parallel, which would hold it back
			// until one of GOMAXPROCS others is done: leases of ten seconds
			// would add up to minutes.
			result := make(chan error, 1)
			go func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				result <- c.Run(t.Context(), h)
			}()
			t.Parallel()
			report(t, <-result)
		})
	}
}

// RunInBubbles checks every case in a subtest of t, each within a bubble of
// testing/synctest, so that waiting costs nothing. It is for brokers that live
// in this process and open no connection. fresh is called in each bubble and
// returns the harness of a broker that was made there; it does for
// Harness.Fresh too.
func RunInBubbles(t *testing.T, fresh func() Harness) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			var err error
			synctest.Test(t, func(t *testing.T) {
				h := fresh()
				h.Fresh = fresh
				if err = c.Run(t.Context(), h); err != nil && !errors.Is(err, ErrSkipped) {
					t.Error(err)
					// A call that hangs may end after all, before the bubble
					// does; one that does not is a panic there.
					time.Sleep(24 * time.Hour)
				}
			})
			if errors.Is(err, ErrSkipped) {
				t.Skip(err) // out here, where it shows
			}
		})
	}
}

func report(t *testing.T, err error) {
	t.Helper()
	switch {
	case errors.Is(err, ErrSkipped):
		t.Skip(err)
	case err != nil:
		t.Error(err)
	}
}
