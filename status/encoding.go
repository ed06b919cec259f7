package status

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// encode returns the JSON of r within its bounds. It leaves r, and what r
// shares with the caller, as it is.
func (r Record) encode() ([]byte, error) {
	r.Error = cut(r.Error)
	r.Errors = bounded(r.Errors)
	value, err := json.Marshal(r)
	if err != nil && !json.Valid(r.Result) {
		// The state matters more than the result: without it, those who wait
		// for the job would wait for ever.
		r.Result, r.Error = nil, "status: the result is not valid JSON"
		value, err = json.Marshal(r)
	}
	if err != nil {
		return nil, fmt.Errorf("status: job %s cannot be recorded: %w", r.ID, err)
	}
	return value, nil
}

func decode(id string, value []byte) (Record, error) {
	var r Record
	err := json.Unmarshal(value, &r)
	if err == nil && r.ID != id {
		err = fmt.Errorf("it is that of %q", r.ID)
	}
	if err != nil {
		return Record{}, fmt.Errorf("status: the record of job %s is corrupt: %w", id, err)
	}
	return r, nil
}

const (
	// unfinishedKeep outlives every reasonable queue and retry policy; a record
	// that is older belongs to a job whose end nobody could write.
	unfinishedKeep = 30 * 24 * time.Hour

	// farthestDue keeps the sum of durations from overflowing.
	farthestDue = 100 * 365 * 24 * time.Hour
)

func (r *Record) timeToLive(keep time.Duration) time.Duration {
	if r.State.Finished() {
		return keep
	}
	return unfinishedKeep + min(max(time.Until(r.DueAt), 0), farthestDue)
}

func bounded(failures []Failure) []Failure {
	if gap := len(failures) - firstFailures - lastFailures; gap > 0 {
		failures = slices.Concat(failures[:firstFailures], failures[firstFailures+gap:])
	} else {
		failures = slices.Clone(failures)
	}
	for i := range failures {
		failures[i].Error = cut(failures[i].Error)
	}
	return failures
}

// cut shortens text to maxErrorBytes, with a mark that it did, and never
// within a rune.
func cut(text string) string {
	const mark = "…"
	if len(text) <= maxErrorBytes {
		return text
	}
	end := maxErrorBytes - len(mark)
	for i := range utf8.UTFMax {
		if utf8.RuneStart(text[end-i]) {
			end -= i
			break
		}
	}
	return text[:end] + mark
}
