package bench

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Producer is a competitor that enqueues jobs.
type Producer struct {
	Name    string
	Enqueue func(number int) error
}

// Stopwatch takes the times of jobs.
type Stopwatch struct {
	b       *testing.B
	began   []time.Time // of the handler, by the number of the job
	handled chan int
	total   map[string][]float64 // by the name of the producer, in milliseconds
	after   map[string][]float64 // negative where the job began before the call returned
}

// NewStopwatch returns one for runs of a number of jobs.
func NewStopwatch(b *testing.B, jobs int) *Stopwatch {
	return &Stopwatch{b, make([]time.Time, jobs), make(chan int, jobs), make(map[string][]float64), make(map[string][]float64)}
}

// Handle is called by each job.
func (w *Stopwatch) Handle(number int) {
	w.began[number] = time.Now()
	w.handled <- number
}

// Run has the producers enqueue in turn, with a mean pause between jobs. Each
// is up to half of that early or late, so that no timer keeps step with them.
func (w *Stopwatch) Run(producers []Producer, pause time.Duration) {
	w.b.Helper()
	jobs := len(w.began)
	called, returned := make([]time.Time, jobs), make([]time.Time, jobs)
	for number := range jobs {
		time.Sleep(pause/2 + rand.N(pause))
		called[number] = time.Now()
		err := producers[number%len(producers)].Enqueue(number)
		returned[number] = time.Now()
		if err != nil {
			w.b.Fatal(err)
		}
	}
	late := time.After(Patience)
	for range jobs {
		select {
		case number := <-w.handled:
			name := producers[number%len(producers)].Name
			w.total[name] = append(w.total[name], Milliseconds(w.began[number].Sub(called[number])))
			w.after[name] = append(w.after[name], Milliseconds(w.began[number].Sub(returned[number])))
		case <-late:
			w.b.Fatalf("not all of %d jobs were done after %v", jobs, Patience)
		}
	}
}

// Report reports the percentiles of the producers' jobs: of "after" from the
// return of the call that enqueued, of "total" from before it, until the first
// line of the handler.
func (w *Stopwatch) Report(producers []Producer) {
	for _, p := range producers {
		w.b.ReportMetric(Percentile(w.total[p.Name], 50), p.Name+"-total-p50-ms")
		w.b.ReportMetric(Percentile(w.total[p.Name], 99), p.Name+"-total-p99-ms")
		w.b.ReportMetric(Percentile(w.after[p.Name], 50), p.Name+"-after-p50-ms")
		w.b.ReportMetric(Percentile(w.after[p.Name], 99), p.Name+"-after-p99-ms")
	}
}
