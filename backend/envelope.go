package backend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
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
	e := encoder{buf: dst, next: '{'}
	e.text(fieldJob, m.Kind)
	e.json(fieldData, m.Args)
	if m.ID != "" {
		e.text(fieldID, m.ID)
	}
	e.count(fieldAttempt, m.Attempt)
	e.count(fieldMaxAttempts, m.MaxAttempts)
	if m.Priority != 0 {
		e.name(fieldPriority)
		e.buf = strconv.AppendInt(e.buf, int64(m.Priority), 10)
	}
	if !m.EnqueuedAt.IsZero() {
		e.time(fieldEnqueuedAt, m.EnqueuedAt)
	}
	if len(m.Header) > 0 {
		e.texts(fieldHeaders, m.Header)
	}
	var keys [8]string
	for _, name := range sortedKeys(keys[:0], m.Extra) {
		if !slices.Contains(fields[:], name) {
			e.json(name, m.Extra[name])
		}
	}
	e.buf = append(e.buf, '}')
	if e.err != nil {
		return dst, fmt.Errorf("%w: message of kind %.100q: %w", ErrInvalid, m.Kind, e.err)
	}
	if size := len(e.buf) - len(dst); size > MaxEnvelope {
		return dst, fmt.Errorf("%w: the envelope has %d bytes, at most %d are allowed", ErrTooLarge, size, MaxEnvelope)
	}
	return e.buf, nil
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
	if err := checkJSON(raw, 0); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	m, err := decodeEnvelope(raw)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

func decodeEnvelope(raw []byte) (m Message, err error) {
	raw = bytes.TrimLeft(raw, space)
	if raw[0] != '{' {
		return m, errors.New("not a JSON object")
	}
	var seen [len(fields)]bool
	for quoted, value := range members(raw) {
		name, err := unquote(quoted)
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
		m.Kind, err = text(value)
	case fieldID:
		m.ID, err = text(value)
	case fieldAttempt:
		m.Attempt, err = count(value)
	case fieldMaxAttempts:
		m.MaxAttempts, err = count(value)
	case fieldPriority:
		m.Priority, err = integer(value)
	case fieldEnqueuedAt:
		m.EnqueuedAt, err = instant(value)
	case fieldHeaders:
		m.Header, err = texts(value)
	}
	return err
}

// maxCount bounds attempts on the wire, so that adding to one never overflows.
const maxCount = 1 << 30

func count(value []byte) (int, error) {
	n, err := integer(value)
	if err != nil || n < 0 || n > maxCount {
		return 0, fmt.Errorf("not an integer between 0 and %d", maxCount)
	}
	return n, nil
}

func integer(value []byte) (int, error) {
	if len(value) <= len("-9223372036854775808") { // longer ones need no copy to be refused
		if n, err := strconv.Atoi(string(value)); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("not an integer of %d bits", strconv.IntSize)
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

func text(value []byte) (string, error) {
	if value[0] != '"' {
		return "", errors.New("not a string")
	}
	s, err := unquote(value)
	return string(s), err
}

func texts(value []byte) (map[string]string, error) {
	if value[0] == '[' && len(bytes.Trim(value[1:len(value)-1], space)) == 0 {
		return nil, nil
	}
	if value[0] != '{' {
		return nil, errors.New("not an object of strings")
	}
	var m map[string]string
	for quoted, value := range members(value) {
		name, err := text(quoted)
		if err != nil {
			return nil, fmt.Errorf("the name of a header: %w", err)
		}
		if string(value) == "null" {
			continue
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("header %.100q stands twice", name)
		}
		s, err := text(value)
		if err != nil {
			return nil, fmt.Errorf("header %.100q: %w", name, err)
		}
		if m == nil {
			m = make(map[string]string)
		}
		m[name] = s
	}
	return m, nil
}
