package retry

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// MaxDelay is the longest delay that a Backoff returns, one year. Constructors
// refuse a longer one, and delays that grow stop growing there: a job that
// waits for longer is as good as lost.
const MaxDelay = 365 * 24 * time.Hour

// maxListLength bounds a List, so that its text always fits in maxTextLength.
const maxListLength = 100

// A Backoff is a [Policy] that looks at the number and the age of the attempt,
// not at its error. It is made by [Exponential], [Polynomial], [Fixed],
// [List], [Never] or [Parse], and narrowed by [Backoff.Max] and
// [Backoff.Until].
//
// The zero value is [Polynomial], the default policy.
//
// A Backoff is a value that never changes: copy it freely and use it from many
// goroutines. Two of them are equal by == exactly if their texts are equal.
type Backoff struct {
	form   form
	delays delays // exponential: base and limit; fixed: the delay; list: the delays
	limits limits
}

// A form is the rule by which a Backoff finds its next delay.
type form uint8

const (
	polynomial form = iota // first, so that the zero Backoff is the default
	exponential
	fixed
	list
	never
)

// Exponential doubles the longest possible delay after each attempt and waits
// for a random part of it ("full jitter"): after attempt n, uniformly between
// 0 and min(limit, base × 2ⁿ⁻¹), both included. So the first retry comes
// within base, and the average delay is half of the longest.
//
// The randomness is what keeps a thousand jobs that failed together from
// coming back together. See Marc Brooker, "Exponential Backoff And Jitter",
// AWS Architecture Blog, 2015,
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
//
// Exponential panics unless 0 < base ≤ limit ≤ [MaxDelay].
func Exponential(base, limit time.Duration) Backoff {
	return mustBuild("Exponential", exponential, base, limit)
}

// Polynomial is Sidekiq's policy: with count retries so far (0 after the first
// attempt) it waits for count⁴ + 15 seconds, plus a random part of
// 10 × (count + 1) seconds. The retries come fast enough to ride out a
// restart, and spread far enough apart for a person to ship a fix.
//
//	after attempt  1    15s to 25s
//	after attempt  2    16s to 36s
//	after attempt  5    4m31s to 5m21s
//	after attempt 10    1h49m36s to 1h51m16s
//	after attempt 24    77h44m16s to 77h48m16s
//
// A job of 25 attempts is given up about 16.6 days after its first one, the
// time spent in its handler aside. (Sidekiq's default of 25 retries is 26
// attempts: 20.4 days.) From attempt 76 on the delay is [MaxDelay].
//
// The formula is that of delay_for and process_retry in Sidekiq 8,
// lib/sidekiq/job_retry.rb. Sidekiq's jitter is whole seconds, this one is
// not.
func Polynomial() Backoff {
	return Backoff{form: polynomial}
}

// Fixed waits for the same delay after each attempt. Zero is allowed: retry at
// once.
//
// Fixed panics unless 0 ≤ delay ≤ [MaxDelay].
func Fixed(delay time.Duration) Backoff {
	return mustBuild("Fixed", fixed, delay)
}

// List waits for delays[n-1] after attempt n. After the last of them the
// retries end, so that a list of k delays means k+1 attempts at most. A delay
// may be zero: retry at once.
//
// List panics unless there are 1 to 100 delays, each 0 ≤ delay ≤ [MaxDelay].
// It refuses an empty list, lest a missing setting end all retries; say
// [Never] if that is meant.
func List(delays ...time.Duration) Backoff {
	return mustBuild("List", list, delays...)
}

// Never does not retry.
func Never() Backoff {
	return Backoff{form: never}
}

// Next implements [Policy]. The delay is between 0 and [MaxDelay], and 0 if ok
// is false. It does not look at a.Err.
func (b Backoff) Next(a Attempt) (delay time.Duration, ok bool) {
	delay, ok = b.delayAfter(max(a.Number, 1))
	if !ok || !b.limits.allow(a, delay) {
		return 0, false
	}
	return delay, true
}

// delayAfter returns the delay after attempt number, at least 1, regardless of
// limits.
func (b Backoff) delayAfter(number int) (delay time.Duration, ok bool) {
	switch b.form {
	case exponential:
		return exponentialDelay(b.delays.at(0), b.delays.at(1), number), true
	case fixed:
		return b.delays.at(0), true
	case list:
		if number > b.delays.len() {
			return 0, false
		}
		return b.delays.at(number - 1), true
	case never:
		return 0, false
	default:
		return polynomialDelay(number), true
	}
}

func exponentialDelay(base, limit time.Duration, number int) time.Duration {
	longest := limit
	// Shifting limit down instead of base up cannot overflow, and gives 0,
	// which is less than any base, once the shift exceeds the word.
	if doublings := number - 1; base <= limit>>doublings {
		longest = base << doublings
	}
	return rand.N(longest + 1)
}

func polynomialDelay(number int) time.Duration {
	// 75⁴ seconds is the first fourth power above MaxDelay.
	count := time.Duration(min(number-1, 75))
	delay := (count*count*count*count + 15) * time.Second
	jitter := rand.N(10 * (count + 1) * time.Second)
	return min(delay+jitter, MaxDelay)
}

// build returns the Backoff of form f with delays, or says what is wrong with
// them.
func build(f form, delays []time.Duration) (Backoff, error) {
	for _, delay := range delays {
		if delay < 0 || delay > MaxDelay {
			return Backoff{}, fmt.Errorf("%v is not between 0s and %v", delay, MaxDelay)
		}
	}
	switch f {
	case polynomial, never:
		if len(delays) != 0 {
			return Backoff{}, fmt.Errorf("want no durations, got %d", len(delays))
		}
	case exponential:
		if len(delays) != 2 {
			return Backoff{}, fmt.Errorf("want a base and a limit, got %d durations", len(delays))
		}
		base, limit := delays[0], delays[1]
		if base == 0 {
			return Backoff{}, errors.New("base 0s is not positive")
		}
		if base > limit {
			return Backoff{}, fmt.Errorf("base %v is above limit %v", base, limit)
		}
	case fixed:
		if len(delays) != 1 {
			return Backoff{}, fmt.Errorf("want one duration, got %d", len(delays))
		}
	case list:
		if len(delays) < 1 || len(delays) > maxListLength {
			return Backoff{}, fmt.Errorf("want 1 to %d durations, got %d", maxListLength, len(delays))
		}
	}
	return Backoff{form: f, delays: pack(delays)}, nil
}

func mustBuild(function string, f form, delays ...time.Duration) Backoff {
	b, err := build(f, delays)
	if err != nil {
		panic("retry: " + function + ": " + err.Error())
	}
	return b
}
