// Package status records what becomes of jobs: a [Record] for each tracked
// job, in a [store.Store], that any process can read or wait for.
//
// A record says what was last heard of a job. It is no part of the job:
// records are written beside the work, merged under load, and dropped rather
// than waited for when the store is down. No job fails because its status
// could not be written, and none waits for that but the one whose
// [Tracker.Create] finds out that the store is down, for a second.
//
//	tracker := status.New(s)
//	tracker.Create(ctx, status.Record{ID: id, Kind: "send_email", State: status.Ready})
//	tracker.Update(id, 1, func(r *status.Record) { r.State = status.Done })
//	record, err := tracker.Wait(ctx, id)
//
// Records expire: those of finished jobs a day after they were last written
// (see [Keep]), the others 30 days after that or after they were due,
// whichever is later.
package status

import (
	"encoding/json"
	"time"
)

// State is where a job is in its life.
type State string

// The states of a job. A job that is put back from Dead is Ready again.
const (
	Scheduled State = "scheduled" // not due before Record.DueAt
	Ready     State = "ready"     // waits for a worker
	Running   State = "running"   // has a worker
	Retrying  State = "retrying"  // failed, and not due again before Record.DueAt
	Done      State = "done"      // finished well
	Dead      State = "dead"      // given up, and kept in the dead set for a person
	Cancelled State = "cancelled" // given up on purpose
)

// Finished reports whether nothing more happens to the job by itself: it is
// done, dead or cancelled.
func (s State) Finished() bool {
	return s == Done || s == Dead || s == Cancelled
}

// Record is the status of a job. Its JSON is what is stored, and is stable.
// A time that is zero has not come or is not known.
type Record struct {
	ID          string          `json:"id"`
	Kind        string          `json:"kind,omitempty"`
	Queue       string          `json:"queue,omitempty"`
	State       State           `json:"state"`
	Attempt     int             `json:"attempt"` // the latest: 1 for the first, 0 before it
	MaxAttempts int             `json:"max_attempts,omitempty"`
	CreatedAt   time.Time       `json:"created_at,omitzero"`
	UpdatedAt   time.Time       `json:"updated_at,omitzero"`  // of the last change, set by the Tracker
	StartedAt   time.Time       `json:"started_at,omitzero"`  // of the latest attempt
	FinishedAt  time.Time       `json:"finished_at,omitzero"` // when State became a finished one
	DueAt       time.Time       `json:"due_at,omitzero"`      // the earliest next start, while scheduled or retrying
	Error       string          `json:"error,omitempty"`      // the latest
	Errors      []Failure       `json:"errors,omitempty"`     // oldest first; see AddFailure
	Progress    Progress        `json:"progress,omitzero"`
	Result      json.RawMessage `json:"result,omitempty"`
}

// Failure is one attempt that failed.
type Failure struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at,omitzero"`
	Error   string    `json:"error"`
}

// Progress is how far a job says it is, in a unit of its own choice. Total is
// zero when it does not know.
type Progress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total,omitempty"`
}

const (
	// firstFailures and lastFailures bound Record.Errors. The first failure is
	// often the telling one and the last are what a person looks at. Together
	// they are the 25 of a job with Sidekiq's number of retries, so that only
	// the history of an unusual job has a gap.
	firstFailures = 1
	lastFailures  = 24

	// maxErrorBytes bounds each error text: enough for a stack, and small
	// enough that a record with every failure is some 100 KiB.
	maxErrorBytes = 4 << 10
)

// AddFailure makes f the latest error and appends it to the history. When the
// record is written, the first and the last 24 failures are kept, and error
// texts are cut to 4 KiB.
func (r *Record) AddFailure(f Failure) {
	r.Error = f.Error
	r.Errors = append(r.Errors, f)
}
