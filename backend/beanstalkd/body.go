package beanstalkd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/goferhq/queue/backend"
)

// own is the member that this driver adds to an envelope, always as the last:
//
//	"gofer":{"ttr":30}
//	"gofer":{"ttr":30,"attempt":5,"priority":1024,"failure":{…}}     of one that was buried
//
// The server tells the TTR of a job only to who asks for it, one by one. A job
// without this member is of a foreign producer and is asked for.
const own = "gofer"

type ownFields struct {
	TTR     int              `json:"ttr"`
	Attempt int              `json:"attempt,omitempty"` // when it was buried
	Failure *backend.Failure `json:"failure,omitempty"`

	// Priority is the server's, of a job that was buried. One with a failure
	// that has another priority was stored to be buried, and is not yet.
	Priority uint32 `json:"priority,omitempty"`
}

// What the bodies of jobs end and begin with.
const (
	ownBegin = `,"` + own + `":{"ttr":`
	ownEnd   = `}}`

	// A malformed job is buried as the bytes that it is, behind a line with its
	// failure.
	wrapBegin = `{"` + own + `":`
	wrapEnd   = "}\n"
)

// stored is what the body of a job holds.
type stored struct {
	message   backend.Message  // without Queue
	malformed error            // why it is none
	raw       []byte           // the bytes of the producer: without the line of a burial
	lease     int              // the TTR in seconds; 0 if the body does not say
	failure   *backend.Failure // of a job that was buried

	// attempt is that of the message when it was buried; message has none then,
	// since a job that is kicked starts anew.
	attempt int

	priority uint32 // the server's, of a job that was buried
}

// isUnfinished reports whether a job was stored to be buried, and whoever did
// that came no further. What the server counts would not tell: it forgets that
// when it is restarted.
func (s *stored) isUnfinished(priority uint32) bool {
	return s.failure != nil && priority == unfinishedPriority(s.priority)
}

// unfinishedPriority is that of a job which is to be buried with priority.
func unfinishedPriority(priority uint32) uint32 {
	if priority == math.MaxUint32 {
		return math.MaxUint32 - 1
	}
	return math.MaxUint32
}

// appendBody appends the body of a job with a TTR of lease seconds.
func appendBody(dst []byte, m *backend.Message, lease int) ([]byte, error) {
	body, err := appendEnvelope(dst, m)
	if err != nil {
		return dst, err
	}
	body = append(body[:len(body)-1], ownBegin...)
	body = strconv.AppendInt(body, int64(lease), 10)
	return append(body, ownEnd...), nil
}

func appendEnvelope(dst []byte, m *backend.Message) ([]byte, error) {
	if m.Extra[own] != nil {
		copied := *m
		copied.Extra = maps.Clone(m.Extra)
		delete(copied.Extra, own)
		m = &copied
	}
	return backend.AppendEnvelope(dst, m)
}

// decodeBody is the reverse. It writes to raw, but leaves it as it was.
func decodeBody(raw []byte) (s stored) {
	s.raw = raw
	if s.unwrap() {
		return s
	}
	if end := len(raw) - len(ownEnd); bytes.HasSuffix(raw, []byte(ownEnd)) {
		begin := bytes.LastIndex(raw[:end], []byte(ownBegin))
		if begin >= 0 && end-begin < len(ownBegin)+12 {
			lease, err := strconv.Atoi(string(raw[begin+len(ownBegin) : end]))
			if isJSON := raw[begin+len(ownBegin)] > '0'; err == nil && isJSON && isLease(lease) {
				// Most jobs: nothing else is unknown, and no map is needed.
				raw[begin] = '}'
				s.message, s.malformed = backend.DecodeEnvelope(raw[:begin+1])
				raw[begin] = ','
				if s.malformed == nil && s.message.Extra[own] == nil {
					s.lease = lease
					return s
				}
			}
		}
	}
	s.message, s.malformed = backend.DecodeEnvelope(raw)
	var fields ownFields
	value := s.message.Extra[own]
	if value == nil || json.Unmarshal(value, &fields) != nil || !isLease(fields.TTR) || fields.Attempt < 0 {
		return s
	}
	s.lease, s.attempt, s.failure, s.priority = fields.TTR, fields.Attempt, fields.Failure, fields.Priority
	if delete(s.message.Extra, own); len(s.message.Extra) == 0 {
		s.message.Extra = nil
	}
	return s
}

