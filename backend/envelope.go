package backend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goferhq/queue/backend/internal/rawjson"
)

const (
	// MaxEnvelope is the size in bytes above which an envelope is neither
	// written nor decoded. It is far above what a job should carry and far
	// below what would hurt the process that decodes it.
	MaxEnvelope = 16 << 20

	// MaxEnvelopeDepth is how deep the arrays and objects of an envelope may
	// nest, the outermost counted as 1. A decoder spends stack on each level.
	MaxEnvelopeDepth = 100
)

var envelopeRules = rawjson.Rules{MaxDepth: MaxEnvelopeDepth}

// The fields of the envelope. Every other one is kept in Message.Extra.
const (
	fieldJob         = "job"
	fieldData        = "data"
	fieldID          = "id"
	fieldAttempt     = "attempt"
	fieldMaxAttempts = "max_attempts"
	fieldPriority    = "priority"
	fieldEnqueuedAt  = "enqueued_at"
	fieldHeaders     = "headers"
)

var fields = [...]string{
	fieldJob, fieldData, fieldID, fieldAttempt, fieldMaxAttempts, fieldPriority, fieldEnqueuedAt, fieldHeaders,
}

// AppendEnvelope appends the stored form of m to dst, for brokers that carry
// plain bytes:
//
//	{"job":"send_email","data":{…},"id":"…","attempt":1,"max_attempts":5,
//	 "priority":10,"enqueued_at":"2026-11-21T10:15:00Z","headers":{…}}
//
// Only job and data are always there; a field that has its zero value is left
// out. The fields of m.Extra follow in alphabetical order; one that has the
// name of a field above is left out. Queue and Delay are not part of it, nor
// is white space around Args.
//
// A message that no decoder would accept is refused: [ErrInvalid] for a kind,
// id or header that is not UTF-8, for Args or Extra that are not JSON or nest
// too deep, and for attempts or a time out of range; [ErrTooLarge] above
// [MaxEnvelope]. dst is then returned as it was.
func AppendEnvelope(dst []byte, m *Message) ([]byte, error) {
	if m.Kind == "" {
		return dst, fmt.Errorf("%w: the message has no kind", ErrInvalid)
	}
	if len(m.Args) > MaxEnvelope { // look at them no further
		return dst, fmt.Errorf("%w: args have %d bytes, at most %d are allowed", ErrTooLarge, len(m.Args), MaxEnvelope)
	}
	e := envelopeRules.NewEncoder(dst, 0)
	e.Text(fieldJob, m.Kind)
	e.JSON(fieldData, m.Args)
	if m.ID != "" {
		e.Text(fieldID, m.ID)
	}
	e.Count(fieldAttempt, m.Attempt)
	e.Count(fieldMaxAttempts, m.MaxAttempts)
	if m.Priority != 0 {
		e.Integer(fieldPriority, int64(m.Priority))
	}
	if !m.EnqueuedAt.IsZero() {
		e.Time(fieldEnqueuedAt, m.EnqueuedAt)
	}
	if len(m.Header) > 0 {
		e.Texts(fieldHeaders, m.Header)
	}
	var keys [8]string
	for _, name := range rawjson.SortedKeys(keys[:0], m.Extra) {
		if !slices.Contains(fields[:], name) {
			e.JSON(name, m.Extra[name])
		}
	}
	written, err := e.End()
	if err != nil {
		return dst, fmt.Errorf("%w: message of kind %.100q: %w", ErrInvalid, m.Kind, err)
	}
	if size := len(written) - len(dst); size > MaxEnvelope {
		return dst, fmt.Errorf("%w: the envelope has %d bytes, at most %d are allowed", ErrTooLarge, size, MaxEnvelope)
	}
	return written, nil
}

// DecodeEnvelope is the reverse of [AppendEnvelope] for bytes from anywhere:
// a PHP producer's {"job":"send_email","data":{…}} is an envelope too. A null
// counts as absent, as a field other than data and as a header, and so do
// headers that are [], which is how PHP writes an empty map.
//
// Bytes that are not an envelope are an error that wraps [ErrMalformed]: not
// JSON, not an object, not UTF-8, above the limits, a field or header twice,
// no job or no data, or a field of the wrong type. Size and depth are checked
// before anything is decoded. Args and Extra of the result refer to raw. What
// was decoded can be appended again, and does not grow by it.
func DecodeEnvelope(raw []byte) (Message, error) {
	if len(raw) > MaxEnvelope {
		return Message{}, fmt.Errorf("%w: %d bytes, at most %d are decoded", ErrMalformed, len(raw), MaxEnvelope)
	}
	if err := envelopeRules.Check(raw, 0); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	m, err := decodeEnvelope(raw)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

func decodeEnvelope(raw []byte) (m Message, err error) {
	raw = rawjson.SkipSpace(raw)
	if raw[0] != '{' {
		return m, errors.New("not a JSON object")
	}
	var seen [len(fields)]bool
	for quoted, value := range rawjson.Members(raw) {
		name, err := rawjson.Unquote(quoted)
		if err != nil {
			return m, fmt.Errorf("the name of a field: %w", err)
		}
		field := slices.Index(fields[:], string(name))
		twice := false
		if field >= 0 {
			twice, seen[field] = seen[field], true
			err = m.setField(fields[field], value)
		} else {
			_, twice = m.Extra[string(name)]
			m.setExtra(string(name), value)
		}
		if twice {
			return m, fmt.Errorf("field %.100q stands twice", name)
		}
		if err != nil {
			return m, fmt.Errorf("field %q: %w", name, err)
		}
	}
	switch {
	case m.Kind == "":
		return m, fmt.Errorf("no field %q", fieldJob)
	case m.Args == nil:
		return m, fmt.Errorf("no field %q", fieldData)
	}
	return m, nil
}

func (m *Message) setExtra(name string, value []byte) {
	if m.Extra == nil {
		m.Extra = make(map[string]json.RawMessage)
	}
	m.Extra[name] = value
}

func (m *Message) setField(name string, value []byte) (err error) {
	if name == fieldData {
		m.Args = value
		return nil
	}
	if string(value) == "null" {
		return nil
	}
	switch name {
	case fieldJob:
		m.Kind, err = rawjson.Text(value)
	case fieldID:
		m.ID, err = rawjson.Text(value)
	case fieldAttempt:
		m.Attempt, err = rawjson.Count(value)
	case fieldMaxAttempts:
		m.MaxAttempts, err = rawjson.Count(value)
	case fieldPriority:
		m.Priority, err = rawjson.Integer(value)
	case fieldEnqueuedAt:
		m.EnqueuedAt, err = instant(value)
	case fieldHeaders:
		m.Header, err = rawjson.Texts(value)
	}
	return err
}

// instant returns a time as UTC, in which AppendEnvelope can write it again.
func instant(value []byte) (time.Time, error) {
	if quoted, ok := bytes.CutPrefix(value, []byte{'"'}); ok && len(value) < 100 {
		var t time.Time
		err := t.UnmarshalText(quoted[:len(quoted)-1])
		if t = t.UTC(); err == nil && t.Year() >= 0 && t.Year() <= 9999 {
			return t, nil
		}
	}
	return time.Time{}, errors.New("not an RFC 3339 time")
}
