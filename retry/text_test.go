package retry_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/retry"
)

func TestTextReadsLikeTheGoThatMadeIt(t *testing.T) {
	tests := []struct {
		policy retry.Backoff
		text   string
	}{
		{retry.Backoff{}, "polynomial"},
		{retry.Never(), "never"},
		{retry.Fixed(0), "fixed(0s)"},
		{retry.Fixed(5 * time.Second), "fixed(5s)"},
		{retry.List(0), "list(0s)"},
		{retry.List(time.Second, 1500*time.Millisecond, time.Minute), "list(1s,1.5s,1m0s)"},
		{retry.Exponential(1, retry.MaxDelay), "exponential(1ns,8760h0m0s)"},
		{retry.Exponential(1500, time.Second), "exponential(1.5µs,1s)"},
		{retry.Never().Max(1), "never.max(1)"},
		{retry.Polynomial().Until(day).Max(5), "polynomial.max(5).until(24h0m0s)"},
		{
			retry.Exponential(time.Second, time.Hour).Max(5).Until(day),
			"exponential(1s,1h0m0s).max(5).until(24h0m0s)",
		},
	}
	for _, test := range tests {
		if got := test.policy.String(); got != test.text {
			t.Errorf("String() = %q, want %q", got, test.text)
		}
		if got, err := retry.Parse(test.text); err != nil || got != test.policy {
			t.Errorf("Parse(%q) = %v, %v, want %v", test.text, got, err, test.policy)
		}
	}
}

func TestParseTakesWhatPeopleWrite(t *testing.T) {
	for text, want := range map[string]retry.Backoff{
		"exponential(500ms,90m)":       retry.Exponential(500*time.Millisecond, 90*time.Minute),
		"fixed(0)":                     retry.Fixed(0),
		"fixed(1.5h)":                  retry.Fixed(90 * time.Minute),
		"polynomial.until(24h).max(5)": retry.Polynomial().Max(5).Until(day),
	} {
		if got, err := retry.Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", `unknown policy ""`},
		{"linear(1s)", `unknown policy "linear"`},
		{"Never", `unknown policy "Never"`},
		{" never", `unknown policy " never"`},
		{"never\n", `unknown policy "never\n"`},
		{")", `unknown policy ")"`},
		{"\xff", `unknown policy "\xff"`},
		{"polynomial()", `polynomial: "" is not a duration`},
		{"polynomial(1s)", "polynomial: want no durations, got 1"},
		{"never(1s)", "never: want no durations, got 1"},
		{"fixed", "fixed: want one duration, got 0"},
		{"fixed()", `fixed: "" is not a duration`},
		{"fixed(5)", `fixed: "5" is not a duration`},
		{"fixed(1s,2s)", "fixed: want one duration, got 2"},
		{"fixed(-1s)", "fixed: -1s is not between 0s and 8760h0m0s"},
		{"fixed(9000h)", "fixed: 9000h0m0s is not between 0s and 8760h0m0s"},
		{"fixed(99999999999h)", `fixed: "99999999999h" is not a duration`},
		{"fixed(1s", `missing ) in "fixed(1s"`},
		{"fixed(1s))", `unexpected ")"`},
		{"fixed(1s)max(1)", `unexpected "max(1)"`},
		{"list(1s, 2s)", `list: " 2s" is not a duration`},
		{"list(1s,)", `list: "" is not a duration`},
		{"list(" + strings.Repeat("0,", 100) + "0)", "list: want 1 to 100 durations, got 101"},
		{"exponential", "exponential: want a base and a limit, got 0 durations"},
		{"exponential(1s)", "exponential: want a base and a limit, got 1 durations"},
		{"exponential(0s,1s)", "exponential: base 0s is not positive"},
		{"exponential(2s,1s)", "exponential: base 2s is above limit 1s"},
		{"never.", `unknown limit ""`},
		{"never.min(1)", `unknown limit "min"`},
		{"never.max", "max: want one number"},
		{"never.max(1,2)", "max: want one number"},
		{"never.max(0)", `max: "0" is not a number of attempts`},
		{"never.max(99999999999999999999)", `max: "99999999999999999999" is not a number of attempts`},
		{"never.max(1).max(1)", "max is given twice"},
		{"never.until", "until: want one duration"},
		{"never.until(0s)", `until: "0s" is not a positive duration`},
		{"never.until(1s).until(1s)", "until is given twice"},
		{"never.max(1", `missing ) in "max(1"`},
		{strings.Repeat("x", 4096), `unknown policy "` + strings.Repeat("x", 40) + `"`},
		{strings.Repeat("x", 4097), "4097 bytes, want 4096 at most"},
	}
	for _, test := range tests {
		policy, err := retry.Parse(test.text)
		if !errors.Is(err, retry.ErrSyntax) || policy != (retry.Backoff{}) {
			t.Errorf("Parse(%.40q) = %v, %v, want zero, ErrSyntax", test.text, policy, err)
			continue
		}
		want := "retry: invalid policy: " + test.want + "; known are exponential(base,limit), "
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Parse(%.40q): error %q, want %q…", test.text, err, want)
		}
	}
}

