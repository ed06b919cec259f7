package retry

import (
	"fmt"
	"time"
)

// Max returns b limited to n attempts in all, the first included: the failure
// of attempt n is not retried, and Max(1) never retries. Of several limits the
// strictest holds.
//
// A job has a maximum number of attempts of its own, too. Whichever of the two
// is reached first ends the retries.
//
// Max panics if n < 1.
func (b Backoff) Max(n int) Backoff {
	b.limits = b.limits.withMax(n)
	return b
}

// Until returns b limited to retries that start at most d after the job was
// enqueued: if the delay would end later than that, there is no retry, not an
// earlier one. Of several limits the strictest holds.
//
// It is the start that counts, as planned: a retry may start late on a busy
// queue, and it may run for long.
//
// Until panics if d ≤ 0.
func (b Backoff) Until(d time.Duration) Backoff {
	b.limits = b.limits.withUntil(d)
	return b
}

// Max returns p limited to n attempts in all, for any Policy, as
// [Backoff.Max] does for a Backoff.
//
// Max panics if n < 1 or if p is nil.
func Max(p Policy, n int) Policy {
	mustHave("Max", "policy", p)
	return limited{p, limits{}.withMax(n)}
}

// Until returns p limited to retries that start at most d after the job was
// enqueued, for any Policy, as [Backoff.Until] does for a Backoff.
//
// Until panics if d ≤ 0 or if p is nil.
func Until(p Policy, d time.Duration) Policy {
	mustHave("Until", "policy", p)
	return limited{p, limits{}.withUntil(d)}
}

type limited struct {
	policy Policy
	limits limits
}

func (l limited) Next(a Attempt) (delay time.Duration, ok bool) {
	delay, ok = l.policy.Next(a)
	if !ok || !l.limits.allow(a, delay) {
		return 0, false
	}
	return delay, true
}

// limits end retries early. Zero means no limit.
type limits struct {
	max   int           // attempts in all
	until time.Duration // latest start of a retry, since the job was enqueued
}

func (l limits) withMax(n int) limits {
	if n < 1 {
		panic(fmt.Sprintf("retry: Max: %d attempts is less than 1", n))
	}
	if l.max == 0 || n < l.max {
		l.max = n
	}
	return l
}

func (l limits) withUntil(d time.Duration) limits {
	if d <= 0 {
		panic(fmt.Sprintf("retry: Until: %v is not positive", d))
	}
	if l.until == 0 || d < l.until {
		l.until = d
	}
	return l
}

func (l limits) allow(a Attempt, delay time.Duration) bool {
	if l.max != 0 && max(a.Number, 1) >= l.max {
		return false
	}
	// Elapsed + delay > until, put so that it cannot overflow: neither until
	// nor elapsed is negative here.
	elapsed := max(a.Elapsed, 0)
	return l.until == 0 || delay <= l.until-elapsed
}
