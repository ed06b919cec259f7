// Package backend is the contract between the queue and a message broker.
//
// A driver implements [Backend], seven verbs, and as many of the optional
// interfaces as its broker can honour. The queue in front of it holds the hard
// parts once, for all drivers: the pool, batching, retries, leases, status.
// Package backendtest holds the suite that proves a driver right; a driver
// that passes it gives its users every guarantee of the library.
//
// # The life of a message
//
//	 Push (no delay)                     Reserve                      Ack
//	-----------------------> [ READY ] -----------> [ RESERVED ] -----------> *gone*
//	                           ^  ^ ^                |  |  |  |
//	 Push (delay)              |  | |    lease ended |  |  |  |
//	-----------> [ SCHEDULED ]-'  | '----------------'  |  |  |
//	                 ^      due   |                     |  |  |
//	                 |            | Release             |  |  |
//	                 |            '---------------------'  |  |
//	                 | Retry (delay), Release (delay)      |  |
//	                 '-------------------------------------'  |
//	                              Requeue                     | Bury
//	 *gone* <---------- [ DEAD ] <----------------------------'
//	         Delete
//
// # What every driver promises
//
//   - At least once. A message whose Push returned nil is handed out until it
//     is settled, whatever happens to the processes in between.
//   - A lease is exclusive. While it runs, nobody else is handed the message.
//     Once it has ended, its holder can settle nothing: [ErrLeaseLost].
//   - An attempt counts when it begins, so that a message that kills its
//     worker is counted too. See [Message.Attempt].
//   - Bytes are kept. What a driver cannot decode it delivers as malformed,
//     with its raw bytes, and Bury keeps them.
//   - A message is never early, and never silently late, cut or clamped: what
//     a broker cannot do is an error.
//   - Nothing blocks past its context by more than half a second, and nothing
//     polls.
package backend

import (
	"context"
	"encoding/json"
	"time"
)

// Message is a job as the broker keeps it.
type Message struct {
	// ID names the job for as long as it lives, retries included. The queue
	// sets it; a message of a foreign producer that carries none is given one
	// by the driver when it is first delivered.
	ID string

	// Kind ties Args to a handler.
	Kind string

	// Queue is the line the message stands in.
	Queue string

	// Args is the JSON of the job's arguments. It is carried byte for byte.
	Args []byte

	// Attempt counts the attempts that have begun: 0 in a message that is
	// pushed for the first time, and in a Delivery the number of the attempt
	// that this delivery is, 1 for the first. Reserve adds one; a lease that
	// ends unsettled has spent it; Release gives it back; Retry stores what
	// its message says.
	Attempt int

	// MaxAttempts is the attempt after whose failure the message is buried.
	// Zero leaves it to the process that handles it. Drivers only carry it.
	MaxAttempts int

	// Priority orders the ready messages of one queue: higher goes first, 0
	// is the default, equal ones go in the order in which they became
	// ready. See [Limits] for the range that a broker can honour.
	Priority int

	// EnqueuedAt is when the producer made the job, by its own clock. Zero if
	// unknown.
	EnqueuedAt time.Time

	// Header is the user's own metadata.
	Header map[string]string

	// Extra holds the fields of the stored form that this version does not
	// know, each value byte for byte as it stood, and those that only the
	// queue in front reads, such as [ExtraPositional]. It survives a Retry.
	Extra map[string]json.RawMessage

	// Delay is how long Push or Retry holds the message back from Reserve. It
	// is rounded up to what the broker can do, never down, and it is not
	// stored: in a Delivery it is zero.
	Delay time.Duration
}

// ExtraPositional is the field of Message.Extra that says, by the value true,
// that Args are a JSON array of arguments by their position, as Ruby enqueues
// them, rather than one value. A driver that reads such a message sets it.
const ExtraPositional = "positional"

// Delivery is a message on loan from the broker until it is settled or its
// lease ends. What its Args, Header and Extra refer to must not be changed: a
// broker in this process may hold the same.
type Delivery struct {
	Message

	// Deliveries counts how many times this copy of the message has been
	// handed out since it was pushed, retried or requeued, this time included
	// and those that were given back with Release not. Above 1 it tells of
	// workers that died or lost their lease. Zero means that the broker
	// cannot tell.
	Deliveries int

	// Raw is what the broker holds, for a driver that stores bytes. It must
	// not be changed.
	Raw []byte

	// Malformed says why Raw is not a message. It is nil for a message; when
	// it is not, of the message's fields only Queue is meaningful, and Bury
	// is the way to settle it.
	Malformed error

	// Receipt is the driver's own, and is what its settling verbs find the
	// loan by. A copy of the Delivery carries the same one.
	Receipt any
}