func TestTheLongestBackoffHasAText(t *testing.T) {
	delays := slices.Repeat([]time.Duration{retry.MaxDelay - 1}, 100)
	want := retry.List(delays...).Max(math.MaxInt).Until(math.MaxInt64)
	if got, err := retry.Parse(want.String()); err != nil || got != want {
		t.Errorf("Parse of %d bytes: %v", len(want.String()), err)
	}
}

func TestBackoffTravelsInJSON(t *testing.T) {
	type options struct {
		Retry retry.Backoff `json:"retry"`
	}
	want := options{retry.Exponential(time.Second, time.Hour).Max(5)}
	data, err := json.Marshal(want)
	if err != nil || string(data) != `{"retry":"exponential(1s,1h0m0s).max(5)"}` {
		t.Fatalf("Marshal = %s, %v", data, err)
	}
	var got options
	if err := json.Unmarshal(data, &got); err != nil || got != want {
		t.Errorf("Unmarshal = %v, %v, want %v", got, err, want)
	}
}

func TestUnmarshalTextKeepsTheOldValueOnError(t *testing.T) {
	policy := retry.Fixed(time.Second)
	err := policy.UnmarshalText([]byte("fixed(1s).max(0)"))
	if !errors.Is(err, retry.ErrSyntax) || policy != retry.Fixed(time.Second) {
		t.Errorf("UnmarshalText = %v, policy %v, want ErrSyntax, fixed(1s)", err, policy)
	}
}

// FuzzParse checks that whatever Parse accepts makes the round trip, and that
// whatever it refuses yields an error of bounded length.
func FuzzParse(f *testing.F) {
	for _, policy := range everyBackoff() {
		f.Add(policy.String())
	}
	for _, text := range []string{
		"", "never.", "fixed(1.5s)", "fixed(1µs)", "list(0,0,0)", "exponential(2s,1s)",
		"polynomial.until(1h).max(007)", "fixed((1s))", "fixed(1s).max(1).max(2)", "fixed(\xff)",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		policy, err := retry.Parse(text)
		if err != nil {
			if !errors.Is(err, retry.ErrSyntax) || len(err.Error()) > 1000 {
				t.Errorf("Parse(%q): error %v", text, err)
			}
			return
		}
		if again, err := retry.Parse(policy.String()); err != nil || again != policy {
			t.Errorf("Parse(%q) = %v, and that parsed is %v, %v", text, policy, again, err)
		}
		if delay, _ := policy.Next(retry.Attempt{Number: 2}); delay < 0 || delay > retry.MaxDelay {
			t.Errorf("Parse(%q) waits for %v", text, delay)
		}
	})
}
