package bench

import (
	"encoding/json"
	"testing"
)

// argumentsSize is the length of the JSON of arguments.
const argumentsSize = 200

func TestArgumentsHaveTheirSize(t *testing.T) {
	for _, number := range []int{0, 1_000_000} {
		text, err := json.Marshal(ArgumentsOf(number))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) != argumentsSize {
			t.Errorf("%s has %d bytes, want %d", text, len(text), argumentsSize)
		}
	}
}
