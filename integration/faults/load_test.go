package faults_test

import (
	"testing"

	_ "github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/integration/faults"
)

func TestALoadEndsWhenAllThatWasAcceptedHasRunOnce(t *testing.T) {
	l := faults.StartLoad(t, "memory://")
	l.AwaitProgress(faults.Patience, 100)
	l.StopProducing()
	l.Enqueue("last")
	l.Finish(0)
	l.ExpectOwnAttempts()
	if failed, refused := l.Failures(); failed != 0 || refused != 0 || l.Done() < 101 {
		t.Errorf("%d jobs have run, and %d calls failed", l.Done(), failed)
	}
}
