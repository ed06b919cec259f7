package backend

import (
	"context"
	"encoding/json"
	"time"

	"github.com/goferhq/queue/store"
)

// The optional interfaces of a Backend. Look for them with [As], so that a
// backend that wraps another does not hide what the inner one can do.

// Extender prolongs leases.
//
// A broker without leases, one that keeps a delivery for as long as its
// connection lives, has no Extender; its driver ignores the lease of Reserve,
// and long jobs are safe.
type Extender interface {
	// Extend makes the leases of deliveries end lease from now. Those that
	// are no longer held fail with [ErrLeaseLost].
	Extend(ctx context.Context, deliveries []*Delivery, lease time.Duration) error
}

// LossNotifier tells at once of deliveries that the broker has taken back, as
// one does that ties them to a connection and has lost that. Without it a
// worker hears of the loss when it next calls Extend, up to half a lease later,
// or only when it settles the job if there is no [Extender]; until then its
// handler runs beside that of the next holder.
//
// It adds no duty to the verbs: what is lost they refuse with [ErrLeaseLost],
// and Extend remains the way in which a lease is found to be lost otherwise.
//
// A driver first lets Lost report the loss, which for all deliveries of a
// connection can be a flag that their receipts lead to, and then calls f. A
// loss that comes while Reserve returns is not missed that way: a worker asks
// for each delivery that it is handed, and for all it holds when f is called.
type LossNotifier interface {
	// Lost reports whether the driver knows that d is no longer held, and
	// goes on to do so. It finds the loan by the Receipt, as the verbs do,
	// and answers by what the driver knows, without a call to the broker and
	// without waiting for one. For a delivery that has been settled and for
	// one of another backend the answer means nothing, but there is one.
	Lost(d *Delivery) bool

	// NotifyLost has f called after each loss until stop is called; one call
	// may stand for several losses, and there may be none for a loss by
	// Close. Several functions can be set at a time, each has its own stop.
	//
	// The driver calls f from any goroutine, also during a verb and also
	// concurrently, but not while it holds a lock that Lost needs. f returns
	// soon, and calls no method of the backend but Lost. stop does not wait:
	// a call that is due or in progress may still come or go on after it.
	NotifyLost(f func()) (stop func())
}

// Limits is what a broker can hold and do.
type Limits struct {
	// MaxBody is the size in bytes that the stored form of a message may
	// have. Zero is [MaxEnvelope].
	MaxBody int

	// MaxBatch is the largest batch that still is one call to the broker.
	// Zero means that any batch is.
	MaxBatch int

	// MaxDelay is the longest delay. Zero is without limit.
	MaxDelay time.Duration

	// MinLease and MaxLease bound the lease of Reserve and Extend. A lease
	// outside of them is an error when the queue is opened. Zero is without
	// bound.
	MinLease, MaxLease time.Duration

	// DefaultLease is the lease of a worker that sets none. Zero leaves it to
	// the queue.
	DefaultLease time.Duration

	// MinPriority and MaxPriority bound Message.Priority. A broker without
	// priorities has 0 and 0.
	MinPriority, MaxPriority int

	// UniqueIDs says that a Push of an ID which is ready, scheduled or
	// reserved already succeeds and stores no second copy, so that a Push
	// whose reply was lost can simply be sent again.
	UniqueIDs bool

	// AllQueues says that Reserve takes [AllQueues].
	AllQueues bool
}

// Limiter tells the limits of a broker. A driver without it has none but
// [MaxEnvelope], and no priorities.
type Limiter interface {
	Limits() Limits
}

// State is where a stored message stands.
type State int

// The states of a stored message.
const (
	Ready     State = iota // waits for a worker
	Scheduled              // waits for its time
	Reserved               // on loan to a worker
	Dead                   // buried
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Ready:
		return "ready"
	case Scheduled:
		return "scheduled"
	case Reserved:
		return "reserved"
	case Dead:
		return "dead"
	}
	return "invalid"
}

// Stats counts the messages of one queue. A count that the broker cannot tell
// is -1.
type Stats struct {
	Queue                            string
	Ready, Scheduled, Reserved, Dead int64
	Paused                           bool
}

// Inspector counts. Without it a queue cannot be watched from here.
type Inspector interface {
	// Queues returns the names of the queues that the broker knows, sorted.
	// An empty queue may or may not be among them.
	Queues(ctx context.Context) ([]string, error)

	// Stats returns the counts of one queue. A queue that does not exist is
	// an empty one.
	Stats(ctx context.Context, queue string) (Stats, error)
}

