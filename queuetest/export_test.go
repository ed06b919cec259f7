package queuetest

import "testing"

// LowerMostAttempts makes Drain give up sooner, until t is over.
func LowerMostAttempts(t testing.TB, n int) {
	before := mostAttempts
	mostAttempts = n
	t.Cleanup(func() { mostAttempts = before })
}
