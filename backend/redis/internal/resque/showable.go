package resque

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/goferhq/queue/backend/internal/rawjson"
)

// malformedClass is the class that resque-web shows for what is not a payload.
const malformedClass = "(malformed)"

// maxExcerpt is how many characters of what is not a payload are shown.
const maxExcerpt = 200

// showable returns the object that stands for a payload where Ruby and
// resque-web read it as a member: the payload itself, without white space
// around it, when it is an object that has a class and keeps to the rules, and
// else {"class":"(malformed)","args":["…"]} with the beginning of its bytes.
func showable(payload []byte) []byte {
	trimmed := bytes.Trim(payload, rawjson.Space)
	if len(trimmed) > 0 && trimmed[0] == '{' && rules.Check(trimmed, around) == nil && hasClass(trimmed) {
		return trimmed
	}
	e := rules.NewEncoder(nil, around)
	e.Text(fieldClass, malformedClass)
	e.TextList(fieldArgs, []string{excerpt(payload)})
	shown, _ := e.End() // of texts that are UTF-8
	return shown
}

// hasClass tells whether a JSON object has a class, and each that it has is a
// string: readers differ in which of several they take.
func hasClass(object []byte) bool {
	has := false
	for quoted, value := range rawjson.Members(object) {
		name, err := rawjson.Unquote(quoted)
		if err != nil || string(name) != fieldClass {
			continue
		}
		if value[0] != '"' || string(value) == `""` {
			return false
		}
		has = true
	}
	return has
}

// excerpt returns the beginning of raw as text that can be printed.
func excerpt(raw []byte) string {
	var text []rune
	for len(raw) > 0 {
		if len(text) == maxExcerpt {
			text[maxExcerpt-1] = '…'
			break
		}
		r, size := utf8.DecodeRune(raw)
		raw = raw[size:]
		if !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		text = append(text, r)
	}
	return string(text)
}
