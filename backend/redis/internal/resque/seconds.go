package resque

import (
	"errors"
	"strconv"
	"time"

	"github.com/goferhq/queue/backend/internal/rawjson"
)

// Times in seconds since 1970, as PHP's microtime and time have them. They are
// read from the decimal digits, not by way of a float64, which near the
// present has steps of 238 nanoseconds.

const nanosecondDigits = 9

// writeQueueTime writes t with all digits of its nanoseconds.
func writeQueueTime(e *rawjson.Encoder, t time.Time) {
	seconds, nanoseconds := t.Unix(), int64(t.Nanosecond())
	if !hasYear(t.UTC()) {
		e.Fail(fieldQueueTime, errYear)
		return
	}
	var array [len("-62167219200.000000000")]byte
	buf := array[:0]
	if seconds < 0 && nanoseconds > 0 { // Unix rounds down, but what is cut off the digits rounds to zero
		seconds, nanoseconds = seconds+1, 1e9-nanoseconds
		if seconds == 0 {
			buf = append(buf, '-')
		}
	}
	buf = strconv.AppendInt(buf, seconds, 10)
	point := len(buf)
	buf = strconv.AppendInt(buf, 1e9+nanoseconds, 10) // a one, to be the point, and all nine digits
	buf[point] = '.'
	e.Verbatim(fieldQueueTime, buf)
}

var (
	errNotSeconds = errors.New("not a number of seconds")
	errYear       = errors.New("not a time between the years 0 and 9999")
)

// parseSeconds returns the time, in UTC, of a JSON number: 1795225601,
// 1795225601.082353 or 1.795225601082353e9. Digits behind the ninth of the
// fraction are cut off.
func parseSeconds(value []byte) (time.Time, error) {
	n, ok := splitDecimal(value)
	if !ok {
		return time.Time{}, errNotSeconds
	}
	if n.point > len("253402300799") {
		return time.Time{}, errYear
	}
	var seconds, nanoseconds int64
	for i := 0; i < n.point; i++ {
		seconds = seconds*10 + n.digit(i)
	}
	for i := n.point; i < n.point+nanosecondDigits; i++ {
		nanoseconds = nanoseconds*10 + n.digit(i)
	}
	if n.negative {
		seconds, nanoseconds = -seconds, -nanoseconds
	}
	t := time.Unix(seconds, nanoseconds).UTC()
	if !hasYear(t) {
		return time.Time{}, errYear
	}
	return t, nil
}

// decimal is a number as its digits, of which the first point ones stand in
// front of the point. The digits are those of whole and then of fraction;
// there are zeros on either side of them.
type decimal struct {
	negative        bool
	whole, fraction []byte
	point           int
}

// digit returns a digit of n; 0 is the index of the first one.
func (n decimal) digit(i int) int64 {
	if i >= len(n.whole) {
		i -= len(n.whole)
		n.whole = n.fraction
	}
	if i < 0 || i >= len(n.whole) {
		return 0
	}
	return int64(n.whole[i] - '0')
}

// splitDecimal returns the parts of a JSON value that has to be a number.
func splitDecimal(value []byte) (n decimal, ok bool) {
	if value[0] == '-' {
		n.negative, value = true, value[1:]
	}
	if value[0] < '0' || value[0] > '9' {
		return n, false
	}
	n.whole, value = cutDigits(value)
	if len(value) > 0 && value[0] == '.' {
		n.fraction, value = cutDigits(value[1:])
	}
	n.point = len(n.whole)
	if len(value) > 0 { // behind the e
		n.point += exponent(value[1:])
	}
	n.trim()
	return n, true
}

// trim takes zeros off the front, so that the point tells how large n is.
func (n *decimal) trim() {
	for len(n.whole) > 0 && n.whole[0] == '0' {
		n.whole, n.point = n.whole[1:], n.point-1
	}
	for len(n.whole) == 0 && len(n.fraction) > 0 && n.fraction[0] == '0' {
		n.fraction, n.point = n.fraction[1:], n.point-1
	}
	if len(n.whole)+len(n.fraction) == 0 {
		n.point = 0
	}
}

func cutDigits(value []byte) (digits, rest []byte) {
	i := 0
	for i < len(value) && '0' <= value[i] && value[i] <= '9' {
		i++
	}
	return value[:i], value[i:]
}

// exponent returns the number behind an e. What is far outside of the range of
// float64 may be any number that is.
func exponent(value []byte) int {
	n, negative := 0, value[0] == '-'
	if negative || value[0] == '+' {
		value = value[1:]
	}
	for _, c := range value {
		if n = n*10 + int(c-'0'); n > 1<<26 {
			break
		}
	}
	if negative {
		return -n
	}
	return n
}
