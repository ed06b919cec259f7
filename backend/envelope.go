package backend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
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

// AppendEnvelope appends the stored form of m to dst, for brokers that carry
// plain bytes:
//
//	{"job":"send_email","data":{…},"id":"…","attempt":1,"max_attempts":5,
//	 "priority":10,"enqueued_at":"2026-11-21T10:15:00Z","headers":{…}}
//
// Only job and data are always there; a field that has its zero value is left
// out. The fields of m.Extra follow in alphabetical order; one that has the
// name of a field above is left out. Queue and Delay are not part of it.
//
// A message that no decoder would accept is refused: [ErrInvalid] for a kind,
// id or header that is not UTF-8, and for Args or Extra that are not JSON or
// nest too deep; [ErrTooLarge] above [MaxEnvelope]. dst is then returned as it
// was.
func AppendEnvelope(dst []byte, m *Message) ([]byte, error) {
	if m.Kind == "" {
		return dst, fmt.Errorf("%w: the message has no kind", ErrInvalid)
	}
	if err := checkJSON(m.Args, 1); err != nil {
		return dst, fmt.Errorf("%w: args of %q: %w", ErrInvalid, m.Kind, err)
	}
	e := encoder{buf: dst}
	e.text(fieldJob, m.Kind)
	e.raw(fieldData, m.Args)
	if m.ID != "" {
		e.text(fieldID, m.ID)
	}
	e.number(fieldAttempt, m.Attempt)
	e.number(fieldMaxAttempts, m.MaxAttempts)
	e.number(fieldPriority, m.Priority)
	if !m.EnqueuedAt.IsZero() {
		t, err := m.EnqueuedAt.UTC().MarshalJSON()
		if err != nil {
			return dst, fmt.Errorf("%w: enqueued_at: %w", ErrInvalid, err)
		}
		e.raw(fieldEnqueuedAt, t)
	}
	if len(m.Header) > 0 {
		e.headers(m.Header)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Extra)) {
		if isField(name) {
			continue
		}
		if err := checkJSON(m.Extra[name], 1); err != nil {
			return dst, fmt.Errorf("%w: extra field %q: %w", ErrInvalid, name, err)
		}
		e.raw(name, m.Extra[name])
	}
	e.buf = append(e.buf, '}')
	if e.notUTF8 != "" {
		return dst, fmt.Errorf("%w: %s is not valid UTF-8", ErrInvalid, e.notUTF8)
	}
	if size := len(e.buf) - len(dst); size > MaxEnvelope {
		return dst, fmt.Errorf("%w: the envelope has %d bytes, at most %d are allowed", ErrTooLarge, size, MaxEnvelope)
	}
	return e.buf, nil
}

// DecodeEnvelope is the reverse of [AppendEnvelope] for bytes from anywhere:
// a PHP producer's {"job":"send_email","data":{…}} is an envelope too. A null
// field other than data counts as absent.
//
// Bytes that are not an envelope are an error that wraps [ErrMalformed]: not
// JSON, not an object, not UTF-8, above the limits, a field twice, no job or
// no data, or a field of the wrong type. Size and depth are checked before
// anything is decoded. Args and Extra of the result refer to raw.
func DecodeEnvelope(raw []byte) (Message, error) {
	var m Message
	if len(raw) > MaxEnvelope {
		return m, fmt.Errorf("%w: %d bytes, at most %d are decoded", ErrMalformed, len(raw), MaxEnvelope)
	}
	if err := checkJSON(raw, 0); err != nil {
		return m, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	s := scanner{buf: raw}
	if s.skipSpace(); s.buf[s.pos] != '{' {
		return m, fmt.Errorf("%w: not a JSON object", ErrMalformed)
	}
	var seen [8]string
	names := seen[:0]
	var hasData bool
	for name, value := range s.members() {
		if slices.Contains(names, name) {
			return Message{}, fmt.Errorf("%w: field %q stands twice", ErrMalformed, name)
		}
		names = append(names, name)
		if name == fieldData {
			m.Args, hasData = value, true
			continue
		}
		if err := m.setField(name, value); err != nil {
			return Message{}, fmt.Errorf("%w: field %q: %w", ErrMalformed, name, err)
		}
		if len(names) > maxFields {
			return Message{}, fmt.Errorf("%w: more than %d fields", ErrMalformed, maxFields)
		}
	}
	switch {
	case m.Kind == "":
		return Message{}, fmt.Errorf("%w: no field %q", ErrMalformed, fieldJob)
	case !hasData:
		return Message{}, fmt.Errorf("%w: no field %q", ErrMalformed, fieldData)
	}
	return m, nil
}

// maxFields bounds the search for duplicates, which is quadratic.
const maxFields = 256

func isField(name string) bool {
	switch name {
	case fieldJob, fieldData, fieldID, fieldAttempt, fieldMaxAttempts, fieldPriority, fieldEnqueuedAt, fieldHeaders:
		return true
	}
	return false
}

func (m *Message) setField(name string, value []byte) error {
	if !isField(name) {
		if m.Extra == nil {
			m.Extra = make(map[string]json.RawMessage)
		}
		m.Extra[name] = value
		return nil
	}
	if string(value) == "null" {
		return nil
	}
	switch name {
	case fieldJob:
		return json.Unmarshal(value, &m.Kind)
	case fieldID:
		return json.Unmarshal(value, &m.ID)
	case fieldAttempt:
		return setCount(&m.Attempt, value)
	case fieldMaxAttempts:
		return setCount(&m.MaxAttempts, value)
	case fieldPriority:
		return json.Unmarshal(value, &m.Priority)
	case fieldEnqueuedAt:
		return json.Unmarshal(value, &m.EnqueuedAt)
	default:
		return json.Unmarshal(value, &m.Header)
	}
}

// maxCount bounds attempts on the wire, so that adding to one never overflows.
const maxCount = 1 << 30

func setCount(n *int, value []byte) error {
	if err := json.Unmarshal(value, n); err != nil {
		return err
	}
	if *n < 0 || *n > maxCount {
		return fmt.Errorf("%d is not between 0 and %d", *n, maxCount)
	}
	return nil
}

// checkJSON returns an error unless raw is one JSON value in valid UTF-8 that
// nests no deeper than MaxEnvelopeDepth when depth levels are around it.
func checkJSON(raw []byte, depth int) error {
	inString := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			if depth++; depth > MaxEnvelopeDepth {
				return fmt.Errorf("nested deeper than %d levels", MaxEnvelopeDepth)
			}
		case c == '}', c == ']':
			depth--
		}
	}
	if !utf8.Valid(raw) {
		return fmt.Errorf("not valid UTF-8")
	}
	if !json.Valid(raw) {
		return fmt.Errorf("not valid JSON")
	}
	return nil
}

