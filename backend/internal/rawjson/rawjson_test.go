package rawjson_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goferhq/queue/backend/internal/rawjson"
)

var (
	loose    = rawjson.Rules{MaxDepth: 100}
	portable = rawjson.Rules{MaxDepth: 100, Portable: true}
)

func TestCheckTellsWhatIsWrong(t *testing.T) {
	for _, tt := range []struct{ raw, loose, portable string }{
		{` {"a":[1,-0.5e+3,true,false,null,"\"\\\/\b\f\n\r\t\u00e9"]} `, "", ""},
		{`[]`, "", ""},
		{`""`, "", ""},
		{"\"\x7f\u2028é\"", "", ""},
		{``, "not valid JSON", "not valid JSON"},
		{`hello`, "not valid JSON", "not valid JSON"},
		{`nul`, "not valid JSON", "not valid JSON"},
		{`1 2`, "not valid JSON", "not valid JSON"},
		{`01`, "not valid JSON", "not valid JSON"},
		{`1.`, "not valid JSON", "not valid JSON"},
		{`-`, "not valid JSON", "not valid JSON"},
		{`1e`, "not valid JSON", "not valid JSON"},
		{`[1,]`, "not valid JSON", "not valid JSON"},
		{`{"a"}`, "not valid JSON", "not valid JSON"},
		{`{1:2}`, "not valid JSON", "not valid JSON"},
		{`"`, "not valid JSON", "not valid JSON"},
		{`"\`, "not valid JSON", "not valid JSON"},
		{`"\u12"`, "not valid JSON", "not valid JSON"},
		{`"\x"`, "not valid JSON", "not valid JSON"},
		{"\"\n\"", "not valid JSON", "not valid JSON"},
		{"\ufeff1", "not valid JSON", "not valid JSON"},
		{"\"\xff\"", "not valid UTF-8", "not valid UTF-8"},
		{"[\xff", "not valid UTF-8", "not valid UTF-8"},
		{strings.Repeat("[", 101), "nested deeper than 100 levels", "nested deeper than 100 levels"},
		{`"\ud83d\ude00"`, "", ""},
		{`"\uD83D\uDE00 \u0041"`, "", ""},
		{`"\\ud800"`, "", ""},
		{`"\\\\ud800"`, "", ""},
		{`"\ud800"`, "", "half a surrogate pair"},
		{`"\\\ud800"`, "", "half a surrogate pair"},
		{`"\udc00\ud800"`, "", "half a surrogate pair"},
		{`"\ud800\u0041"`, "", "half a surrogate pair"},
		{`"\ud800\n"`, "", "half a surrogate pair"},
		{`"\ud83d\ud83d\ude00"`, "", "half a surrogate pair"},
		{`{"\uDFFF":1}`, "", "half a surrogate pair"},
		{`1e308`, "", ""},
		{`-1.7976931348623157e308`, "", ""},
		{`1e-400`, "", ""},
		{`0.` + strings.Repeat("0", 400) + `1e700`, "", ""},
		{strings.Repeat("9", 308) + `.9`, "", ""},
		{`1` + strings.Repeat("0", 308), "", ""},
		{`1e309`, "", "a number beyond the range of 64-bit floating point"},
		{`[-1E+400]`, "", "a number beyond the range of 64-bit floating point"},
		{`1.7976931348623159e308`, "", "a number beyond the range of 64-bit floating point"},
		{`1` + strings.Repeat("0", 309), "", "a number beyond the range of 64-bit floating point"},
		{strings.Repeat("9", 309), "", "a number beyond the range of 64-bit floating point"},
		{`1e99999999999999999999`, "", "a number beyond the range of 64-bit floating point"},
	} {
		if got := text(loose.Check([]byte(tt.raw), 0)); got != tt.loose {
			t.Errorf("Check(%.80q) = %q, want %q", tt.raw, got, tt.loose)
		}
		if got := text(portable.Check([]byte(tt.raw), 0)); got != tt.portable {
			t.Errorf("portable Check(%.80q) = %q, want %q", tt.raw, got, tt.portable)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestDepthIsCountedFromOutside(t *testing.T) {
	raw := []byte(strings.Repeat(`[{"a":`, 10) + `"[[["` + strings.Repeat(`}]`, 10))
	rules := rawjson.Rules{MaxDepth: 25}
	if err := rules.Check(raw, 5); err != nil {
		t.Error(err)
	}
	if err := rules.Check(raw, 6); err == nil {
		t.Error("26 levels were taken, and 25 are allowed")
	}
}

// Where a string ends must not depend on how it lies in the eight bytes that
// are looked at together.
func TestStringsEndWhereTheyEnd(t *testing.T) {
	for length := range 40 {
		for _, c := range []string{"x", "é", "\x7f", "\u0080", "\uffff", "!", "#", "[", "]"} {
			plain := strings.Repeat(c, length)
			for _, special := range []string{``, `\"`, `\\`, `\n`} {
				raw := []byte(`"` + plain + special + plain + `" `)
				value, rest := rawjson.Cut(raw)
				if err := portable.Check(raw, 0); err != nil || string(rest) != " " {
					t.Errorf("Cut(%s) = %s, %s; Check: %v", raw, value, rest, err)
				}
			}
			for control := range byte(' ') {
				if loose.Check([]byte(`"`+plain+string(rune(control))+plain+`"`), 0) == nil {
					t.Errorf("a string may have the control character %#x behind %d characters", control, length)
				}
			}
		}
	}
}

