package resque

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/rawjson"
)

// lenient are the rules of what is only read.
var lenient = rawjson.Rules{MaxDepth: backend.MaxEnvelopeDepth}

// DecodeFailed is the reverse of [AppendFailed], and reads what Ruby and PHP
// append to the list (php-resque, lib/Resque/Failure/Redis.php), which has no
// "go". Of such an entry the key is empty, and the failure's worker is the host
// and pid of the worker. What is missing or cannot be read is left zero; a text
// that is something else is its JSON.
//
// An entry that resque-web has written again keeps its "go", but its payload is
// then what Ruby has made of it.
//
// What is not a JSON object, or nests deeper than [backend.MaxEnvelopeDepth], is
// an error that wraps [backend.ErrMalformed]. The Payload may refer to raw.
func DecodeFailed(raw []byte) (Failed, error) {
	if err := checkObject(raw); err != nil {
		return Failed{}, err
	}
	var f Failed
	var own []byte
	for name, value := range membersOf(raw) {
		switch name {
		case failedAt:
			f.Failure.At = failureTime(anyText(value))
		case fieldPayload:
			f.Payload = value
		case failedException:
			f.Failure.Type = anyText(value)
		case failedError:
			f.Failure.Error = anyText(value)
		case failedBacktrace:
			f.Failure.Backtrace = anyLines(value)
		case failedWorker:
			f.Worker = anyText(value)
		case fieldGo:
			own = value
		case fieldQueue:
			f.Queue = anyText(value)
		case failedRetriedAt:
			f.RetriedAt = anyText(value)
		}
	}
	if len(own) > 0 && own[0] == '{' {
		f.decodeOwn(own)
	} else {
		f.Failure.Worker = hostAndPID(f.Worker)
	}
	return f, nil
}

// decodeOwn decodes the object "go".
func (f *Failed) decodeOwn(own []byte) {
	for name, value := range membersOf(own) {
		text := anyText(value)
		switch name {
		case goKey:
			f.Key = text
		case goAt:
			if at := parseTime(time.RFC3339Nano, text); !at.IsZero() {
				f.Failure.At = at
			}
		case goType:
			f.Failure.Type = text
		case goWorker:
			f.Failure.Worker = text
		case goRaw:
			if payload, err := base64.StdEncoding.DecodeString(text); err == nil {
				f.Payload = payload
			}
		}
	}
}

// FailedQueue returns the queue of an entry of the list "failed", and whether
// it has one. Of an entry that ends with its queue, as all do but those that
// resque-web has written again, it reads nothing else.
func FailedQueue(raw []byte) (queue string, ok bool) {
	if queue, ok := queueAtEnd(raw); ok {
		return queue, queue != ""
	}
	if checkObject(raw) != nil {
		return "", false
	}
	for name, value := range membersOf(raw) {
		if name == fieldQueue && value[0] == '"' {
			queue = anyText(value)
		}
	}
	return queue, queue != ""
}

// queueAtEnd returns x if raw ends with ,"queue":"x"} and x has no escapes. In
// an object nothing else ends like that: the quotes behind the comma and the
// colon are not escaped, so one of them begins the name of the last member,
// and the other its value.
func queueAtEnd(raw []byte) (string, bool) {
	raw, ok := bytes.CutSuffix(raw, []byte(`"}`))
	if !ok {
		return "", false
	}
	quote := bytes.LastIndexByte(raw, '"') + 1
	queue := raw[quote:]
	if !bytes.HasSuffix(raw[:quote], []byte(`,"queue":"`)) || bytes.IndexByte(queue, '\\') >= 0 {
		return "", false
	}
	return string(queue), true
}

// failureTime reads a failed_at, and returns the zero time for what it cannot.
// Zones that are named are taken as UTC, which is what servers have.
func failureTime(text string) time.Time {
	for _, layout := range [...]string{
		rubyTime,
		"2006/01/02 15:04:05",          // older ones
		"Mon Jan 02 15:04:05 MST 2006", // php-resque
		time.RFC3339Nano,
		time.RFC1123Z, // Resque, of which one branch writes Time#rfc2822
	} {
		if t := parseTime(layout, text); !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// parseTime returns a time in UTC that AppendFailed can write, or zero.
func parseTime(layout, text string) time.Time {
	t, err := time.ParseInLocation(layout, text, time.UTC)
	if t = t.UTC(); err != nil || !hasYear(t) {
		return time.Time{}
	}
	return t
}

// hostAndPID returns what a Failure has of a worker's id.
func hostAndPID(id string) string {
	if w, ok := ParseWorkerID(id); ok {
		return w.Host + ":" + strconv.Itoa(w.PID)
	}
	return id
}

// checkObject returns an error that wraps backend.ErrMalformed unless raw is a
// JSON object.
func checkObject(raw []byte) error {
	if err := lenient.Check(raw, 0); err != nil {
		return fmt.Errorf("%w: %w", backend.ErrMalformed, err)
	}
	if rawjson.SkipSpace(raw)[0] != '{' {
		return fmt.Errorf("%w: %w", backend.ErrMalformed, errNotObject)
	}
	return nil
}

var errNotObject = errors.New("not a JSON object")

// membersOf yields the members of an object with their names as text.
func membersOf(object []byte) iter.Seq2[string, []byte] {
	return func(yield func(name string, value []byte) bool) {
		for quoted, value := range rawjson.Members(rawjson.SkipSpace(object)) {
			if !yield(anyText(quoted), value) {
				return
			}
		}
	}
}

// anyText returns the text of a string, in which half a surrogate pair becomes
// the replacement character, nothing for a null, and for any other value its
// JSON.
func anyText(value []byte) string {
	switch {
	case string(value) == "null":
		return ""
	case value[0] != '"':
		return string(value)
	}
	if text, err := rawjson.Unquote(value); err == nil {
		return string(text)
	}
	var text string
	_ = json.Unmarshal(value, &text) // it is a string
	return text
}

// anyLines returns the texts of an array, and one for any other value but null.
func anyLines(value []byte) []string {
	var lines []string
	switch {
	case value[0] == '[':
		for element := range rawjson.Elements(value) {
			lines = append(lines, anyText(element))
		}
	case string(value) != "null":
		lines = append(lines, anyText(value))
	}
	return lines
}
