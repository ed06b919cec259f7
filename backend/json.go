package backend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// The envelope is read and written by hand, over encoding/json as the judge of
// what JSON is, because its values must survive byte for byte, and because it
// is done twice for every job.

// space is what JSON counts as white space.
const space = " \t\r\n"

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
		return errors.New("not valid UTF-8")
	}
	if !json.Valid(raw) {
		return errors.New("not valid JSON")
	}
	return nil
}

// members yields the members of an object, of which raw, known to be valid
// JSON, begins with the brace: the names quoted as they stand, the values as
// the bytes that they are.
func members(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(quoted, value []byte) bool) {
		for raw[0] != '}' {
			var quoted, value []byte
			raw = bytes.TrimLeft(raw[1:], space) // behind { or ,
			if raw[0] == '}' {
				return // it is empty
			}
			quoted, raw = cutValue(raw)
			raw = bytes.TrimLeft(raw, space)
			raw = bytes.TrimLeft(raw[1:], space) // behind :
			value, raw = cutValue(raw)
			raw = bytes.TrimLeft(raw, space)
			if !yield(quoted, value) {
				return
			}
		}
	}
}

// cutValue returns the value that raw begins with, and what follows it.
func cutValue(raw []byte) (value, rest []byte) {
	i := 0
	switch raw[0] {
	case '"':
		i = stringLen(raw)
	case '{', '[':
		for depth := 0; ; {
			switch raw[i] {
			case '"':
				i += stringLen(raw[i:])
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if i++; depth == 0 {
				break
			}
		}
	default: // a number or a literal, which ends where something else begins
		if i = bytes.IndexAny(raw, ",}]"+space); i < 0 {
			i = len(raw)
		}
	}
	return raw[:i:i], raw[i:]
}

// stringLen returns the length of the string that raw begins with, its quotes
// included.
func stringLen(raw []byte) int {
	for i := 1; ; i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// unquote returns the text of a JSON string. It refuses half a surrogate
// pair, which UTF-8 cannot express and encoding/json would silently replace.
func unquote(quoted []byte) ([]byte, error) {
	plain := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(plain, '\\') < 0 {
		return plain, nil
	}
	if hasLoneSurrogate(plain) {
		return nil, errors.New("half a surrogate pair")
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return nil, errors.New("not a string")
	}
	return []byte(s), nil
}

func hasLoneSurrogate(escaped []byte) bool {
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '\\' {
			continue
		}
		i++ // the escaped character
		first, ok := surrogate(escaped[i-1:])
		if !ok {
			continue
		}
		i += len("d800")
		second, ok := surrogate(escaped[i+1:])
		if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
			return true
		}
		i += len(`\udc00`)
	}
	return false
}

// surrogate returns the half of a surrogate pair that s begins with, as \ud800.
func surrogate(s []byte) (rune, bool) {
	if len(s) < len(`\ud800`) || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	code, err := strconv.ParseUint(string(s[2:6]), 16, 16)
	return rune(code), err == nil && utf16.IsSurrogate(rune(code))
}

// encoder writes one object. It remembers the first error.
type encoder struct {
	buf  []byte
	next byte // what stands in front of the next member: a brace or a comma
	err  error
}

func (e *encoder) fail(name string, problem error) {
	if e.err == nil {
		e.err = fmt.Errorf("field %.100q: %w", name, problem)
	}
}

func (e *encoder) name(name string) {
	e.buf = append(e.buf, e.next)
	e.next = ','
	e.quote(name, name)
	e.buf = append(e.buf, ':')
}

func (e *encoder) json(name string, value []byte) {
	if err := checkJSON(value, 1); err != nil {
		e.fail(name, err)
		return
	}
	e.name(name)
	e.buf = append(e.buf, value...)
}

func (e *encoder) text(name, value string) {
	e.name(name)
	e.quote(name, value)
}

func (e *encoder) count(name string, n int) {
	if n < 0 || n > maxCount {
		e.fail(name, fmt.Errorf("%d is not between 0 and %d", n, maxCount))
	}
	if n != 0 {
		e.name(name)
		e.buf = strconv.AppendInt(e.buf, int64(n), 10)
	}
}

func (e *encoder) time(name string, t time.Time) {
	e.name(name)
	e.buf = append(e.buf, '"')
	written, err := t.UTC().AppendText(e.buf)
	if err != nil {
		e.fail(name, err)
		return
	}
	e.buf = append(written, '"')
}

func (e *encoder) texts(name string, values map[string]string) {
	e.name(name)
	inner := encoder{buf: e.buf, next: '{'}
	var keys [8]string
	for _, name := range sortedKeys(keys[:0], values) {
		inner.text(name, values[name])
	}
	e.buf = append(inner.buf, '}')
	if inner.err != nil {
		e.fail(name, inner.err)
	}
}

// quote writes s as a string, with no more escapes than it needs.
func (e *encoder) quote(name, s string) {
	if !utf8.ValidString(s) {
		e.fail(name, errors.New("not valid UTF-8"))
		return
	}
	e.buf = append(e.buf, '"')
	written := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		e.buf = append(e.buf, s[written:i]...)
		written = i + 1
		switch short := strings.IndexByte("\"\\\b\f\n\r\t", c); {
		case short >= 0:
			e.buf = append(e.buf, '\\', `"\bfnrt`[short])
		default:
			e.buf = fmt.Appendf(e.buf, `\u%04x`, c)
		}
	}
	e.buf = append(append(e.buf, s[written:]...), '"')
}

// sortedKeys appends the keys of m to dst, which has none, in order.
func sortedKeys[V any](dst []string, m map[string]V) []string {
	for key := range m {
		dst = append(dst, key)
	}
	slices.Sort(dst)
	return dst
}
