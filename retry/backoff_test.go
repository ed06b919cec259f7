package retry_test

import (
	"math"
	"testing"
	"time"

	"github.com/goferhq/queue/retry"
)

const day = 24 * time.Hour

func TestZeroBackoffIsTheDefault(t *testing.T) {
	if (retry.Backoff{}) != retry.Default() || retry.Default() != retry.Polynomial() {
		t.Errorf("zero %v, default %v, want polynomial for both", retry.Backoff{}, retry.Default())
	}
}

func TestExponentialNeverExceedsItsLimit(t *testing.T) {
	policy := retry.Exponential(time.Second, time.Minute)
	tests := []struct {
		number  int
		longest time.Duration
	}{
		{1, time.Second},
		{2, 2 * time.Second},
		{6, 32 * time.Second},
		{7, time.Minute},
		{63, time.Minute},
		{64, time.Minute},
		{65, time.Minute},
		{math.MaxInt, time.Minute},
	}
	for _, test := range tests {
		for range 1000 {
			delay, ok := policy.Next(retry.Attempt{Number: test.number})
			if !ok || delay < 0 || delay > test.longest {
				t.Fatalf("after attempt %d: %v, %v, want 0s to %v, true", test.number, delay, ok, test.longest)
			}
		}
	}
}

func TestExponentialJitterIsUniform(t *testing.T) {
	// The longest delay after the fifth attempt is 16 seconds.
	policy := retry.Exponential(time.Second, time.Hour)
	assertUniform(t, policy, 5, 0, 16*time.Second)
}

func TestPolynomialJitterIsUniform(t *testing.T) {
	// 2⁴ + 15 seconds, and a part of 10 × 3 seconds.
	assertUniform(t, retry.Polynomial(), 3, 31*time.Second, 61*time.Second)
}

// assertUniform fails the test if the delays after attempt number leave
// [low, high], or do not fall evenly into its tenths. By Hoeffding's
// inequality the chance that one tenth of a fair policy is off by 0.015 in
// 100,000 draws is below 2·exp(-2 · 100000 · 0.015²) = 6e-20.
func assertUniform(t *testing.T, policy retry.Policy, number int, low, high time.Duration) {
	t.Helper()
	const draws, tolerance = 100_000, 0.015
	var tenths [10]int
	for range draws {
		delay, ok := policy.Next(retry.Attempt{Number: number})
		if !ok || delay < low || delay > high {
			t.Fatalf("Next = %v, %v, want %v to %v, true", delay, ok, low, high)
		}
		tenths[10*(delay-low)/(high-low+1)]++
	}
	for i, count := range tenths {
		if share := float64(count) / draws; math.Abs(share-0.1) > tolerance {
			t.Errorf("tenth %d has a share of %.3f, want 0.1", i, share)
		}
	}
}

func TestPolynomialGives25AttemptsAbout16Days(t *testing.T) {
	var total time.Duration
	for number := 1; number < 25; number++ {
		delay, ok := retry.Polynomial().Next(retry.Attempt{Number: number})
		if !ok {
			t.Fatalf("no retry after attempt %d", number)
		}
		total += delay
	}
	// The sum for count = 0 to 23 of count⁴ + 15, and of 10 × (count + 1).
	const shortest, jitter = 1_431_604 * time.Second, 3000 * time.Second
	if total < shortest || total > shortest+jitter {
		t.Errorf("25 attempts take %v, want %v to %v", total, shortest, shortest+jitter)
	}
}

func TestPolynomialSaturatesAtMaxDelay(t *testing.T) {
	if delay, _ := retry.Polynomial().Next(retry.Attempt{Number: 75}); delay >= retry.MaxDelay {
		t.Errorf("after attempt 75: %v, want less than MaxDelay", delay)
	}
	for _, number := range []int{76, 77, 60_000, math.MaxInt} {
		delay, ok := retry.Polynomial().Next(retry.Attempt{Number: number})
		if !ok || delay != retry.MaxDelay {
			t.Errorf("after attempt %d: %v, %v, want %v, true", number, delay, ok, retry.MaxDelay)
		}
	}
}

