package retry_test

import (
	"math"
	"testing"
	"time"

	"github.com/goferhq/queue/retry"
)

// eachLimited runs a test on a Backoff limited by its methods and on a Policy
// limited by the functions, which mean the same.
func eachLimited(t *testing.T, n int, d time.Duration, test func(t *testing.T, p retry.Policy)) {
	fixed := retry.Fixed(time.Minute)
	t.Run("methods", func(t *testing.T) { test(t, fixed.Max(n).Until(d)) })
	t.Run("functions", func(t *testing.T) { test(t, retry.Until(retry.Max(fixed, n), d)) })
}

func TestMaxCountsTheFirstAttempt(t *testing.T) {
	eachLimited(t, 3, day, func(t *testing.T, p retry.Policy) {
		for number, want := range map[int]bool{1: true, 2: true, 3: false, 4: false, math.MaxInt: false} {
			if _, ok := p.Next(retry.Attempt{Number: number}); ok != want {
				t.Errorf("after attempt %d: %v, want %v", number, ok, want)
			}
		}
	})
}

func TestMaxOneNeverRetries(t *testing.T) {
	eachLimited(t, 1, day, func(t *testing.T, p retry.Policy) {
		for _, number := range []int{math.MinInt, 0, 1, 2} {
			if delay, ok := p.Next(retry.Attempt{Number: number}); delay != 0 || ok {
				t.Errorf("after attempt %d: %v, %v, want 0s, false", number, delay, ok)
			}
		}
	})
}

func TestUntilStopsRetriesThatWouldStartTooLate(t *testing.T) {
	// The policy waits for a minute, until an hour after the job was enqueued.
	eachLimited(t, 9, time.Hour, func(t *testing.T, p retry.Policy) {
		for elapsed, want := range map[time.Duration]bool{
			math.MinInt64:      true, // clocks differ: as if just enqueued
			0:                  true,
			59 * time.Minute:   true,
			59*time.Minute + 1: false,
			time.Hour:          false,
			math.MaxInt64:      false,
		} {
			if _, ok := p.Next(retry.Attempt{Number: 1, Elapsed: elapsed}); ok != want {
				t.Errorf("after %v: %v, want %v", elapsed, ok, want)
			}
		}
	})
}

func TestTheStrictestLimitHolds(t *testing.T) {
	fixed := retry.Fixed(time.Second)
	if fixed.Max(3).Max(5) != fixed.Max(3) || fixed.Max(5).Max(3) != fixed.Max(3) {
		t.Error("Max(3) and Max(5) is not Max(3)")
	}
	if fixed.Until(1).Until(2) != fixed.Until(1) || fixed.Until(2).Until(1) != fixed.Until(1) {
		t.Error("Until(1ns) and Until(2ns) is not Until(1ns)")
	}
}

func TestLimitsLeaveTheBackoffTheyAreCalledOn(t *testing.T) {
	policy := retry.Fixed(time.Second)
	policy.Max(1).Until(1)
	if policy != retry.Fixed(time.Second) {
		t.Errorf("policy is now %v", policy)
	}
}
