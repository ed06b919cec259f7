package bench

import "strings"

// Kind is what the jobs of all competitors are called.
const Kind = "bench"

// Arguments are those of each job.
type Arguments struct {
	Number  int    `json:"number"`
	To      string `json:"to"`
	Subject string `json:"subject"`
	Body    string `json:"body"`
}

// firstNumber gives all numbers the same length.
const firstNumber = 1_000_000_000

var body = strings.Repeat("All work and no play makes Jack a dull boy. ", 5)[:108]

// ArgumentsOf returns the arguments of the job with a number, from 0.
func ArgumentsOf(number int) Arguments {
	return Arguments{Number: firstNumber + number, To: "someone@example.org", Subject: "Nothing of importance", Body: body}
}

// Place is the reverse of ArgumentsOf.
func (a *Arguments) Place() int { return a.Number - firstNumber }