func TestNextFollowsTheAttemptNumber(t *testing.T) {
	list := retry.List(0, time.Second, time.Hour)
	tests := []struct {
		policy retry.Policy
		number int
		delay  time.Duration
		ok     bool
	}{
		{retry.Fixed(time.Minute), 1, time.Minute, true},
		{retry.Fixed(time.Minute), math.MaxInt, time.Minute, true},
		{retry.Fixed(0), 7, 0, true},
		{retry.Fixed(retry.MaxDelay), 1, retry.MaxDelay, true},
		{list, 1, 0, true},
		{list, 2, time.Second, true},
		{list, 3, time.Hour, true},
		{list, 4, 0, false},
		{list, math.MaxInt, 0, false},
		{retry.Never(), 1, 0, false},
	}
	for _, test := range tests {
		delay, ok := test.policy.Next(retry.Attempt{Number: test.number})
		if delay != test.delay || ok != test.ok {
			t.Errorf("%v after attempt %d: %v, %v, want %v, %v",
				test.policy, test.number, delay, ok, test.delay, test.ok)
		}
	}
}

func TestAttemptsBelowOneCountAsTheFirst(t *testing.T) {
	policy := retry.List(time.Second, time.Minute).Max(2)
	for _, number := range []int{0, -1, math.MinInt} {
		delay, ok := policy.Next(retry.Attempt{Number: number})
		if !ok || delay != time.Second {
			t.Errorf("after attempt %d: %v, %v, want 1s, true", number, delay, ok)
		}
	}
}

func TestListKeepsItsDelaysWhenTheCallerChangesTheirs(t *testing.T) {
	delays := []time.Duration{time.Second}
	policy := retry.List(delays...)
	delays[0] = time.Hour
	if delay, _ := policy.Next(retry.Attempt{Number: 1}); delay != time.Second {
		t.Errorf("delay %v, want 1s", delay)
	}
}

func TestImpossibleArgumentsPanic(t *testing.T) {
	tests := []struct {
		call func()
		want string
	}{
		{func() { retry.Exponential(-time.Second, time.Hour) }, "retry: Exponential: -1s is not between 0s and 8760h0m0s"},
		{func() { retry.Exponential(0, time.Hour) }, "retry: Exponential: base 0s is not positive"},
		{func() { retry.Exponential(0, 0) }, "retry: Exponential: base 0s is not positive"},
		{func() { retry.Exponential(time.Hour, time.Second) }, "retry: Exponential: base 1h0m0s is above limit 1s"},
		{func() { retry.Exponential(1, math.MaxInt64) }, "retry: Exponential: 2562047h47m16.854775807s is not between 0s and 8760h0m0s"},
		{func() { retry.Fixed(-1) }, "retry: Fixed: -1ns is not between 0s and 8760h0m0s"},
		{func() { retry.Fixed(366 * day) }, "retry: Fixed: 8784h0m0s is not between 0s and 8760h0m0s"},
		{func() { retry.List() }, "retry: List: want 1 to 100 durations, got 0"},
		{func() { retry.List(make([]time.Duration, 101)...) }, "retry: List: want 1 to 100 durations, got 101"},
		{func() { retry.List(0, -time.Hour) }, "retry: List: -1h0m0s is not between 0s and 8760h0m0s"},
		{func() { retry.Default().Max(0) }, "retry: Max: 0 attempts is less than 1"},
		{func() { retry.Max(retry.Never(), -1) }, "retry: Max: -1 attempts is less than 1"},
		{func() { retry.Max(nil, 1) }, "retry: Max: policy is nil"},
		{func() { retry.Default().Until(0) }, "retry: Until: 0s is not positive"},
		{func() { retry.Until(retry.Never(), -1) }, "retry: Until: -1ns is not positive"},
		{func() { retry.Until(nil, 1) }, "retry: Until: policy is nil"},
		{func() { retry.If(nil, retry.Never(), retry.Never()) }, "retry: If: match is nil"},
		{func() { retry.If(retry.Is(), nil, retry.Never()) }, "retry: If: then is nil"},
		{func() { retry.If(retry.Is(), retry.Never(), nil) }, "retry: If: otherwise is nil"},
	}
	for _, test := range tests {
		func() {
			defer func() {
				if got := recover(); got != test.want {
					t.Errorf("panic %v, want %v", got, test.want)
				}
			}()
			test.call()
		}()
	}
}

