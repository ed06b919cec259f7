package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

var errHalfPair = errors.New("half a surrogate pair")

// Unquote returns the text of a JSON string. It refuses half a surrogate
// pair, which UTF-8 cannot express and encoding/json would silently replace.
// Where there is nothing to unescape the text is a part of quoted.
func Unquote(quoted []byte) ([]byte, error) {
	plain := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(plain, '\\') < 0 {
		return plain, nil
	}
	if hasLoneSurrogate(plain) {
		return nil, errHalfPair
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return nil, errors.New("not a string")
	}
	return []byte(s), nil
}

// Text returns the text of a JSON value that has to be a string.
func Text(value []byte) (string, error) {
	if value[0] != '"' {
		return "", errors.New("not a string")
	}
	s, err := Unquote(value)
	return string(s), err
}

// Texts returns the members of a JSON value that has to be an object of
// strings, as headers are. A member that is null counts as absent, and so does
// every one of [], which is how PHP writes an empty object.
func Texts(value []byte) (map[string]string, error) {
	if value[0] == '[' && len(bytes.Trim(value[1:len(value)-1], Space)) == 0 {
		return nil, nil
	}
	if value[0] != '{' {
		return nil, errors.New("not an object of strings")
	}
	var m map[string]string
	for quoted, value := range Members(value) {
		name, err := Text(quoted)
		if err != nil {
			return nil, fmt.Errorf("the name of a header: %w", err)
		}
		if string(value) == "null" {
			continue
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("header %.100q stands twice", name)
		}
		s, err := Text(value)
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

// hasLoneSurrogate tells whether one of the escape sequences in raw, which is
// part of valid JSON, is half a surrogate pair without the other one.
func hasLoneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		first, ok := codeUnit(raw[i:])
		i++ // the escaped character
		if !ok || !utf16.IsSurrogate(first) {
			continue
		}
		i += len("d800")
		second, ok := codeUnit(raw[i+1:])
		if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
			return true
		}
		i += len(`\udc00`)
	}
	return false
}
