package queue

import (
	"errors"
	"fmt"
	"time"
)

// Verdict is what an attempt came to.
type Verdict int

// The verdicts. An error that nobody has decided yet is Undecided: Retries
// makes it a Retried or a Buried.
const (
	Done      Verdict = iota // the job is finished
	Undecided                // an error without a verdict
	Retried                  // runs again after a delay, one attempt spent
	Released                 // runs again after a delay, no attempt spent
	Buried                   // goes to the dead set
	Cancelled                // is dropped
)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case Done:
		return "done"
	case Undecided:
		return "undecided"
	case Retried:
		return "retried"
	case Released:
		return "released"
	case Buried:
		return "buried"
	case Cancelled:
		return "cancelled"
	}
	return fmt.Sprintf("Verdict(%d)", int(v))
}

// decision is an error that carries a verdict. It may be wrapped.
type decision struct {
	verdict Verdict
	delay   time.Duration
	err     error

	// postponed marks a Released of a kind that is unknown here, which is
	// counted in the message.
	postponed bool
}

func (d *decision) Error() string {
	what := d.verdict.String()
	switch {
	case d.delay > 0 && d.verdict == Retried:
		what = fmt.Sprintf("%s in %v", what, d.delay)
	case d.delay > 0:
		what = fmt.Sprintf("%s for %v", what, d.delay)
	}
	if d.err == nil {
		return "queue: job " + what
	}
	return what + ": " + textOf(d.err)
}

func (d *decision) Unwrap() error { return d.err }

// RetryIn returns an error that makes the job run again after delay, whatever
// its retry policy says, as long as it has attempts left. A negative delay is
// zero. It wraps err, which may be nil.
func RetryIn(delay time.Duration, err error) error {
	return &decision{verdict: Retried, delay: max(delay, 0), err: err}
}

// Bury returns an error that sends the job to the dead set at once: trying
// again would not help. It wraps err, which may be nil.
func Bury(err error) error { return &decision{verdict: Buried, err: err} }

// Snooze returns an error that puts the job back for delay without spending
// an attempt: it is too early, nothing has failed. A negative delay is zero.
func Snooze(delay time.Duration) error { return snooze(delay, nil) }

func snooze(delay time.Duration, err error) error {
	return &decision{verdict: Released, delay: max(delay, 0), err: err}
}

// Cancel returns an error that drops the job: it need not be done any more.
// It wraps err, which may be nil.
func Cancel(err error) error { return &decision{verdict: Cancelled, err: err} }

// VerdictOf tells a middleware what an error from the next handler means, and
// after which delay the job will run again if it does.
func VerdictOf(err error) (Verdict, time.Duration) {
	if err == nil {
		return Done, 0
	}
	if d, ok := errors.AsType[*decision](err); ok {
		return d.verdict, d.delay
	}
	return Undecided, 0
}

// textOf returns the text of an error of the user's code. Its Error method may
// panic, as that of many a nil pointer does; package fmt survives that.
func textOf(err error) string { return fmt.Sprint(err) }

// cause returns the error that a decision was made for: what the user's code
// returned.
func cause(err error) error {
	if d, ok := err.(*decision); ok && d.err != nil {
		return cause(d.err)
	}
	return err
}
