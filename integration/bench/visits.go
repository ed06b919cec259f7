package bench

import (
	"fmt"
	"sync/atomic"
)

// Visits counts how often each job is done: what is compared has to do the
// same, each job once.
type Visits struct{ counts []atomic.Int32 }

// NewVisits returns one for n jobs.
func NewVisits(n int) *Visits { return &Visits{make([]atomic.Int32, n)} }

// Visit is called by each job with its number.
func (v *Visits) Visit(number int) { v.counts[number].Add(1) }

// Err returns an error when a job was not done once.
func (v *Visits) Err() error {
	for number := range v.counts {
		if n := v.counts[number].Load(); n != 1 {
			return fmt.Errorf("job %d was done %d times", number, n)
		}
	}
	return nil
}
