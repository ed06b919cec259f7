package rawjson

import (
	"bytes"
	"iter"
)

// SkipSpace returns raw without the white space that it begins with.
func SkipSpace(raw []byte) []byte {
	for i, c := range raw {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return raw[i:]
		}
	}
	return nil
}

// Members yields the members of an object, of which raw, known to be valid
// JSON, begins with the brace: the names quoted as they stand, the values as
// the bytes that they are.
func Members(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(quoted, value []byte) bool) {
		for raw[0] != '}' {
			var quoted, value []byte
			raw = SkipSpace(raw[1:]) // behind { or ,
			if raw[0] == '}' {
				return // it is empty
			}
			quoted, raw = Cut(raw)
			raw = SkipSpace(raw)
			raw = SkipSpace(raw[1:]) // behind :
			value, raw = Cut(raw)
			raw = SkipSpace(raw)
			if !yield(quoted, value) {
				return
			}
		}
	}
}

// Cut returns the value that raw begins with, and what follows it. What
// begins raw is known to be valid JSON.
func Cut(raw []byte) (value, rest []byte) {
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
		if i = bytes.IndexAny(raw, ",}]"+Space); i < 0 {
			i = len(raw)
		}
	}
	return raw[:i:i], raw[i:]
}

// stringLen returns the length of the string that raw begins with, its quotes
// included.
func stringLen(raw []byte) int {
	for i := 1; ; i += len(`\"`) {
		if i = plainEnd(raw, i); raw[i] == '"' {
			return i + 1
		}
	}
}

// Elements yields the elements of an array, of which raw, known to be valid
// JSON, begins with the bracket.
func Elements(raw []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		for raw[0] != ']' {
			var value []byte
			raw = SkipSpace(raw[1:]) // behind [ or ,
			if raw[0] == ']' {
				return // it is empty
			}
			value, raw = Cut(raw)
			raw = SkipSpace(raw)
			if !yield(value) {
				return
			}
		}
	}
}
