package losses_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/goferhq/queue/backend/internal/losses"
)

func TestTellCallsEachFunctionUntilItIsStopped(t *testing.T) {
	var l losses.Listeners
	l.Tell() // nobody listens
	var first, second int
	stopFirst := l.Add(func() { first++ })
	stopSecond := l.Add(func() { second++ })
	l.Tell()
	stopFirst()
	l.Tell()
	stopFirst() // again: the other one stays
	l.Tell()
	stopSecond()
	l.Tell()
	if first != 1 || second != 3 {
		t.Errorf("the first was called %d times and the second %d, want 1 and 3", first, second)
	}
}

func TestAFunctionThatIsAddedTwiceIsStoppedOnceForEach(t *testing.T) {
	var l losses.Listeners
	calls := 0
	f := func() { calls++ }
	stop := l.Add(f)
	defer l.Add(f)()
	l.Tell()
	stop()
	l.Tell()
	if calls != 3 {
		t.Errorf("called %d times, want 2 and then 1", calls)
	}
}

func TestAFunctionMayStopItselfAndAddAnother(t *testing.T) {
	var l losses.Listeners
	var self, other int
	var stop func()
	stop = l.Add(func() {
		self++
		stop()
		l.Add(func() { other++ })
	})
	l.Tell()
	l.Tell()
	if self != 1 || other != 1 {
		t.Errorf("it was called %d times and the one that it added %d, want 1 and 1", self, other)
	}
}

func TestListenersComeAndGoWhileOthersAreTold(t *testing.T) {
	var l losses.Listeners
	var stays atomic.Int64
	defer l.Add(func() { stays.Add(1) })()
	const times = 100
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range times {
				l.Add(func() {})()
			}
		})
		all.Go(func() {
			for range times {
				l.Tell()
			}
		})
	}
	all.Wait()
	if got := stays.Load(); got != 4*times {
		t.Errorf("the one that stays was called %d times, want %d", got, 4*times)
	}
}
