package backend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Filter selects the messages that match each of its fields. A field that is
// empty matches all.
type Filter struct {
	ID   string
	Kind string

	// Args selects messages by arguments: an object selects those whose args
	// are an object that has every member of it with an equal value; any
	// other JSON value those whose args equal it. Equal is by value, not by
	// bytes: white space, the order of members and the spelling of strings
	// and numbers do not count. Of a member that stands twice the last counts.
	Args json.RawMessage
}

// MatchAny returns a function that reports whether a message matches any of
// filters. It looks at the arguments of a message only when its ID and kind
// leave that open, and parses them once for all filters. Arguments that are not
// JSON match no Args. The function is safe for concurrent use.
//
// No filter, one without a field, and Args that are not JSON are [ErrInvalid].
func MatchAny(filters []Filter) (func(m *Message) bool, error) {
	if len(filters) == 0 {
		return nil, fmt.Errorf("%w: no filter", ErrInvalid)
	}
	wanted := make([]any, len(filters))
	for i, f := range filters {
		if f.ID == "" && f.Kind == "" && len(f.Args) == 0 {
			return nil, fmt.Errorf("%w: an empty filter would match everything", ErrInvalid)
		}
		if len(f.Args) == 0 {
			continue
		}
		var err error
		if wanted[i], err = parseValue(f.Args); err != nil {
			return nil, fmt.Errorf("%w: the Args of a filter: %w", ErrInvalid, err)
		}
	}
	return func(m *Message) bool {
		var args any
		var err error
		parsed := false
		for i, f := range filters {
			switch {
			case f.ID != "" && f.ID != m.ID, f.Kind != "" && f.Kind != m.Kind:
				continue
			case len(f.Args) == 0:
				return true
			}
			if !parsed {
				args, err = parseValue(m.Args)
				parsed = true
			}
			if err == nil && matchArgs(args, wanted[i]) {
				return true
			}
		}
		return false
	}, nil
}

// parseValue returns the only value in raw. Its numbers are as they stand.
func parseValue(raw []byte) (v any, err error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("not valid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("not valid JSON: more than one value")
	}
	return v, nil
}

func matchArgs(args, wanted any) bool {
	members, ok := wanted.(map[string]any)
	if !ok {
		return equalValues(args, wanted)
	}
	object, ok := args.(map[string]any)
	return ok && hasMembers(object, members)
}

// hasMembers reports whether object has each of members, with an equal value.
func hasMembers(object, members map[string]any) bool {
	for name, want := range members {
		if got, ok := object[name]; !ok || !equalValues(got, want) {
			return false
		}
	}
	return true
}

func equalValues(x, y any) bool {
	switch x := x.(type) {
	case map[string]any:
		y, ok := y.(map[string]any)
		return ok && len(x) == len(y) && hasMembers(x, y)
	case []any:
		y, ok := y.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equalValues(x[i], y[i]) {
				return false
			}
		}
		return true
	case json.Number:
		y, ok := y.(json.Number)
		return ok && (x == y || decimalOf(x) == decimalOf(y))
	}
	return x == y // strings, booleans and null
}

// decimal is a number as the digits of an integer, without zeros at either
// end, times a power of ten. Equal numbers have equal ones, however many
// digits they have, and none is ever written out.
type decimal struct {
	negative bool
	digits   string // none for zero
	exponent int64

	// beyond is an exponent that is too large to reckon with, as it is
	// spelled: such numbers are equal only when they are spelled alike.
	beyond string
}

// exponentDigits is how long an exponent may be. Adding to it the number of
// digits that fit into memory does not overflow.
const exponentDigits = 18

func decimalOf(n json.Number) decimal {
	var d decimal
	text := string(n)
	text, d.negative = strings.CutPrefix(text, "-")
	exponent := ""
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		text, exponent = text[:i], text[i+1:]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	d.digits = strings.TrimRight(digits, "0")
	if d.digits == "" {
		return decimal{} // also -0 and 0e9
	}
	size := strings.TrimLeft(strings.TrimLeft(exponent, "+-"), "0")
	if len(size) > exponentDigits {
		return decimal{beyond: string(n)}
	}
	if size != "" {
		d.exponent, _ = strconv.ParseInt(size, 10, 64) // it is all digits
		if exponent[0] == '-' {
			d.exponent = -d.exponent
		}
	}
	d.exponent += int64(len(digits) - len(d.digits) - len(fraction))
	return d
}