// encoder writes one flat object, and remembers the first text that is not
// UTF-8 instead of writing the replacement character for it.
type encoder struct {
	buf     []byte
	opened  bool
	notUTF8 string
}

func (e *encoder) name(name string) {
	if e.opened {
		e.buf = append(e.buf, ',')
	} else {
		e.buf = append(e.buf, '{')
		e.opened = true
	}
	e.quote("a field's name", name)
	e.buf = append(e.buf, ':')
}

func (e *encoder) raw(name string, value []byte) {
	e.name(name)
	e.buf = append(e.buf, value...)
}

func (e *encoder) text(name, value string) {
	e.name(name)
	e.quote(name, value)
}

func (e *encoder) number(name string, n int) {
	if n != 0 {
		e.name(name)
		e.buf = strconv.AppendInt(e.buf, int64(n), 10)
	}
}

func (e *encoder) headers(header map[string]string) {
	e.name(fieldHeaders)
	e.buf = append(e.buf, '{')
	for i, name := range slices.Sorted(maps.Keys(header)) {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.quote("a header's name", name)
		e.buf = append(e.buf, ':')
		e.quote("a header", header[name])
	}
	e.buf = append(e.buf, '}')
}

func (e *encoder) quote(what, s string) {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		e.buf = append(e.buf, '"')
		e.buf = append(e.buf, s...)
		e.buf = append(e.buf, '"')
		return
	}
	if !utf8.ValidString(s) && e.notUTF8 == "" {
		e.notUTF8 = what
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	e.buf = append(e.buf, quoted...)
}

// scanner walks over JSON that is known to be valid.
type scanner struct {
	buf []byte
	pos int
}

func (s *scanner) skipSpace() {
	for s.pos < len(s.buf) && bytes.IndexByte([]byte(" \t\r\n"), s.buf[s.pos]) >= 0 {
		s.pos++
	}
}

// members yields the members of the object that begins at the scanner, the
// values as the bytes that they are.
func (s *scanner) members() func(yield func(name string, value []byte) bool) {
	return func(yield func(string, []byte) bool) {
		s.pos++
		for {
			if s.skipSpace(); s.buf[s.pos] == '}' {
				return
			}
			if s.buf[s.pos] == ',' {
				s.pos++
				s.skipSpace()
			}
			name := unquote(s.value())
			s.skipSpace()
			s.pos++ // the colon
			s.skipSpace()
			if !yield(name, s.value()) {
				return
			}
		}
	}
}

// value returns the value that begins at the scanner and steps behind it.
func (s *scanner) value() []byte {
	start, depth, inString := s.pos, 0, false
	for ; s.pos < len(s.buf); s.pos++ {
		switch c := s.buf[s.pos]; {
		case inString && c == '\\':
			s.pos++
		case inString:
			if c == '"' {
				inString = false
				if depth == 0 {
					s.pos++
					return s.buf[start:s.pos:s.pos]
				}
			}
		case c == '"':
			inString = true
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			if depth == 0 { // of the object around a number or literal
				return s.buf[start:s.pos:s.pos]
			}
			if depth--; depth == 0 {
				s.pos++
				return s.buf[start:s.pos:s.pos]
			}
		case depth == 0 && (c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			return s.buf[start:s.pos:s.pos]
		}
	}
	return s.buf[start:s.pos:s.pos]
}

func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		panic(err) // the scanner walks over valid JSON only
	}
	return s
}
