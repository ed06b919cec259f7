package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress tells how far the jobs are: on a terminal in one line that changes,
// elsewhere in a line a second, so that a log of it stays readable.
type progress struct {
	out     io.Writer
	inPlace bool
	every   time.Duration
	last    string
}

func newProgress(out io.Writer) *progress {
	if isTerminal(out) {
		return &progress{out: out, inPlace: true, every: 100 * time.Millisecond}
	}
	return &progress{out: out, every: time.Second}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// clearLine moves to the beginning of the terminal's line and empties it.
const clearLine = "\r\x1b[K"

// tick shows how far t is, and reports whether that has changed.
func (p *progress) tick(t *tally) bool {
	line := t.progress()
	if line == p.last {
		return false
	}
	p.last = line
	if p.inPlace {
		fmt.Fprint(p.out, clearLine, line)
	} else {
		fmt.Fprintln(p.out, line)
	}
	return true
}

// clear removes the line that changes.
func (p *progress) clear() {
	if p.inPlace {
		fmt.Fprint(p.out, clearLine)
	}
}

func (t *tally) progress() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := "files found so far"
	if t.complete {
		found = "files"
	}
	line := fmt.Sprintf("%s of %s %s", count(t.settled()), count(t.total), found)
	if n := len(t.failures); n > 0 {
		line += fmt.Sprintf(", %s to be retried", count(n))
	}
	if n := t.outcomes[buried].files; n > 0 {
		line += fmt.Sprintf(", %s buried", count(int(n)))
	}
	return line
}
