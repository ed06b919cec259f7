package rawjson

import (
	"fmt"
	"strconv"
)

// MaxCount bounds attempts on the wire, so that adding to one never overflows.
const MaxCount = 1 << 30

// Count returns the number of a JSON value that has to be an integer between
// 0 and MaxCount.
func Count(value []byte) (int, error) {
	n, err := Integer(value)
	if err != nil || n < 0 || n > MaxCount {
		return 0, fmt.Errorf("not an integer between 0 and %d", MaxCount)
	}
	return n, nil
}

// Integer returns the number of a JSON value that has to be an int, written
// without a fraction or an exponent.
func Integer(value []byte) (int, error) {
	if len(value) <= len("-9223372036854775808") { // longer ones need no copy to be refused
		if n, err := strconv.Atoi(string(value)); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("not an integer of %d bits", strconv.IntSize)
}
