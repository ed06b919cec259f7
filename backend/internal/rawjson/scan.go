package rawjson

import (
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner tells in one pass whether bytes are a JSON value that keeps to the
// rules. It agrees with encoding/json about what JSON is, and is several times
// faster. That the bytes are UTF-8 is checked before.
//
// Its methods take an index into raw and return the one behind what they have
// read, or bad.
type scanner struct {
	raw   []byte
	rules Rules
}

const bad = -1

// scan tells whether raw is one value when depth levels are around it.
func (s *scanner) scan(depth int) bool {
	i := s.value(s.space(0), depth)
	return i != bad && s.space(i) == len(s.raw)
}

func (s *scanner) space(i int) int {
	for i < len(s.raw) {
		switch s.raw[i] {
		case ' ', '\t', '\r', '\n':
			i++
		default:
			return i
		}
	}
	return i
}

// is tells whether c stands at i.
func (s *scanner) is(i int, c byte) bool {
	return i < len(s.raw) && s.raw[i] == c
}

func (s *scanner) value(i, depth int) int {
	if i >= len(s.raw) {
		return bad
	}
	switch s.raw[i] {
	case '"':
		return s.text(i)
	case '{', '[':
		if depth++; depth > s.rules.MaxDepth {
			return bad
		}
		if s.raw[i] == '{' {
			return s.object(i, depth)
		}
		return s.array(i, depth)
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	}
	return s.number(i)
}

func (s *scanner) object(i, depth int) int {
	if i = s.space(i + 1); s.is(i, '}') {
		return i + 1
	}
	for {
		if !s.is(i, '"') {
			return bad
		}
		if i = s.text(i); i == bad {
			return bad
		}
		if i = s.space(i); !s.is(i, ':') {
			return bad
		}
		if i = s.value(s.space(i+1), depth); i == bad {
			return bad
		}
		if i = s.space(i); s.is(i, '}') {
			return i + 1
		}
		if !s.is(i, ',') {
			return bad
		}
		i = s.space(i + 1)
	}
}

func (s *scanner) array(i, depth int) int {
	if i = s.space(i + 1); s.is(i, ']') {
		return i + 1
	}
	for {
		if i = s.value(i, depth); i == bad {
			return bad
		}
		if i = s.space(i); s.is(i, ']') {
			return i + 1
		}
		if !s.is(i, ',') {
			return bad
		}
		i = s.space(i + 1)
	}
}

func (s *scanner) literal(i int, word string) int {
	if end := i + len(word); end <= len(s.raw) && string(s.raw[i:end]) == word {
		return end
	}
	return bad
}

// text reads a string, which begins with the quote at i.
func (s *scanner) text(i int) int {
	for i++; ; {
		if i = plainEnd(s.raw, i); i == len(s.raw) {
			return bad
		}
		switch s.raw[i] {
		case '"':
			return i + 1
		case '\\':
			if i = s.escape(i); i == bad {
				return bad
			}
		default: // a control character
			return bad
		}
	}
}

// escape reads an escape sequence, or the two of a surrogate pair.
func (s *scanner) escape(i int) int {
	if i+1 >= len(s.raw) {
		return bad
	}
	switch s.raw[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + len(`\n`)
	}
	first, ok := codeUnit(s.raw[i:])
	if !ok {
		return bad
	}
	i += len(`\ud83d`)
	if !s.rules.Portable || !utf16.IsSurrogate(first) {
		return i
	}
	second, ok := codeUnit(s.raw[i:])
	if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
		return bad
	}
	return i + len(`\ude00`)
}

// codeUnit returns the number of the escape sequence \u0000 that s begins
// with.
func codeUnit(s []byte) (unit rune, ok bool) {
	if len(s) < len(`\u0000`) || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range s[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		unit = unit<<4 | rune(c)
	}
	return unit, true
}

// safeDigits is how many digits a number can have before its point and still
// be below the largest float64, which is 1.8e308.
const safeDigits = 308

func (s *scanner) number(i int) int {
	start := i
	if s.is(i, '-') {
		i++
	}
	whole := i
	if i = s.digits(i); i == whole || s.raw[whole] == '0' && i > whole+1 {
		return bad
	}
	safe := i-whole <= safeDigits
	if s.is(i, '.') {
		fraction := i + 1
		if i = s.digits(fraction); i == fraction {
			return bad
		}
	}
	if s.is(i, 'e') || s.is(i, 'E') {
		safe = false
		if i++; s.is(i, '+') || s.is(i, '-') {
			i++
		}
		exponent := i
		if i = s.digits(i); i == exponent {
			return bad
		}
	}
	if s.rules.Portable && !safe {
		if _, err := strconv.ParseFloat(string(s.raw[start:i]), 64); err != nil {
			return bad
		}
	}
	return i
}

// digits returns the index behind the digits at i, of which there may be none.
func (s *scanner) digits(i int) int {
	for i < len(s.raw) && '0' <= s.raw[i] && s.raw[i] <= '9' {
		i++
	}
	return i
}

// plainEnd returns the index of the first byte of raw, from i on, that cannot
// stand for itself in a string: a quote, a backslash, a control character. It
// is len(raw) if there is none.
func plainEnd[Text string | []byte](raw Text, i int) int {
	const (
		each = 0x0101010101010101 // times a byte: that byte, eight times
		high = 0x80 * each
	)
	// In each term, the lowest high bit that is set belongs to a byte that is
	// looked for: only above such a byte can a borrow set another one.
	for ; i+8 <= len(raw); i += 8 {
		eight := raw[i : i+8] // which the compiler reads at once:
		word := uint64(eight[0]) | uint64(eight[1])<<8 | uint64(eight[2])<<16 | uint64(eight[3])<<24 |
			uint64(eight[4])<<32 | uint64(eight[5])<<40 | uint64(eight[6])<<48 | uint64(eight[7])<<56
		control := (word - ' '*each) &^ word
		quote := word ^ '"'*each
		quote = (quote - each) &^ quote
		backslash := word ^ '\\'*each
		backslash = (backslash - each) &^ backslash
		if found := (control | quote | backslash) & high; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(raw) && raw[i] >= ' ' && raw[i] != '"' && raw[i] != '\\' {
		i++
	}
	return i
}
