package bench_test

import (
	"math"
	"slices"
	"testing"
	"time"
)

// runner is a competitor in a race.
type runner struct {
	name string
	turn func() (jobsPerSecond float64)
}

// race lets the runners take turns, many for each iteration of the benchmark.
// Whatever else the machine does then slows down all of them. It reports the
// median rate of each, and the median, over the turns, of the ratios of the
// first runner's rate to that of each other.
func race(b *testing.B, turns int, runners ...runner) {
	b.Helper()
	rates := make([][]float64, len(runners))
	first := 0 // of this turn
	for b.Loop() {
		for range turns {
			for i := range runners {
				place := (first + i) % len(runners)
				rates[place] = append(rates[place], runners[place].turn())
			}
			first++
		}
	}
	b.ReportMetric(0, "ns/op") // of no meaning here
	for i, r := range runners {
		b.ReportMetric(percentile(rates[i], 50), r.name+"-jobs/s")
		if i == 0 {
			continue
		}
		ratios := make([]float64, len(rates[i]))
		for turn := range ratios {
			ratios[turn] = rates[0][turn] / rates[i][turn]
		}
		b.ReportMetric(percentile(ratios, 50), runners[0].name+"/"+r.name)
	}
}

// once runs a measurement that is the same each time, however many iterations
// the benchmark is to have.
func once(b *testing.B, measure func()) {
	b.Helper()
	for done := false; b.Loop(); done = true {
		if !done {
			measure()
		}
	}
	b.ReportMetric(0, "ns/op")
}

// percentile returns the least of the values that p percent of all do not
// exceed.
func percentile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return math.NaN()
	}
	place := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[max(place, 0)]
}

// perSecond returns the rate of n jobs in a time.
func perSecond(n int, elapsed time.Duration) float64 { return float64(n) / elapsed.Seconds() }

// milliseconds returns a time as a number of them.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func TestPercentile(t *testing.T) {
	for _, c := range []struct {
		values  []float64
		p, want float64
	}{
		{[]float64{7}, 50, 7},
		{[]float64{3, 1, 2}, 50, 2},
		{[]float64{4, 3, 1, 2}, 50, 2},
		{[]float64{4, 3, 1, 2}, 99, 4},
		{[]float64{4, 3, 1, 2}, 0, 1},
	} {
		if got := percentile(c.values, c.p); got != c.want {
			t.Errorf("percentile(%v, %v) = %v, want %v", c.values, c.p, got, c.want)
		}
	}
}
