package queuetest

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// writeTable writes rows, the first of which is the head, below each other.
func writeTable(w io.Writer, rows [][]string) {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, "  "+strings.Join(row, "\t"))
	}
	table.Flush()
	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

// widest bounds a cell, in bytes.
const widest = 120

// cell returns text as it can stand in a table: on one line, not too wide.
func cell(text string) string {
	for _, r := range text {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			text = strconv.Quote(text)
			break
		}
	}
	if len(text) > widest {
		text = strings.ToValidUTF8(text[:widest], "") + "…"
	}
	return text
}

// rounded returns d without the digits that nobody reads.
func rounded(d time.Duration) string {
	if d >= time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}
