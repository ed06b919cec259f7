package queue

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/goferhq/queue/status"
)

// Raw is the JSON of a job's arguments, as middleware sees them.
type Raw = json.RawMessage

// Status is what is known of a tracked job.
type Status = status.Record

// Job is one attempt to do a job: what a handler is given.
//
// A handler may read all of it and must not share it with other goroutines
// while it writes to it. A Job that was made by hand, in a test, works too;
// its Progress and SetResult do nothing.
type Job[T any] struct {
	ID    string // the same in every attempt
	Kind  string // what it was enqueued as
	Queue string // where it was taken from

	// Args is what was enqueued, by way of JSON.
	Args T

	// Attempt is 1 for the first run of the handler. It counts the attempts
	// that ended with the death of their process, too.
	Attempt int

	// MaxAttempts is the attempt after whose failure the job is buried, or 0
	// where the default of the process applies; see MaxAttemptsOf.
	MaxAttempts int

	// Priority is what the option of that name set.
	Priority int

	// EnqueuedAt is when the job was enqueued, by the clock of the process
	// that did. Zero if unknown.
	EnqueuedAt time.Time

	// Header is the metadata that the job was enqueued with. Changes are seen
	// by the handler behind a middleware but are not stored.
	Header map[string]string

	attempt *attempt // nil in a job made by hand
}

// Progress tells how much of a tracked job is done, in units of the caller's
// choosing. It returns at once; of calls in quick succession only the last is
// stored. It does nothing for a job that is not tracked, nor once the job was
// given to another worker.
func (j *Job[T]) Progress(done, total int64) {
	if a := j.attempt; a != nil && a.tracker != nil && !a.disowned() {
		a.tracker.Update(j.ID, j.Attempt, func(r *status.Record) {
			r.Progress = status.Progress{Done: done, Total: total}
		})
	}
}

// SetResult keeps v, as JSON, as the result of the job; it is stored when the
// job is done, if that is tracked. The error is that of v's encoding.
func (j *Job[T]) SetResult(v any) error {
	result, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("queue: result of job %s: %w", j.ID, err)
	}
	if a := j.attempt; a != nil && a.tracker != nil {
		a.result = result
	}
	return nil
}