func TestMembersAndElements(t *testing.T) {
	for raw, want := range map[string]string{
		`{}`:      ``,
		"{ \n}":   ``,
		`{"a":1}`: `"a"=1;`,
		` { "a" : "}\"" , "b\"":[ {} ,"]"],"a":-1.5e3 , "":null } `: `"a"="}\"";"b\""=[ {} ,"]"];"a"=-1.5e3;""=null;`,
	} {
		var got strings.Builder
		for quoted, value := range rawjson.Members(rawjson.SkipSpace([]byte(raw))) {
			got.WriteString(string(quoted) + "=" + string(value) + ";")
		}
		if got.String() != want {
			t.Errorf("the members of %s are %s, want %s", raw, got.String(), want)
		}
	}
	for raw, want := range map[string]string{
		`[]`:                              ``,
		"[\t]":                            ``,
		`[1]`:                             `1;`,
		`[ [1 , 2] , "]" ,{"a":[]}, 3 ] `: `[1 , 2];"]";{"a":[]};3;`,
	} {
		var got strings.Builder
		for value := range rawjson.Elements([]byte(raw)) {
			got.WriteString(string(value) + ";")
		}
		if got.String() != want {
			t.Errorf("the elements of %s are %s, want %s", raw, got.String(), want)
		}
	}
}

func TestAnIterationCanEndEarly(t *testing.T) {
	for range rawjson.Members([]byte(`{"a":1,"b":2}`)) {
		break
	}
	for range rawjson.Elements([]byte(`[1,2]`)) {
		break
	}
}

func TestEncoder(t *testing.T) {
	e := portable.NewEncoder([]byte("before"), 0)
	e.Text("text", "\"\\\b\f\n\r\t\x00\x1f\x7f/é")
	e.JSON("json", []byte(` {"a":1} `))
	e.Count("zero", 0)
	e.Count("count", 7)
	e.Integer("integer", math.MinInt64)
	e.List("list", []byte("1"), []byte("[]"))
	e.List("nothing")
	e.TextList("texts", []string{"a", ""})
	e.TextList("no texts", nil)
	inner := e.Inner("inner")
	innermost := inner.Inner("innermost")
	innermost.Texts("texts", map[string]string{"b": "2", "a": "1"})
	inner.Close(&innermost)
	e.Close(&inner)
	empty := e.Inner("empty")
	e.Close(&empty)
	e.Verbatim("verbatim", []byte("true"))
	got, err := e.End()
	want := `before{"text":"\"\\\b\f\n\r\t\u0000\u001f` + "\x7f" + `/é","json": {"a":1} ,"count":7,"integer":-9223372036854775808,` +
		`"list":[1,[]],"nothing":[],"texts":["a",""],"no texts":[],"inner":{"innermost":{"texts":{"a":"1","b":"2"}}},"verbatim":true}`
	if string(got) != want || err != nil {
		t.Errorf("wrote\n%s, %v, want\n%s", got, err, want)
	}
}

func TestEncoderOfNothing(t *testing.T) {
	e := loose.NewEncoder(nil, 0)
	inner := e.Inner("empty")
	e.Close(&inner)
	if got, err := e.End(); string(got) != "{}" || err != nil {
		t.Errorf("wrote %s, %v", got, err)
	}
}

