// Package rawjson reads and writes JSON objects by hand. The stored forms of
// messages need it because their values must survive byte for byte, and
// because it is done twice for every job.
//
// To read, [Rules.Check] the bytes first: everything else here that takes JSON
// relies on its being valid. To write, see [Encoder].
package rawjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Space is what JSON counts as white space.
const Space = " \t\r\n"

// Rules is what a JSON value must keep to beside being one in valid UTF-8.
type Rules struct {
	// MaxDepth is how deep arrays and objects may nest, the outermost counted
	// as 1.
	MaxDepth int

	// Portable refuses what encoding/json takes but other languages do not:
	// half a surrogate pair in a string, and a number beyond float64.
	Portable bool
}

// Check returns an error unless raw is one JSON value that keeps to the rules
// when depth levels are around it.
func (r Rules) Check(raw []byte, depth int) error {
	if s := (scanner{raw: raw, rules: r}); !utf8.Valid(raw) || !s.scan(depth) {
		return r.problem(raw, depth)
	}
	return nil
}

// problem says what is wrong with raw, which does not keep to the rules.
func (r Rules) problem(raw []byte, depth int) error {
	inString := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			if depth++; depth > r.MaxDepth {
				return fmt.Errorf("nested deeper than %d levels", r.MaxDepth)
			}
		case c == '}', c == ']':
			depth--
		}
	}
	switch {
	case !utf8.Valid(raw):
		return errors.New("not valid UTF-8")
	case !json.Valid(raw):
		return errors.New("not valid JSON")
	case hasLoneSurrogate(raw):
		return errHalfPair
	}
	return errors.New("a number beyond the range of 64-bit floating point")
}
