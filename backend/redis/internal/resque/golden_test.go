package resque_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
	"unicode/utf8"
)

// golden returns the bytes of a file of testdata, without the line break at
// its end. Those of ruby and php hold what Resque and php-resque were seen to
// write, in the form that the JSON libraries of these languages give it; a
// retried one is an entry that Ruby has read and written again.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(raw, []byte("\n"))
}

// The times that the files have.
var (
	enqueuedAt = time.Date(2026, 11, 21, 1, 46, 41, 82353123, time.UTC)
	failedAt   = time.Date(2026, 11, 21, 1, 28, 33, 0, time.UTC)
)

// equal complains unless got is want.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s is\n%+v, want\n%+v", what, got, want)
	}
}

var escapedSurrogate = regexp.MustCompile(`\\+u[dD][89a-fA-F]`)

// unreadable says why Ruby's or PHP's JSON library could not read raw and
// write it again. It goes by encoding/json, not by the code under test.
func unreadable(raw []byte) error {
	if !utf8.Valid(raw) {
		return errors.New("it is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	if _, err := decoder.Token(); err == nil {
		return errors.New("it is more than one value")
	}
	if _, ok := value.(map[string]any); !ok {
		return errors.New("it is not an object")
	}
	// Go reads half a pair as the replacement character.
	if escapedSurrogate.Match(raw) {
		again, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if bytes.Count(again, []byte("\ufffd")) > bytes.Count(raw, []byte("\ufffd"))+bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`)) {
			return errors.New("it has half a surrogate pair")
		}
	}
	return unwritable(value, 0)
}

// unwritable says why a value that is inside as many arrays and objects could
// not be written by Ruby.
func unwritable(value any, around int) error {
	var inside []any
	switch value := value.(type) {
	case json.Number:
		_, err := strconv.ParseFloat(value.String(), 64)
		return err
	case []any:
		inside = value
	case map[string]any:
		inside = slices.Collect(maps.Values(value))
	default:
		return nil
	}
	if around == 100 {
		return errors.New("it nests too deep")
	}
	for _, value := range inside {
		if err := unwritable(value, around+1); err != nil {
			return err
		}
	}
	return nil
}
