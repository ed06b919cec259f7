package queue

import (
	"errors"
	"fmt"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/status"
)

// Errors of the broker, the same as in package backend.
var (
	// ErrClosed is returned by what is called after Close, and by a Wait that
	// is then in progress.
	ErrClosed = backend.ErrClosed

	// ErrLeaseLost is the cause of a job's context when the broker no longer
	// reserves the job for this process: another may be running it. What the
	// handler returns is refused.
	ErrLeaseLost = backend.ErrLeaseLost

	// ErrTooLarge is returned by Enqueue for a job above the broker's limit.
	ErrTooLarge = backend.ErrTooLarge

	// ErrUnavailable is returned when the broker could not be reached or
	// refused to work. The request had no effect.
	ErrUnavailable = backend.ErrUnavailable

	// ErrUnsupported is returned for an option that the broker cannot honour.
	ErrUnsupported = backend.ErrUnsupported

	// ErrInvalid is returned for what no broker could take: a bad queue name,
	// a negative delay, a URL that does not parse.
	ErrInvalid = backend.ErrInvalid

	// ErrMalformed is why a message that is not a job was buried.
	ErrMalformed = backend.ErrMalformed
)

var (
	// ErrRunning is returned by Run while the same Queue is running already.
	ErrRunning = errors.New("queue: already running")

	// ErrInvalidArgs is returned by Enqueue for arguments that are nil, have
	// no JSON form, or are not of the type that the kind was registered with;
	// and it is why a job whose stored arguments do not decode into that type
	// was buried.
	ErrInvalidArgs = errors.New("queue: invalid args")

	// ErrUnknownKind is why a job whose kind is not registered here was put
	// back, for another process that knows it, and buried when none had come
	// after 79 minutes.
	ErrUnknownKind = errors.New("queue: unknown kind")

	// ErrNoStore is returned where a store is needed and the queue has none.
	ErrNoStore = errors.New("queue: no store; pair the broker with one by queue.Store(\"redis://…\")")

	// ErrDuplicate is returned by Enqueue, beside the ID of the job that
	// stands in the way, for a job with Unique.
	ErrDuplicate = errors.New("queue: a job like this one is waiting already")

	// ErrVetoed wraps the error with which a BeforeEnqueue or BeforePerform
	// hook refused a job.
	ErrVetoed = errors.New("queue: vetoed by a hook")

	// ErrNotTracked is returned by Status and Wait for a job that was not
	// enqueued with Track, or whose status has expired.
	ErrNotTracked = status.ErrNotFound

	// ErrTimeout is the cause of a job's context after its Timeout.
	ErrTimeout = errors.New("queue: job timed out")

	// ErrShutdown is the cause of a job's context when Run has ended and the
	// grace of Shutdown is over.
	ErrShutdown = errors.New("queue: shutting down")

	// ErrDrainTimeout is returned by Run when handlers had to be cancelled
	// because the grace of Shutdown was over. Their jobs were given back.
	ErrDrainTimeout = errors.New("queue: handlers were still running when the shutdown grace ended")

	// ErrCrashLoop is why a job was buried that was handed out again and
	// again without ever being settled: it kills its workers.
	ErrCrashLoop = errors.New("queue: job kills its workers")

	// ErrAttemptsExhausted is why a job was buried without another attempt:
	// its last one ended with its worker's death, or the limit was lowered.
	ErrAttemptsExhausted = errors.New("queue: no attempt left")

	// ErrGoexit is the failure of an attempt whose handler called
	// runtime.Goexit, as t.FailNow does.
	ErrGoexit = errors.New("queue: handler called runtime.Goexit")
)

// BatchError says which jobs of an EnqueueMany failed.
type BatchError = backend.BatchError

// PanicError is the failure of an attempt whose handler panicked.
type PanicError struct {
	Value any    // of the panic
	Stack []byte // of the goroutine, as runtime/debug.Stack formats it
}

// Error returns the value of the panic, without the stack.
func (e *PanicError) Error() string {
	if e.Value == ErrGoexit {
		return ErrGoexit.Error()
	}
	return fmt.Sprintf("queue: handler panicked: %v", e.Value)
}

// Unwrap returns the value of the panic when it is an error. RetryIn, Bury,
// Snooze and Cancel mean nothing in a panic.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	if _, decided := errors.AsType[*decision](err); decided {
		return nil
	}
	return err
}
