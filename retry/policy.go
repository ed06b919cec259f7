package retry

import "time"

// A Policy decides whether, and after what delay, a failed job runs again.
//
// Next returns the delay before the next attempt, counted from now, and true;
// or false if the job is not to be retried, and then the delay has no meaning.
// A delay below zero means zero.
//
// Next must be safe for concurrent use: one policy serves many jobs at once.
// It should depend on nothing but the attempt and chance, because the attempts
// of one job may fail in different processes.
type Policy interface {
	Next(a Attempt) (delay time.Duration, ok bool)
}

// An Attempt describes the attempt that has just failed.
type Attempt struct {
	Number  int           // 1 for the first attempt; the policies of this package take less than 1 for 1
	Elapsed time.Duration // since the job was enqueued, waiting included; less than 0 (clocks differ) is taken for 0
	Err     error         // why the attempt failed
}

// PolicyFunc makes a Policy of a function, which must be safe for concurrent
// use.
type PolicyFunc func(a Attempt) (delay time.Duration, ok bool)

// Next returns f(a).
func (f PolicyFunc) Next(a Attempt) (delay time.Duration, ok bool) {
	return f(a)
}

// Default returns the policy of jobs that were given none: [Polynomial].
func Default() Backoff {
	return Polynomial()
}
