package backend_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goferhq/queue/backend"
)

// selects reports whether a filter selects a message.
func selects(t testing.TB, f backend.Filter, m *backend.Message) bool {
	t.Helper()
	match, err := backend.MatchAny([]backend.Filter{f})
	if err != nil {
		t.Fatalf("filter %+v: %v", f, err)
	}
	return match(m)
}

func TestArgsAreComparedByValue(t *testing.T) {
	tests := []struct {
		wanted, args string
		want         bool
	}{
		{`{"a":1,"b":[true,null]}`, " {\n\"b\" : [ true , null ] ,\t\"a\" : 1.0 }", true},
		{`{"a":1}`, `{"a":1,"b":2}`, true},
		{`{"a":1,"b":2}`, `{"a":1}`, false},
		{`{"a":null}`, `{"b":null}`, false},
		{`{"a":{"b":1}}`, `{"a":{"b":1,"c":2}}`, false},
		{`{"a":{"b":1,"c":2}}`, `{"a":{"c":2,"b":1}}`, true},
		{`{"a":{"b":1}}`, `{"a":[{"b":1}]}`, false},
		{`{"a":[1]}`, `{"a":{}}`, false},
		{`{}`, `{"a":1}`, true},
		{`{}`, `[]`, false},
		{`{}`, `null`, false},
		{`[]`, `{}`, false},
		{`[]`, `[]`, true},
		{`[1,2]`, `[1,2]`, true},
		{`[1,2]`, `[2,1]`, false},
		{`[1]`, `[1,2]`, false},
		{`[{"a":1}]`, `[{"a":1,"b":2}]`, false},
		{`"é\/"`, `"\u00e9/"`, true},
		{`"😀"`, `"\ud83d\ude00"`, true},
		{`"e"`, `"E"`, false},
		{`1`, `"1"`, false},
		{`0`, `false`, false},
		{`0`, `null`, false},
		{`""`, `null`, false},
		{`null`, `null`, true},
		{`true`, `true`, true},
		{`{"a":1}`, `{"a":2,"a":1}`, true}, // the last counts
		{`{"a":1}`, `{"a":1`, false},
		{`{"a":1}`, `{"a":1} {"a":1}`, false},
		{`{"a":1}`, ``, false},
	}
	for _, tt := range tests {
		f, m := backend.Filter{Args: []byte(tt.wanted)}, &backend.Message{Args: []byte(tt.args)}
		if got := selects(t, f, m); got != tt.want {
			t.Errorf("Args %s select %s: %t, want %t", tt.wanted, tt.args, got, tt.want)
		}
	}
}

func TestNumbersAreComparedExactly(t *testing.T) {
	equal := [][]string{
		{"0", "-0", "0.0", "0e99999999999999999999999", "-0.000E-7"},
		{"1", "1.0", "10e-1", "0.1E+1", "0.001e3", "1e0", "1e-0", "1E+00000000000000000000000000"},
		{"-1", "-1.0"},
		{"100", "1e2", "1.00e+02"},
		{"12345678901234567"}, {"12345678901234568", "1.2345678901234568e16"},
		{"0.1"}, {"0.1000000000000000055511151231257827"},
		{"1e400"}, {"1e401"},
		{"1e999999999", "10e999999998"}, {"1e-999999999"},
		{"1e999999999999999999"}, {"1e1000000000000000000"}, {"-1e1000000000000000000"}, {"1e-1000000000000000000"},
		{strings.Repeat("9", 100), strings.Repeat("9", 100) + ".0"},
	}
	for i, xs := range equal {
		for j, ys := range equal {
			for _, x := range xs {
				for _, y := range ys {
					if got := selects(t, backend.Filter{Args: []byte(x)}, &backend.Message{Args: []byte(y)}); got != (i == j) {
						t.Errorf("%s equals %s: %t", x, y, got)
					}
				}
			}
		}
	}
}

func TestNumbersAgreeWithRationals(t *testing.T) {
	var numbers []string
	for _, digits := range []string{"0", "1", "10", "7.0", "0.7", "0.07", "70.70", "707", "-7", "-0.70"} {
		for _, exponent := range []string{"", "e0", "e1", "E-1", "e+2", "e-02"} {
			numbers = append(numbers, digits+exponent)
		}
	}
	for _, x := range numbers {
		for _, y := range numbers {
			a, _ := new(big.Rat).SetString(x)
			b, _ := new(big.Rat).SetString(y)
			if got := selects(t, backend.Filter{Args: []byte(x)}, &backend.Message{Args: []byte(y)}); got != (a.Cmp(b) == 0) {
				t.Errorf("%s equals %s: %t", x, y, got)
			}
		}
	}
}

