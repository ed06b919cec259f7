package redis

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestAPatternMatchesAPrefixLiterally(t *testing.T) {
	for prefix, want := range map[string]string{
		"":            "",
		"status:":     "status:",
		"{app}:a b":   "{app}:a b",
		"a*b":         `a\*b`,
		"?":           `\?`,
		"[a-z]":       `\[a-z\]`,
		"^":           "^",
		`\`:           `\\`,
		`\*`:          `\\\*`,
		"\x00\xff*\n": "\x00\xff\\*\n",
	} {
		if got := escape(prefix); got != want {
			t.Errorf("the pattern for %q is %q, want %q", prefix, got, want)
		}
	}
}

// array returns an array of bulk strings as Redis writes it.
func array(texts ...string) string {
	var reply strings.Builder
	reply.WriteString("*" + strconv.Itoa(len(texts)) + "\r\n")
	for _, text := range texts {
		reply.WriteString(bulk(text))
	}
	return reply.String()
}

func TestListSortsAndLeavesOutWhatIsTwiceOrGoneOrForeign(t *testing.T) {
	restless := &server{answer: func(_ net.Conn, command []string) string {
		switch {
		case command[0] == "scan" && command[1] == "0":
			return "*2\r\n" + bulk("7") + array("app:d", "app:b", "app:gone", "app:a")
		case command[0] == "scan" && command[1] == "7":
			return "*2\r\n" + bulk("0") + array("app:foreign", "app:a", "app:c", "app:b")
		case command[1] == "app:gone":
			return "$-1\r\n"
		case command[1] == "app:foreign":
			return "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
		default:
			return bulk("value of " + command[1])
		}
	}}
	items, err := New(restless.client(t), "app:").List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.Key
		if string(item.Value) != "value of app:"+item.Key {
			t.Errorf("%s has the value %q", item.Key, item.Value)
		}
	}
	if want := []string{"a", "b", "c", "d"}; !slices.Equal(keys, want) {
		t.Errorf("the keys are %q, want %q", keys, want)
	}
}

func TestListReturnsTheErrorsOfTheServer(t *testing.T) {
	for verb, want := range map[string]string{
		"scan": `store: redis: list "a": LOADING Redis is loading the dataset in memory`,
		"get":  `store: redis: list "a": LOADING Redis is loading the dataset in memory`,
	} {
		loading := &server{answer: func(_ net.Conn, command []string) string {
			if command[0] == verb {
				return "-LOADING Redis is loading the dataset in memory\r\n"
			}
			return "*2\r\n" + bulk("0") + array("app:a")
		}}
		items, err := New(loading.client(t), "app:").List(t.Context(), "a")
		if err == nil || err.Error() != want || items != nil {
			t.Errorf("List returned %v and the error %v, want %s", items, err, want)
		}
	}
}