// Entry is a stored message as a person sees it.
type Entry struct {
	Message

	// Key finds the entry again, for [DeadSet]. It is the driver's own and is
	// not the ID: two copies of a message have the same ID, a malformed one
	// has none.
	Key string

	State State

	// DueAt is when a scheduled message becomes ready, by the clock of this
	// process.
	DueAt time.Time

	// Failure is why a dead message was buried.
	Failure *Failure

	// Raw and Malformed are as in a Delivery.
	Raw       []byte
	Malformed error
}

// Lister shows messages without taking them.
type Lister interface {
	// Peek returns up to limit entries of a queue that are in the given
	// state, skipping the first offset: Ready in the order in which they
	// would be reserved, Scheduled by due time, Dead the oldest first. A
	// state that the broker cannot list fails with [ErrUnsupported].
	Peek(ctx context.Context, queue string, state State, offset, limit int) ([]*Entry, error)
}

// DeadSet works on what was buried. Keys are those of [Entry]; a key that is
// no longer there is skipped. Both methods return how many were found.
type DeadSet interface {
	// Requeue makes dead messages ready again, with Attempt 0. Malformed ones
	// come back as the bytes that they are.
	Requeue(ctx context.Context, queue string, keys ...string) (int, error)

	// Delete removes dead messages for good.
	Delete(ctx context.Context, queue string, keys ...string) (int, error)
}

// Remover takes messages out of the line.
type Remover interface {
	// Remove deletes the ready and scheduled messages of a queue that match
	// any of the filters, and returns how many there were. Reserved and dead
	// ones stay. No filter, an empty one and one whose Args are not JSON are
	// [ErrInvalid], and then nothing is deleted; [Purger] deletes all.
	// [MatchAny] tells a driver what to check and which messages match.
	// It knows of no store: the lock of a unique job and the status of a
	// tracked one stay until they expire. So do they after a Purge.
	Remove(ctx context.Context, queue string, filters ...Filter) (int, error)
}

// Purger empties a queue.
type Purger interface {
	// Purge deletes the ready and scheduled messages of a queue and returns
	// how many there were. Reserved and dead ones stay.
	Purge(ctx context.Context, queue string) (int, error)
}

// Pauser stops a queue for every worker, wherever it runs.
type Pauser interface {
	// Pause makes Reserve pass the queue over until Resume. Pushes are still
	// taken, and what is reserved can be settled.
	Pause(ctx context.Context, queue string) error
	Resume(ctx context.Context, queue string) error
}

// StoreProvider is a backend whose broker can hold the store too. A queue on
// a backend without it is given a store when it is opened, or has none.
type StoreProvider interface {
	// Store returns the store, the same on each call. It works at least until
	// the backend is closed; nobody else closes it.
	Store() store.Store
}

// JobStatus is what a broker keeps of a job. A time that is zero has not come
// or is not known.
type JobStatus struct {
	// State is "ready", "running", "done" or "dead".
	State string

	CreatedAt time.Time // when the job was enqueued
	StartedAt time.Time // of the latest attempt
	UpdatedAt time.Time // of the latest change of State

	// Result is the JSON of what the job returned. It is nil without any.
	Result json.RawMessage
}

// StatusReader is a broker in which the libraries that share it keep the
// status of their jobs. Without it a queue knows only of the jobs that were
// enqueued with its own option Track.
type StatusReader interface {
	// JobStatus returns the status of a job by its ID. A job of which the
	// broker keeps none is [ErrNotFound].
	JobStatus(ctx context.Context, id string) (JobStatus, error)
}

// Checker looks for settings of the broker that weaken a promise.
type Checker interface {
	// Check returns a warning for each, in words that say what is at risk and
	// which setting mends it: "Redis runs without AOF: a crash loses the
	// last minutes; set appendonly yes". The queue logs them when it opens.
	Check(ctx context.Context) ([]string, error)
}

// As finds the first backend along the Unwrap chain that begins with b which
// implements T, as errors.As does for errors. A backend that wraps another
// has a method Unwrap() Backend.
func As[T any](b Backend) (T, bool) {
	for b != nil {
		if t, ok := b.(T); ok {
			return t, true
		}
		w, ok := b.(interface{ Unwrap() Backend })
		if !ok {
			break
		}
		b = w.Unwrap()
	}
	var none T
	return none, false
}

// LimitsOf returns the limits of b with their defaults filled in.
func LimitsOf(b Backend) Limits {
	var l Limits
	if limiter, ok := As[Limiter](b); ok {
		l = limiter.Limits()
	}
	if l.MaxBody == 0 {
		l.MaxBody = MaxEnvelope
	}
	return l
}
