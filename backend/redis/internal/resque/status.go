package resque

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/rawjson"
)

// Status is what php-resque keeps of a job that it tracks, in a key of the job
// (php-resque, lib/Resque/Job/Status.php).
type Status struct {
	State   int             // StatusWaiting, …
	Updated time.Time       // to the second
	Started time.Time       // to the second; when the job was enqueued
	Result  json.RawMessage // nil stands for null
}

// The states of a job that is tracked. Its key expires a day after one of the
// last two.
const (
	StatusWaiting  = 1
	StatusRunning  = 2
	StatusFailed   = 3
	StatusComplete = 4
)

// The members of a status.
const (
	statusState   = "status"
	statusUpdated = "updated"
	statusStarted = "started"
	statusResult  = "result"
)

// StatusKey returns the name of the key, behind Resque's own prefix, that holds
// the status of a job. The prefix is the job's, and most have none.
func StatusKey(prefix, id string) string {
	if prefix != "" {
		prefix += "_"
	}
	return "job:" + prefix + id + ":status"
}

// AppendStatus appends s to dst:
//
//	{"status":1,"updated":1795225601,"started":1795225601,"result":null}
//
// A time that is zero is null. A result that no PHP reader would take is
// [backend.ErrInvalid], see the package's comment; dst is then returned as it
// was.
func AppendStatus(dst []byte, s *Status) ([]byte, error) {
	e := rules.NewEncoder(dst, 0)
	e.Integer(statusState, int64(s.State))
	var array [20]byte
	e.Verbatim(statusUpdated, appendUnix(array[:0], s.Updated))
	e.Verbatim(statusStarted, appendUnix(array[:0], s.Started))
	if s.Result == nil {
		e.Verbatim(statusResult, []byte("null"))
	} else {
		e.JSON(statusResult, s.Result)
	}
	written, err := e.End()
	if err != nil {
		return dst, fmt.Errorf("%w: status: %w", backend.ErrInvalid, err)
	}
	return written, nil
}

func appendUnix(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, t.Unix(), 10)
}

// DecodeStatus is the reverse of [AppendStatus]. Numbers may stand in quotes,
// and a time that is missing or cannot be read is zero, as is a null result nil.
// What is not an object, or has no status that is a number, is an error that
// wraps [backend.ErrMalformed]. The Result refers to raw.
func DecodeStatus(raw []byte) (Status, error) {
	if err := checkObject(raw); err != nil {
		return Status{}, err
	}
	var s Status
	found := false
	for name, value := range membersOf(raw) {
		switch name {
		case statusState:
			n, err := strconv.Atoi(anyText(value))
			s.State, found = n, err == nil
		case statusUpdated:
			s.Updated, _ = parseSeconds(unquoted(value))
		case statusStarted:
			s.Started, _ = parseSeconds(unquoted(value))
		case statusResult:
			if s.Result = value; string(value) == "null" {
				s.Result = nil
			}
		}
	}
	if !found {
		return Status{}, fmt.Errorf("%w: no status", backend.ErrMalformed)
	}
	return s, nil
}

// unquoted returns the number that a string holds, or value as it is.
func unquoted(value []byte) []byte {
	number, ok := bytes.CutPrefix(value, []byte{'"'})
	if !ok {
		return value
	}
	if number = bytes.Trim(number[:len(number)-1], rawjson.Space); lenient.Check(number, 0) != nil {
		return value
	}
	return number
}
