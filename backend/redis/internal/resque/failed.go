package resque

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

// Failed is an entry of the list "failed", where Resque keeps the jobs that
// failed, of all queues.
type Failed struct {
	Queue   string
	Payload []byte // what stood in the queue's list, byte for byte
	Failure backend.Failure

	// Worker is the id of the worker under which it is registered, see
	// [WorkerID].
	Worker string

	// Key tells this burial from every other one. It is empty in an entry of
	// another producer.
	Key string

	// RetriedAt is when a person sent the job back to its queue in
	// resque-web, as that wrote it. It is not appended.
	RetriedAt string
}

// The members of an entry beside those of a payload.
const (
	failedAt        = "failed_at"
	failedException = "exception"
	failedError     = "error"
	failedBacktrace = "backtrace"
	failedWorker    = "worker"
	failedRetriedAt = "retried_at"
)

// The members of "go" in an entry.
const (
	goKey    = "key"
	goAt     = "at"
	goType   = "type"
	goWorker = "worker"
	goRaw    = "raw"
)

// rubyTime is how Resque writes when a job failed.
const rubyTime = "2006/01/02 15:04:05 MST"

// noType is the exception of a failure without a type.
const noType = "Error"

// AppendFailed appends an entry of the list "failed" to dst (Resque,
// lib/resque/failure/redis.rb and lib/resque/server/views/failed_job.erb):
//
//	{"failed_at":"2026/11/21 01:28:33 UTC","payload":{…},
//	 "exception":"*fs.PathError","error":"open x: no such file","backtrace":["…"],
//	 "worker":"vm-go-7Q4Z:17146:high,default",
//	 "go":{"key":"…","at":"2026-11-21T01:28:33.082353Z","worker":"vm:17146"},
//	 "queue":"default"}
//
// All of them are always there, and "queue" is last, so that an entry of a
// queue is known by its end. The exception is the failure's type, or "Error"
// for none.
//
// "go" is what Resque knows nothing of: key and worker are f's and the
// failure's, at is the time in full, type is there when the exception is not
// the type. A payload that resque-web could not show is replaced by one that
// it can, {"class":"(malformed)","args":["…"]} with the first characters, and
// then raw holds the bytes in base64.
//
// Texts that are not UTF-8, which are there for a person to read, are made so.
// An entry is refused with [backend.ErrInvalid] only if its queue or key is not
// UTF-8, or there is no queue; dst is then returned as it was.
func AppendFailed(dst []byte, f *Failed) ([]byte, error) {
	if f.Queue == "" {
		return dst, fmt.Errorf("%w: a failed entry has no queue", backend.ErrInvalid)
	}
	at := f.Failure.At.UTC()
	if !hasYear(at) { // no reader takes it
		at = time.Time{}
	}
	shown := showable(f.Payload)

	e := rules.NewEncoder(dst, 0)
	e.Text(failedAt, at.Format(rubyTime))
	e.Verbatim(fieldPayload, shown)
	e.Text(failedException, readable(orNoType(f.Failure.Type)))
	e.Text(failedError, readable(f.Failure.Error))
	e.TextList(failedBacktrace, readableLines(f.Failure.Backtrace))
	e.Text(failedWorker, readable(f.Worker))
	own := e.Inner(fieldGo)
	own.Text(goKey, f.Key)
	if !at.IsZero() {
		own.Time(goAt, at)
	}
	if f.Failure.Type == "" {
		own.Text(goType, "")
	}
	if f.Failure.Worker != "" {
		own.Text(goWorker, readable(f.Failure.Worker))
	}
	if !bytes.Equal(shown, f.Payload) {
		own.Text(goRaw, base64.StdEncoding.EncodeToString(f.Payload))
	}
	e.Close(&own)
	e.Text(fieldQueue, f.Queue)
	written, err := e.End()
	if err != nil {
		return dst, fmt.Errorf("%w: failed entry of queue %.100q: %w", backend.ErrInvalid, f.Queue, err)
	}
	return written, nil
}

// hasYear tells whether the year of t can be written with four digits.
func hasYear(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }

func orNoType(name string) string {
	if name == "" {
		return noType
	}
	return name
}

// readable returns text as UTF-8.
func readable(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

func readableLines(lines []string) []string {
	made := make([]string, len(lines))
	for i, line := range lines {
		made[i] = readable(line)
	}
	return made
}