// Replacement is a delivery and the message that takes its place.
type Replacement struct {
	Delivery *Delivery
	Message  *Message
}

// Burial is a delivery that goes to the dead set.
type Burial struct {
	Delivery *Delivery

	// Message is what the dead set keeps, usually the delivery's message with
	// the attempt counted. It is nil for a malformed delivery, whose Raw is
	// kept instead.
	Message *Message

	Failure Failure
}

// Failure is why a message was buried, kept beside it for a person to read.
// Its JSON form is the one that drivers store.
type Failure struct {
	At        time.Time `json:"at"`
	Error     string    `json:"error"`               // the error's text
	Type      string    `json:"type,omitempty"`      // the error's Go type, such as "*queue.PanicError"
	Backtrace []string  `json:"backtrace,omitempty"` // one frame a line, innermost first
	Worker    string    `json:"worker,omitempty"`    // host:pid of the process
}

// Backend is an open connection to a broker: what a driver must do.
//
// All methods are safe for concurrent use. Each returns within half a second
// of the end of its context, with an error for which errors.Is(err, ctx.Err())
// holds, and each fails with [ErrClosed] after Close.
//
// A method that takes several items is a batch, not a transaction: when some
// items fail and others do not, it returns a [*BatchError] that says which.
// Any other error is for the batch as a whole. A driver splits a batch that
// is larger than its broker takes. An empty batch is a no-op.
//
// Errors wrap the sentinels of this package where one applies.
type Backend interface {
	// Push stores messages and returns once they are as durable as the broker
	// makes them. A message that is larger than the broker takes fails with
	// [ErrTooLarge] and does not disturb its neighbours in the batch.
	// The Message structs belong to the caller again when Push returns; the
	// Args, Header and Extra that they refer to must not be changed any more.
	//
	// An error that is neither ErrUnavailable nor about the message itself
	// leaves open whether it was stored.
	Push(ctx context.Context, messages []*Message) error

	// Reserve takes at least one and at most max ready messages, on loan for
	// lease, and blocks until there is one or ctx ends. Queues come in the
	// order of their priority: a message of a later queue is taken only when
	// the earlier ones hold none ready. Within a queue, higher Priority and
	// then older comes first.
	//
	// The last of the queues may be [AllQueues]: every other queue, in the
	// alphabetical order of their names, byte by byte, those included that
	// come into being while Reserve waits. A broker whose [Limits] lack it
	// fails at once with [ErrUnsupported]; anywhere else but last it is
	// [ErrInvalid].
	//
	// Reserve neither waits to fill the batch nor polls. When ctx ends while
	// messages are already in hand they are returned, with a nil error.
	Reserve(ctx context.Context, queues []string, max int, lease time.Duration) ([]*Delivery, error)

	// Ack settles deliveries as done: the messages are gone.
	// Deliveries whose lease is no longer held fail with [ErrLeaseLost].
	Ack(ctx context.Context, deliveries []*Delivery) error

	// Retry settles each delivery by storing its replacement, after the
	// replacement's Delay and with the Attempt that it says. Where the broker
	// cannot do both at once the new message is stored first, so that a crash
	// in between leaves two and never none. A lost lease is [ErrLeaseLost],
	// and then nothing is stored.
	Retry(ctx context.Context, replacements []Replacement) error

	// Release gives deliveries back unchanged, their attempt unspent, to be
	// reserved again after delay; at once and in their old place in the line,
	// as far as the broker can, when delay is zero.
	// A lost lease is [ErrLeaseLost].
	Release(ctx context.Context, deliveries []*Delivery, delay time.Duration) error

	// Bury settles deliveries by moving them to the dead set of their queue,
	// where they stay, with their failure, until a person requeues or deletes
	// them. It works for malformed deliveries, whose Raw is kept as it is.
	// A lost lease is [ErrLeaseLost].
	Bury(ctx context.Context, burials []Burial) error

	// Close ends every call in progress with [ErrClosed] and lets go of the
	// broker. Messages still on loan come back by the end of their lease.
	// Closing twice is not an error.
	Close() error
}
