// Package bench is what the benchmarks of all drivers share: the job, how
// competitors take turns, and how times are taken. Those of a broker are in a
// folder of its name. See README.md.
package bench

import (
	"math"
	"slices"
	"testing"
	"time"
)

// Runner is a competitor in a race.
type Runner struct {
	Name string
	Turn func() (jobsPerSecond float64)
}

// Race lets the runners take turns, many for each iteration of the benchmark.
// Whatever else the machine does then slows down all of them. It reports the
// median rate of each, and the median, over the turns, of the ratios of the
// first runner's rate to that of each other.
func Race(b *testing.B, turns int, runners ...Runner) {
	b.Helper()
	rates := make([][]float64, len(runners))
	first := 0 // of this turn
	for b.Loop() {
		for range turns {
			for i := range runners {
				place := (first + i) % len(runners)
				rates[place] = append(rates[place], runners[place].Turn())
			}
			first++
		}
	}
	b.ReportMetric(0, "ns/op") // of no meaning here
	for i, r := range runners {
		b.ReportMetric(Percentile(rates[i], 50), r.Name+"-jobs/s")
		if i == 0 {
			continue
		}
		ratios := make([]float64, len(rates[i]))
		for turn := range ratios {
			ratios[turn] = rates[0][turn] / rates[i][turn]
		}
		b.ReportMetric(Percentile(ratios, 50), runners[0].Name+"/"+r.Name)
	}
}

// Once runs a measurement that is the same each time, however many iterations
// the benchmark is to have.
func Once(b *testing.B, measure func()) {
	b.Helper()
	for done := false; b.Loop(); done = true {
		if !done {
			measure()
		}
	}
	b.ReportMetric(0, "ns/op")
}

// Percentile returns the least of the values that p percent of all do not
// exceed.
func Percentile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return math.NaN()
	}
	place := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[max(place, 0)]
}

// PerSecond returns the rate of n jobs in a time.
func PerSecond(n int, elapsed time.Duration) float64 { return float64(n) / elapsed.Seconds() }

// Milliseconds returns a time as a number of them.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
