package backend

import (
	"errors"
	"fmt"
)

// The texts begin with the name of the package that users of a driver see.
var (
	// ErrClosed is returned by every verb once the backend is closed.
	ErrClosed = errors.New("queue: closed")

	// ErrLeaseLost is returned for a delivery that is no longer held: its
	// lease ended, it was settled before, or the broker gave it to another
	// worker. The broker, not only the driver, refuses the late settle where
	// it can.
	ErrLeaseLost = errors.New("queue: lease lost")

	// ErrTooLarge is returned for a message that is larger than the broker
	// takes. It was not stored.
	ErrTooLarge = errors.New("queue: message too large")

	// ErrUnavailable is returned when the broker could not be reached or
	// refused to work. The request certainly had no effect: after a reply
	// that was lost in transit the error is another one.
	ErrUnavailable = errors.New("queue: broker unavailable")

	// ErrUnsupported is returned for what the broker cannot do.
	ErrUnsupported = errors.New("queue: not supported by this broker")

	// ErrInvalid is returned for arguments that no broker takes: an empty
	// queue name, a message without a kind, max below 1. Nothing was done.
	ErrInvalid = errors.New("queue: invalid argument")

	// ErrNotFound is returned for a job that the broker does not know.
	ErrNotFound = errors.New("queue: no such job")

	// ErrMalformed is what [Delivery.Malformed] wraps.
	ErrMalformed = errors.New("queue: malformed message")
)

// BatchError says which items of a batch failed. The others succeeded.
type BatchError struct {
	// Errs has one element for each item of the batch, in its order: nil for
	// an item that succeeded.
	Errs []error
}

// NewBatchError returns a *BatchError of errs, or nil when each of them is.
func NewBatchError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return &BatchError{Errs: errs}
		}
	}
	return nil
}

// Error tells how many items failed, and why the first of them did.
func (e *BatchError) Error() string {
	var first error
	failed := 0
	for _, err := range e.Errs {
		if err == nil {
			continue
		}
		if first == nil {
			first = err
		}
		failed++
	}
	if len(e.Errs) == 1 && first != nil {
		return first.Error()
	}
	return fmt.Sprintf("%d of %d failed, the first with: %v", failed, len(e.Errs), first)
}

// Unwrap returns the errors of the items that failed.
func (e *BatchError) Unwrap() []error {
	var errs []error
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// ErrorAt returns what err, the result of a batch, means for its item i: nil
// for an item that succeeded, and err itself when it is about the batch as a
// whole.
func ErrorAt(err error, i int) error {
	if batch, ok := errors.AsType[*BatchError](err); ok {
		if i < len(batch.Errs) {
			return batch.Errs[i]
		}
		return nil
	}
	return err
}