func TestEncoderTellsTheFirstProblem(t *testing.T) {
	deep := []byte(strings.Repeat("[", 98) + strings.Repeat("]", 98))
	for want, write := range map[string]func(e *rawjson.Encoder){
		`field "a": not valid UTF-8`:                    func(e *rawjson.Encoder) { e.Text("a", "\xff") },
		`field "\xff": not valid UTF-8`:                 func(e *rawjson.Encoder) { e.Text("\xff", "a") },
		`field "b": not valid UTF-8`:                    func(e *rawjson.Encoder) { e.TextList("b", []string{"a", "\xff"}) },
		`field "c": not valid JSON`:                     func(e *rawjson.Encoder) { e.JSON("c", nil) },
		`field "d": not valid JSON`:                     func(e *rawjson.Encoder) { e.List("d", []byte("1"), []byte("]")) },
		`field "e": -1 is not between 0 and 1073741824`: func(e *rawjson.Encoder) { e.Count("e", -1) },
		`field "f": half a surrogate pair`:              func(e *rawjson.Encoder) { e.JSON("f", []byte(`"\ud800"`)) },
		`field "g": nested deeper than 100 levels`:      func(e *rawjson.Encoder) { e.List("g", append([]byte("["), append(deep, ']')...)) },
		`field "h": field "x": not valid UTF-8`:         func(e *rawjson.Encoder) { e.Texts("h", map[string]string{"x": "\xff"}) },
		`field "i": nested deeper than 100 levels`:      func(e *rawjson.Encoder) { inner := e.Inner("x"); inner.List("i", deep); e.Close(&inner) },
	} {
		e := portable.NewEncoder(nil, 0)
		write(&e)
		e.Text("later", "\xff")
		if _, err := e.End(); text(err) != want || e.Err() == nil {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// FuzzCheck compares the scanner with encoding/json, and what is portable with
// what survives a way through float64 and UTF-8.
func FuzzCheck(f *testing.F) {
	for _, raw := range []string{
		` {"a":[1,-0.5e+3,true,false,null,"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"]} `,
		`{"":{"":{}}}`, `[[],[ ],{}]`, `[1,]`, `01`, `-`, `1.e1`, `"\ud800"`, "\"\x1f\"", `1e400`, "\xff", `nulll`, `{"a":1,}`,
		`"01234567\"01234567\\01234567` + "\x7f\u00801\"",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		deepest := rawjson.Rules{MaxDepth: 10_000} // the limit of encoding/json
		valid := utf8.Valid(raw) && json.Valid(raw)
		if err := deepest.Check(raw, 0); (err == nil) != valid {
			t.Fatalf("Check(%q): %v, but encoding/json says %v", raw, err, valid)
		}
		deepest.Portable = true
		err := deepest.Check(raw, 0)
		if !valid {
			if err == nil {
				t.Fatalf("Check(%q) finds nothing", raw)
			}
			return
		}
		value, rest := rawjson.Cut(rawjson.SkipSpace(raw))
		if strings.TrimRight(string(rest), rawjson.Space) != "" || strings.Trim(string(raw), rawjson.Space) != string(value) {
			t.Errorf("Cut(%q) = %q, %q", raw, value, rest)
		}
		if bytes.Contains(raw, []byte("\ufffd")) || bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`)) {
			return // the replacement character may be meant
		}
		if want := isPortable(raw); (err == nil) != want {
			t.Errorf("portable Check(%q): %v, want %v", raw, err, want)
		}
	})
}

// isPortable goes by encoding/json, which fails for a number that is no float64
// and puts the replacement character for half a surrogate pair.
func isPortable(raw []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	for {
		token, err := decoder.Token()
		if err != nil {
			return err == io.EOF
		}
		if text, ok := token.(string); ok && strings.Contains(text, "\ufffd") {
			return false
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	raw := []byte(`{"class":"send_email","args":[{"to":"ann@example.org","text":"Dear Ann, the report that you have asked for is ready.\n"}],"id":"01JD7Q4Z5M8X9W2V3T6R1KYNPC","queue_time":1795224401.082353123}`)
	for name, check := range map[string]func() bool{
		"rawjson":       func() bool { return portable.Check(raw, 0) == nil },
		"encoding/json": func() bool { return json.Valid(raw) },
	} {
		b.Run("by="+name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if !check() {
					b.Fatal("not valid")
				}
			}
		})
	}
}
