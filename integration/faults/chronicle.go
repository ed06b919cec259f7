package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Chronicle is the path of a file in which workers write what happens. A file
// keeps what a process has written that is killed then, and needs neither the
// broker nor the network, which a test may have harmed.
type Chronicle string

// What an event tells of a job.
const (
	Began     = "began"     // its handler was called
	Ended     = "ended"     // its handler has done its work
	Cancelled = "cancelled" // its context has ended before that
)

// Event is an entry of a chronicle.
type Event struct {
	What    string // Began, Ended or Cancelled
	ID      string // of the job
	Attempt int
	PID     int    // of the worker
	Cause   string `json:",omitempty"` // of a cancellation
}

// NewChronicle returns an empty one.
func NewChronicle(t testing.TB) Chronicle {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chronicle")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return Chronicle(path)
}

// write adds an event, behind all that other processes have written.
func (c Chronicle) write(e Event) error {
	e.PID = os.Getpid()
	entry, err := json.Marshal(e)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(string(c), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(append(entry, '\n'))
	return errors.Join(err, file.Close())
}

// Events returns the chronicle from the beginning, or that of one job.
func (c Chronicle) Events(t testing.TB, of ...string) []Event {
	t.Helper()
	text, err := os.ReadFile(string(c))
	if err != nil {
		t.Fatal(err)
	}
	var all []Event
	for line := range bytes.Lines(text) {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if len(of) == 0 || e.ID == of[0] {
			all = append(all, e)
		}
	}
	return all
}

// Await waits until something has happened to a job.
func (c Chronicle) Await(t testing.TB, limit time.Duration, what, id string, attempt int) Event {
	t.Helper()
	var found Event
	Eventually(t, limit, func() error {
		of := c.Events(t, id)
		for _, e := range of {
			if e.What == what && e.Attempt == attempt {
				found = e
				return nil
			}
		}
		return fmt.Errorf("attempt %d of job %s has not %s; what has happened: %+v", attempt, id, what, of)
	})
	return found
}

// ExpectEnded fails the test unless the last thing that happened to a job is
// that it ended.
func (c Chronicle) ExpectEnded(t testing.TB, id string) {
	t.Helper()
	expectEnded(t, c.Events(t, id), id)
}

func expectEnded(t testing.TB, of []Event, id string) {
	t.Helper()
	if len(of) == 0 || of[len(of)-1].What != Ended {
		t.Errorf("job %s did not complete: %+v", id, of)
	}
}
