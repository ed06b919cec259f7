package retry

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrSyntax is what the errors of [Parse] and [Backoff.UnmarshalText] wrap.
var ErrSyntax = errors.New("retry: invalid policy")

// maxTextLength bounds the bytes that Parse looks at, since they may come from
// a stranger. The longest text of a Backoff, a list of 100 odd durations with
// both limits, has some 2,300.
const maxTextLength = 4096

// known ends every error of Parse.
const known = "known are exponential(base,limit), polynomial, fixed(delay), list(delay,...) and never," +
	" then .max(attempts) and .until(duration) if wanted"

var formNames = [...]string{
	polynomial:  "polynomial",
	exponential: "exponential",
	fixed:       "fixed",
	list:        "list",
	never:       "never",
}

// String returns the text of b, such as "exponential(1s,1h0m0s).max(5)".
// [Parse] describes it.
func (b Backoff) String() string {
	text := []byte(formNames[b.form])
	separator := byte('(')
	for i := range b.delays.len() {
		text = append(text, separator)
		text = append(text, b.delays.at(i).String()...)
		separator = ','
	}
	if separator == ',' {
		text = append(text, ')')
	}
	if b.limits.max != 0 {
		text = fmt.Appendf(text, ".max(%d)", b.limits.max)
	}
	if b.limits.until != 0 {
		text = fmt.Appendf(text, ".until(%v)", b.limits.until)
	}
	return string(text)
}

// MarshalText implements [encoding.TextMarshaler]: it returns the bytes of
// [Backoff.String] and no error.
func (b Backoff) MarshalText() ([]byte, error) {
	return []byte(b.String()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler] by [Parse]. It leaves b
// as it was if it returns an error. Unlike all else here it writes to b, so it
// must not run while another goroutine uses that variable.
func (b *Backoff) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*b = parsed
	return nil
}

// Parse returns the Backoff that text describes. The text is one of
//
//	exponential(base,limit)
//	polynomial
//	fixed(delay)
//	list(delay,delay,...)
//	never
//
// and means what the function of that name makes. It may be followed by
//
//	.max(attempts)
//	.until(duration)
//
// in any order, each once at most, with the meaning of the methods. Durations
// are as [time.ParseDuration] reads them: 1h30m, 250ms. There are no spaces
// and no upper case letters, and no more than 4096 bytes.
//
// For every Backoff b, Parse(b.String()) returns a value equal to b.
//
// Text may come from a stranger: Parse never panics, and what it does not
// accept yields an error that says why, says what is known, and wraps
// [ErrSyntax]. It refuses whatever the functions and methods would panic at.
func Parse(text string) (Backoff, error) {
	b, err := parse(text)
	if err != nil {
		return Backoff{}, fmt.Errorf("%w: %v; %s", ErrSyntax, err, known)
	}
	return b, nil
}

func parse(text string) (Backoff, error) {
	if len(text) > maxTextLength {
		return Backoff{}, fmt.Errorf("%d bytes, want %d at most", len(text), maxTextLength)
	}
	first, rest, err := cutCall(text)
	if err != nil {
		return Backoff{}, err
	}
	b, err := first.backoff()
	for err == nil && rest != "" {
		after, ok := strings.CutPrefix(rest, ".")
		if !ok {
			return Backoff{}, fmt.Errorf("unexpected %.40q", rest)
		}
		var limit call
		if limit, rest, err = cutCall(after); err == nil {
			b, err = limit.apply(b)
		}
	}
	return b, err
}

// A call is a name with its arguments: nil for name, else those of
// name(argument,argument).
type call struct {
	name      string
	arguments []string
}

// cutCall returns the call that text starts with, and what follows it.
// Errors quote no more than 40 characters of a text, which may be hostile.
func cutCall(text string) (c call, rest string, err error) {
	end := strings.IndexAny(text, "(.")
	if end < 0 {
		return call{name: text}, "", nil
	}
	if text[end] == '.' {
		return call{name: text[:end]}, text[end:], nil
	}
	arguments, rest, closed := strings.Cut(text[end+1:], ")")
	if !closed {
		return call{}, "", fmt.Errorf("missing ) in %.40q", text)
	}
	return call{text[:end], strings.Split(arguments, ",")}, rest, nil
}

// backoff returns the Backoff that c stands for at the start of a text.
func (c call) backoff() (Backoff, error) {
	i := slices.Index(formNames[:], c.name)
	if i < 0 {
		return Backoff{}, fmt.Errorf("unknown policy %.40q", c.name)
	}
	var delays []time.Duration
	for _, argument := range c.arguments {
		delay, err := time.ParseDuration(argument)
		if err != nil {
			return Backoff{}, fmt.Errorf("%s: %.40q is not a duration", c.name, argument)
		}
		delays = append(delays, delay)
	}
	b, err := build(form(i), delays)
	if err != nil {
		return Backoff{}, fmt.Errorf("%s: %w", c.name, err)
	}
	return b, nil
}

// apply returns b with the limit that c stands for after a policy.
func (c call) apply(b Backoff) (Backoff, error) {
	switch c.name {
	case "max":
		if b.limits.max != 0 {
			return Backoff{}, errors.New("max is given twice")
		}
		if len(c.arguments) != 1 {
			return Backoff{}, errors.New("max: want one number")
		}
		n, err := strconv.Atoi(c.arguments[0])
		if err != nil || n < 1 {
			return Backoff{}, fmt.Errorf("max: %.40q is not a number of attempts", c.arguments[0])
		}
		return b.Max(n), nil
	case "until":
		if b.limits.until != 0 {
			return Backoff{}, errors.New("until is given twice")
		}
		if len(c.arguments) != 1 {
			return Backoff{}, errors.New("until: want one duration")
		}
		d, err := time.ParseDuration(c.arguments[0])
		if err != nil || d <= 0 {
			return Backoff{}, fmt.Errorf("until: %.40q is not a positive duration", c.arguments[0])
		}
		return b.Until(d), nil
	default:
		return Backoff{}, fmt.Errorf("unknown limit %.40q", c.name)
	}
}
