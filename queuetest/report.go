package queuetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goferhq/queue"
)

// Report is what came of the attempts of a [Queue.Drain].
type Report struct {
	// How many attempts ended how. A job that was retried and then done
	// counts in both.
	Done, Retried, Released, Buried, Cancelled int

	// Outcomes has every attempt, in the order in which they ended.
	Outcomes []Outcome
}

// Outcome is what came of one attempt.
type Outcome struct {
	ID, Kind, Queue string
	Args            queue.Raw
	Attempt         int // 1 for the first

	Verdict queue.Verdict
	Delay   time.Duration // until the job runs again, if it does
	Err     error         // what the handler returned; nil when the job is done
}

func (r *Report) add(o Outcome) {
	r.Outcomes = append(r.Outcomes, o)
	switch o.Verdict {
	case queue.Done:
		r.Done++
	case queue.Retried:
		r.Retried++
	case queue.Released:
		r.Released++
	case queue.Buried:
		r.Buried++
	case queue.Cancelled:
		r.Cancelled++
	}
}

// Err returns nil when no attempt failed, and else the errors of those that
// were retried or buried, joined, each behind its kind.
func (r Report) Err() error {
	var errs []error
	for _, o := range r.Outcomes {
		if o.Verdict == queue.Retried || o.Verdict == queue.Buried {
			err := o.Err
			if err == nil { // RetryIn(d, nil)
				err = errors.New(o.Verdict.String())
			}
			errs = append(errs, fmt.Errorf("%s: %w", o.Kind, err))
		}
	}
	return errors.Join(errs...)
}

// String returns the counts, and a table of the attempts.
func (r Report) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d done, %d retried, %d released, %d buried, %d cancelled",
		r.Done, r.Retried, r.Released, r.Buried, r.Cancelled)
	if len(r.Outcomes) == 0 {
		return s.String()
	}
	rows := [][]string{{"KIND", "QUEUE", "ATTEMPT", "ARGS", "OUTCOME"}}
	for _, o := range r.Outcomes {
		outcome := o.Verdict.String()
		if o.Delay > 0 {
			outcome += " in " + rounded(o.Delay)
		}
		if o.Err != nil {
			outcome += ": " + cell(o.Err.Error())
		}
		rows = append(rows, []string{cell(o.Kind), o.Queue, fmt.Sprint(o.Attempt), cell(string(o.Args)), outcome})
	}
	s.WriteByte('\n')
	writeTable(&s, rows)
	return strings.TrimSuffix(s.String(), "\n")
}

// tail returns r with no more than the last n outcomes; the counts stay.
func tail(r Report, n int) Report {
	r.Outcomes = r.Outcomes[max(len(r.Outcomes)-n, 0):]
	return r
}