func TestNextDoesNotAllocate(t *testing.T) {
	for _, policy := range everyBackoff() {
		allocations := testing.AllocsPerRun(100, func() {
			policy.Next(retry.Attempt{Number: 2, Elapsed: time.Second})
		})
		if allocations != 0 {
			t.Errorf("%v: %v allocations, want 0", policy, allocations)
		}
	}
}

// everyBackoff returns one Backoff of each form and each limit.
func everyBackoff() []retry.Backoff {
	return []retry.Backoff{
		retry.Exponential(time.Second, time.Hour),
		retry.Polynomial(),
		retry.Fixed(5 * time.Second),
		retry.List(0, 5*time.Second, time.Minute),
		retry.Never(),
		retry.Fixed(time.Second).Max(5),
		retry.Fixed(time.Second).Until(day),
		retry.Exponential(time.Second, time.Hour).Max(5).Until(day),
	}
}

// FuzzBackoffNeverOverflows asks Backoffs of extreme durations about extreme
// attempts.
func FuzzBackoffNeverOverflows(f *testing.F) {
	f.Add(int64(1), int64(1), 1, int64(0), 1, int64(1))
	f.Add(int64(time.Second), int64(time.Hour), 64, int64(day), 25, int64(10*day))
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), math.MaxInt, int64(math.MaxInt64), math.MaxInt, int64(math.MaxInt64))
	f.Add(int64(math.MinInt64), int64(math.MinInt64), math.MinInt, int64(math.MinInt64), math.MinInt, int64(math.MinInt64))
	f.Add(int64(retry.MaxDelay), int64(retry.MaxDelay), 63, int64(-1), 64, int64(retry.MaxDelay))
	f.Fuzz(func(t *testing.T, first, second int64, number int, elapsed int64, maximum int, until int64) {
		limit := clamp(time.Duration(second), 1, retry.MaxDelay)
		base := clamp(time.Duration(first), 1, limit)
		longest := map[retry.Backoff]time.Duration{
			retry.Exponential(base, limit): limit,
			retry.Polynomial():             retry.MaxDelay,
			retry.Fixed(base):              base,
			retry.List(base, limit):        limit,
			retry.Never():                  0,
		}
		attempt := retry.Attempt{Number: number, Elapsed: time.Duration(elapsed)}
		latest := clamp(time.Duration(until), 1, math.MaxInt64)
		for policy, longest := range longest {
			delay, ok := policy.Next(attempt)
			if delay < 0 || delay > longest || !ok && delay != 0 {
				t.Errorf("%v.Next(%+v) = %v, %v, want 0s to %v", policy, attempt, delay, ok, longest)
			}
			policy = policy.Max(max(maximum, 1)).Until(latest)
			delay, ok = policy.Next(attempt)
			if delay < 0 || delay > longest || !ok && delay != 0 {
				t.Errorf("%v.Next(%+v) = %v, %v, want 0s to %v", policy, attempt, delay, ok, longest)
			}
			if !ok {
				continue
			}
			if number >= max(maximum, 1) && number > 1 {
				t.Errorf("%v.Next(%+v) retries beyond its maximum", policy, attempt)
			}
			// In unsigned arithmetic the sum of two durations does not overflow.
			if start := uint64(max(elapsed, 0)) + uint64(delay); start > uint64(latest) {
				t.Errorf("%v.Next(%+v) retries at %dns, too late", policy, attempt, start)
			}
		}
	})
}

func clamp(d, low, high time.Duration) time.Duration {
	return min(max(d, low), high)
}

func BenchmarkNext(b *testing.B) {
	for _, policy := range everyBackoff() {
		b.Run(policy.String(), func(b *testing.B) {
			b.ReportAllocs()
			attempt := retry.Attempt{Number: 3, Elapsed: time.Minute}
			for b.Loop() {
				policy.Next(attempt)
			}
		})
	}
}
