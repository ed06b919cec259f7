package main

import "testing"

func TestNumbersAreReadable(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1234: "1.2 kB", 99_940: "99.9 kB", 123_456: "123 kB",
		999_600: "1.0 MB", 5_000_000_000: "5.0 GB", 1<<63 - 1: "9.2 EB",
	} {
		if got := inBytes(n); got != want {
			t.Errorf("inBytes(%d) is %q, want %q", n, got, want)
		}
	}
}

func TestTheTotalIsThatOfTheRows(t *testing.T) {
	tally := newTally(t.TempDir())
	tally.outcomes[done].files, tally.outcomes[retried].files, tally.outcomes[buried].files = 1, 2, 3
	tally.outcomes[skipped].files = 10 // they have no jobs
	tally.enqueued(7)
	if tally.settled() != 6 || tally.left() != 1 {
		t.Errorf("%d are settled and %d left, want 6 and 1", tally.settled(), tally.left())
	}
}