// isLease reports whether a job can have that TTR.
func isLease(ttr int) bool { return ttr > 0 && int64(ttr) <= maxSeconds }

// unwrap takes the line of a burial off raw.
func (s *stored) unwrap() bool {
	if !bytes.HasPrefix(s.raw, []byte(wrapBegin)) {
		return false
	}
	line, rest, found := bytes.Cut(s.raw[len(wrapBegin):], []byte(wrapEnd))
	var fields ownFields
	if !found || json.Unmarshal(line, &fields) != nil || !isLease(fields.TTR) || fields.Failure == nil {
		return false
	}
	s.raw, s.lease, s.failure, s.priority = rest, fields.TTR, fields.Failure, fields.Priority
	s.message, s.malformed = backend.DecodeEnvelope(rest)
	return true
}

// buriedBody returns what the dead set keeps, in at most limit bytes: of the
// failure as much as there is room for. It returns false when there is none.
func buriedBody(b backend.Burial, lease, limit int) ([]byte, bool) {
	failure := b.Failure
	if b.Message != nil {
		limit = min(limit, backend.MaxEnvelope) // or it would be malformed
	}
	body, ok := appendBuried(b, &failure, lease)
	if ok && len(body) > limit {
		failure.Backtrace = nil
		body, ok = appendBuried(b, &failure, lease)
	}
	if ok && len(body) > limit && len(failure.Error) > shortError {
		end := shortError
		for end > shortError-utf8.UTFMax && !utf8.RuneStart(failure.Error[end]) {
			end--
		}
		failure.Error = failure.Error[:end] + "…"
		body, ok = appendBuried(b, &failure, lease)
	}
	return body, ok && len(body) <= limit
}

// shortError is to how many bytes the text of an error is cut when a job has no
// room for more.
const shortError = 200

func appendBuried(b backend.Burial, failure *backend.Failure, lease int) ([]byte, bool) {
	r := b.Delivery.Receipt.(*receipt) // it has been claimed
	fields := ownFields{TTR: lease, Failure: failure, Priority: r.priority}
	if b.Message == nil {
		line, err := json.Marshal(fields)
		if err != nil {
			return nil, false
		}
		body := append([]byte(wrapBegin), line...)
		return append(append(body, wrapEnd...), r.raw...), true
	}
	anew := *b.Message
	anew.Attempt, fields.Attempt = 0, b.Message.Attempt
	line, err := json.Marshal(fields)
	if err != nil {
		return nil, false
	}
	body, err := appendEnvelope(nil, &anew)
	if err != nil {
		return nil, false
	}
	body = append(body[:len(body)-1], `,"`+own+`":`...)
	return append(append(body, line...), '}'), true
}

// foreignID is the ID of a job whose producer gave it none.
func foreignID(address string, id uint64) string {
	return address + "/" + strconv.FormatUint(id, 10)
}

// defaultPriority is what other clients call the middle: 1024. Smaller numbers
// are more urgent there, larger ones here.
const defaultPriority = 1024

// maxSeconds is the longest delay and the longest TTR that the server takes.
const maxSeconds = 1<<32 - 1

func priorityOf(m *backend.Message) uint32 { return uint32(int64(defaultPriority) - int64(m.Priority)) }

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// checkMessage returns why m cannot be stored.
func (b *Backend) checkMessage(m *backend.Message) error {
	if err := backend.CheckMessage(m, b.Limits()); err != nil {
		return err
	}
	return checkTube(m.Queue)
}

// tooLarge is the error of a body of size bytes.
func (b *Backend) tooLarge(m *backend.Message, size int) error {
	return fmt.Errorf("%w: job %s of kind %.100q has %d bytes, beanstalkd takes %d here (its option -z)", backend.ErrTooLarge, m.ID, m.Kind, size, b.maxBody)
}
