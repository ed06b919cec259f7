package rawjson

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Encoder writes one object, member by member, and remembers the first error.
type Encoder struct {
	buf   []byte
	next  byte // what stands in front of the next member: a brace or a comma
	depth int  // what a member counts as nested in
	rules Rules
	err   error

	// Of the object that this one is a member of, see Inner:
	outerLen  int
	outerNext byte
}

// NewEncoder returns an encoder that appends an object to dst, which keeps to
// the rules when depth levels are around it.
func (r Rules) NewEncoder(dst []byte, depth int) Encoder {
	return Encoder{buf: dst, next: '{', depth: depth + 1, rules: r}
}

// End closes the object and returns what dst has become, and the first error.
func (e *Encoder) End() ([]byte, error) {
	if e.next == '{' { // it has no members
		e.buf = append(e.buf, '{')
	}
	e.buf = append(e.buf, '}')
	return e.buf, e.err
}

// Err returns the first error.
func (e *Encoder) Err() error { return e.err }

// Inner begins a member that is an object. Its members are written with the
// encoder that is returned, and none of e until that one is given to Close.
func (e *Encoder) Inner(name string) Encoder {
	inner := Encoder{next: '{', depth: e.depth + 1, rules: e.rules, outerLen: len(e.buf), outerNext: e.next}
	e.Name(name)
	inner.buf = e.buf
	return inner
}

// Close ends the object that Inner began. One without members is left out.
func (e *Encoder) Close(inner *Encoder) {
	if e.err == nil {
		e.err = inner.err
	}
	if e.buf = inner.buf; inner.next == '{' {
		e.buf, e.next = e.buf[:inner.outerLen], inner.outerNext
		return
	}
	e.buf = append(e.buf, '}')
}

// Fail says what is wrong with a member that cannot be written.
func (e *Encoder) Fail(name string, problem error) {
	if e.err == nil {
		e.err = fmt.Errorf("field %.100q: %w", name, problem)
	}
}

// Name writes the name of the next member.
func (e *Encoder) Name(name string) {
	e.buf = append(e.buf, e.next)
	e.next = ','
	e.quote(name, name)
	e.buf = append(e.buf, ':')
}

// Verbatim writes a member whose value is known to be JSON that keeps to the
// rules.
func (e *Encoder) Verbatim(name string, value []byte) {
	e.Name(name)
	e.buf = append(e.buf, value...)
}

// JSON writes a member whose value is JSON already.
func (e *Encoder) JSON(name string, value []byte) {
	if err := e.rules.Check(value, e.depth); err != nil {
		e.Fail(name, err)
		return
	}
	e.Verbatim(name, value)
}

// List writes a member that is an array of values that are JSON already.
func (e *Encoder) List(name string, values ...[]byte) {
	e.Name(name)
	next := byte('[')
	for _, value := range values {
		if err := e.rules.Check(value, e.depth+1); err != nil {
			e.Fail(name, err)
			return
		}
		e.buf = append(append(e.buf, next), value...)
		next = ','
	}
	e.endList(next)
}

// TextList writes a member that is an array of strings.
func (e *Encoder) TextList(name string, values []string) {
	e.Name(name)
	next := byte('[')
	for _, value := range values {
		e.buf = append(e.buf, next)
		e.quote(name, value)
		next = ','
	}
	e.endList(next)
}

// endList ends an array. What would stand in front of its next element is the
// bracket if it has none.
func (e *Encoder) endList(next byte) {
	if next == '[' {
		e.buf = append(e.buf, '[')
	}
	e.buf = append(e.buf, ']')
}

// Text writes a member that is a string.
func (e *Encoder) Text(name, value string) {
	e.Name(name)
	e.quote(name, value)
}

// Integer writes a member that is an integer.
func (e *Encoder) Integer(name string, n int64) {
	e.Name(name)
	e.buf = strconv.AppendInt(e.buf, n, 10)
}

// Count writes a member that is an integer between 0 and [MaxCount], but not
// when it is zero.
func (e *Encoder) Count(name string, n int) {
	if n < 0 || n > MaxCount {
		e.Fail(name, fmt.Errorf("%d is not between 0 and %d", n, MaxCount))
	}
	if n != 0 {
		e.Integer(name, int64(n))
	}
}

// Time writes a member that is a time as RFC 3339 has it, in UTC.
func (e *Encoder) Time(name string, t time.Time) {
	e.Name(name)
	e.buf = append(e.buf, '"')
	written, err := t.UTC().AppendText(e.buf)
	if err != nil {
		e.Fail(name, err)
		return
	}
	e.buf = append(written, '"')
}

// Texts writes a member that is an object of strings, in alphabetical order.
func (e *Encoder) Texts(name string, values map[string]string) {
	e.Name(name)
	inner := Encoder{buf: e.buf, next: '{'}
	var keys [8]string
	for _, name := range SortedKeys(keys[:0], values) {
		inner.Text(name, values[name])
	}
	e.buf = append(inner.buf, '}')
	if inner.err != nil {
		e.Fail(name, inner.err)
	}
}

// quote writes s as a string, with no more escapes than it needs.
func (e *Encoder) quote(name, s string) {
	if !utf8.ValidString(s) {
		e.Fail(name, errors.New("not valid UTF-8"))
		return
	}
	e.buf = append(e.buf, '"')
	for {
		i := plainEnd(s, 0)
		if e.buf = append(e.buf, s[:i]...); i == len(s) {
			break
		}
		c := s[i]
		s = s[i+1:]
		switch short := strings.IndexByte("\"\\\b\f\n\r\t", c); {
		case short >= 0:
			e.buf = append(e.buf, '\\', `"\bfnrt`[short])
		default:
			e.buf = fmt.Appendf(e.buf, `\u%04x`, c)
		}
	}
	e.buf = append(e.buf, '"')
}

// SortedKeys appends the keys of m to dst, which has none, in order.
func SortedKeys[V any](dst []string, m map[string]V) []string {
	for key := range m {
		dst = append(dst, key)
	}
	slices.Sort(dst)
	return dst
}