func TestHugeNumbersCostNoTime(t *testing.T) {
	began := time.Now()
	huge := strings.Repeat("9", 1<<20)
	for _, number := range []string{"1e999999999", "1e" + huge, huge, "0." + huge, huge + "e-" + huge} {
		m := &backend.Message{Args: []byte(number)}
		if !selects(t, backend.Filter{Args: []byte(number)}, m) || selects(t, backend.Filter{Args: []byte("1" + number)}, m) {
			t.Errorf("%.20s… is not equal to itself alone", number)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAFilterMatchesByEachField(t *testing.T) {
	m := &backend.Message{ID: "1", Kind: "k", Args: []byte(`[7]`)}
	for _, tt := range []struct {
		f    backend.Filter
		want bool
	}{
		{backend.Filter{ID: "1"}, true},
		{backend.Filter{ID: "2"}, false},
		{backend.Filter{Kind: "k"}, true},
		{backend.Filter{Kind: "K"}, false},
		{backend.Filter{ID: "1", Kind: "k", Args: []byte(`[7]`)}, true},
		{backend.Filter{ID: "2", Kind: "k", Args: []byte(`[7]`)}, false},
		{backend.Filter{ID: "1", Kind: "x", Args: []byte(`[7]`)}, false},
		{backend.Filter{ID: "1", Kind: "k", Args: []byte(`[8]`)}, false},
	} {
		if got := selects(t, tt.f, m); got != tt.want {
			t.Errorf("%+v selects the message: %t, want %t", tt.f, got, tt.want)
		}
	}
}

func TestAnyOfTheFiltersIsEnough(t *testing.T) {
	match, err := backend.MatchAny([]backend.Filter{{ID: "1"}, {Kind: "k", Args: []byte(`[1]`)}, {Args: []byte(`[2]`)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		m    backend.Message
		want bool
	}{
		{backend.Message{ID: "1", Kind: "x", Args: []byte(`not JSON`)}, true},
		{backend.Message{ID: "2", Kind: "k", Args: []byte(`[1]`)}, true},
		{backend.Message{ID: "2", Kind: "k", Args: []byte(`[2]`)}, true},
		{backend.Message{ID: "2", Kind: "x", Args: []byte(`[1]`)}, false},
		{backend.Message{ID: "2", Kind: "k", Args: []byte(`not JSON`)}, false},
	} {
		if got := match(&tt.m); got != tt.want {
			t.Errorf("%s %s %s matches: %t, want %t", tt.m.ID, tt.m.Kind, tt.m.Args, got, tt.want)
		}
	}
}

func TestFiltersThatCannotBeMeantAreInvalid(t *testing.T) {
	one := backend.Filter{ID: "1"}
	for what, filters := range map[string][]backend.Filter{
		"none":              nil,
		"an empty one":      {{}},
		"a last empty one":  {one, {}},
		"empty args":        {{Args: json.RawMessage{}}},
		"half an object":    {one, {Kind: "k", Args: []byte(`{"a":1`)}},
		"blank args":        {{Args: []byte(" ")}},
		"two values":        {{Args: []byte(`1 2`)}},
		"what is no number": {{Args: []byte(`01`)}},
		"a bare word":       {{Args: []byte(`nil`)}},
		"a wrong byte":      {{Args: []byte("\"\xff\"")}},
		"deep nesting":      {{Args: bytes.Repeat([]byte("["), 1<<20)}},
	} {
		if _, err := backend.MatchAny(filters); !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
}

func TestArgsAreParsedOnceAndOnlyWhenNeeded(t *testing.T) {
	m := &backend.Message{ID: "1", Kind: "k", Args: []byte(`{"list":[` + strings.Repeat(`{"a":1},`, 1000) + `0]}`)}
	allocs := func(filters ...backend.Filter) float64 {
		match, err := backend.MatchAny(filters)
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(10, func() { match(m) })
	}
	args := json.RawMessage(`{"list":0}`)
	if n := allocs(backend.Filter{ID: "2", Args: args}, backend.Filter{Kind: "x", Args: args}); n != 0 {
		t.Errorf("%v allocations where ID and kind rule the message out", n)
	}
	once := allocs(backend.Filter{Args: args})
	var many []backend.Filter
	for i := range 100 {
		many = append(many, backend.Filter{Args: fmt.Appendf(nil, `{"list":%d}`, i)})
	}
	if n := allocs(many...); n > once+10 {
		t.Errorf("%v allocations for 100 filters, %v for one", n, once)
	}
}

// FuzzMatchAny gives any bytes to a filter and to a message. JSON selects
// itself, however it is indented, and nothing panics.
func FuzzMatchAny(f *testing.F) {
	for _, args := range []string{`{"a":[1,2.50e-3,"\u00e9",null]}`, `[]`, `1e99999999999999999999`, `"\ud800"`, `{`, "\"\xff\"", `{"a":1,"a":2}`} {
		f.Add([]byte(args), []byte(`{"a":1}`))
	}
	f.Fuzz(func(t *testing.T, wanted, args []byte) {
		match, err := backend.MatchAny([]backend.Filter{{Kind: "k", Args: wanted}})
		if valid := len(wanted) == 0 || utf8.Valid(wanted) && json.Valid(wanted); valid != (err == nil) {
			t.Fatalf("MatchAny(%q) = %v", wanted, err)
		}
		if err != nil {
			return
		}
		match(&backend.Message{Kind: "k", Args: args})
		if len(wanted) == 0 {
			return
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, wanted, "\t", "  "); err != nil {
			t.Fatal(err)
		}
		for _, same := range [][]byte{wanted, indented.Bytes()} {
			if !match(&backend.Message{Kind: "k", Args: same}) {
				t.Errorf("%q does not select %q", wanted, same)
			}
		}
	})
}
