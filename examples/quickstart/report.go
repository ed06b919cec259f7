package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// print writes the table of what was done.
func (t *tally) print(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(w, "\n%-20s%10s%14s%11s\n", "", "FILES", "LINES", "SIZE")
	var all outcome
	for _, name := range []string{done, retried, buried, skipped} {
		o := t.outcomes[name]
		if name == buried || name == skipped {
			fmt.Fprintf(w, "%-20s%10s\n", name, count(int(o.files)))
			continue
		}
		fmt.Fprintf(w, "%-20s%10s%14s%11s\n", name, count(int(o.files)), count(int(o.lines)), inBytes(o.size))
		all.lines, all.size = all.lines+o.lines, all.size+o.size
	}
	fmt.Fprintf(w, "%-20s%10s%14s%11s\n", "total", count(t.settled()), count(int(all.lines)), inBytes(all.size))

	t.printTrouble(w)
	if len(t.largest) > 0 {
		fmt.Fprintf(w, "\n%11s%14s  %-18s%s\n", "SIZE", "LINES", "SHA-256", "LARGEST FILES")
		for _, f := range t.largest {
			fmt.Fprintf(w, "%11s%14s  %-18s%s\n", inBytes(f.sum.size), count(int(f.sum.lines)),
				fmt.Sprintf("%x…", f.sum.sha256[:7]), printable(t.relative(f.path)))
		}
	}
	if t.foreign > 0 {
		fmt.Fprintf(w, "\nAn earlier run had left %s jobs, which are finished too.\n", count(t.foreign))
	}
	elapsed := cmp.Or(t.end, time.Now()).Sub(t.start)
	fmt.Fprintf(w, "\n%s jobs, %s attempts, in %v", count(t.settled()), count(t.attempts), elapsed.Round(time.Millisecond))
	if rate := float64(t.settled()) / elapsed.Seconds(); elapsed > 0 && rate >= 10 {
		fmt.Fprintf(w, ": %s jobs/s", count(int(rate)))
	} else if elapsed > 0 {
		fmt.Fprintf(w, ": %.1f jobs/s", rate)
	}
	fmt.Fprintln(w, ".")
}

// mostTrouble bounds the rows about files that were not read at once.
const mostTrouble = 20

func (t *tally) printTrouble(w io.Writer) {
	if len(t.trouble) == 0 {
		return
	}
	slices.SortFunc(t.trouble, func(x, y trouble) int {
		return cmp.Or(cmp.Compare(x.outcome, y.outcome), cmp.Compare(x.path, y.path))
	})
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "OUTCOME\tATTEMPTS\tREASON\tFILE")
	for _, x := range t.trouble[:min(len(t.trouble), mostTrouble)] {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", x.outcome, x.attempts, printable(x.reason), printable(t.relative(x.path)))
	}
	table.Flush()
	if more := len(t.trouble) - mostTrouble; more > 0 {
		fmt.Fprintf(w, "and %s more\n", count(more))
	}
}

// printable returns text as it can be shown: the name of a file may hold
// anything, also what a terminal takes for a command.
func printable(text string) string {
	for _, r := range text {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			return strconv.Quote(text)
		}
	}
	return text
}

// count returns n with its thousands apart: 12,345.
func count(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// inBytes returns n in the largest unit that fits: 1.2 MB.
func inBytes(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	size, i := float64(n), 0
	for size >= 999.5 && i < len(units)-1 {
		size, i = size/1000, i+1
	}
	if i == 0 || size >= 99.95 {
		return fmt.Sprintf("%.0f %s", size, units[i])
	}
	return fmt.Sprintf("%.1f %s", size, units[i])
}
