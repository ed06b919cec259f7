package bench_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// kind is what the jobs of all competitors are called.
const kind = "bench"

// arguments are those of each job.
type arguments struct {
	Number  int    `json:"number"`
	To      string `json:"to"`
	Subject string `json:"subject"`
	Body    string `json:"body"`
}

// firstNumber gives all numbers the same length.
const firstNumber = 1_000_000_000

// argumentsSize is the length of their JSON.
const argumentsSize = 200

var body = strings.Repeat("All work and no play makes Jack a dull boy. ", 5)[:108]

// argumentsOf returns the arguments of the job with a number, from 0.
func argumentsOf(number int) arguments {
	return arguments{Number: firstNumber + number, To: "someone@example.org", Subject: "Nothing of importance", Body: body}
}

// place is the reverse of argumentsOf.
func (a *arguments) place() int { return a.Number - firstNumber }

func TestArgumentsHaveTheirSize(t *testing.T) {
	for _, number := range []int{0, 1_000_000} {
		text, err := json.Marshal(argumentsOf(number))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) != argumentsSize {
			t.Errorf("%s has %d bytes, want %d", text, len(text), argumentsSize)
		}
	}
}
