package faults

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

func TestAChronicleHasWhatManyWriteAtOnce(t *testing.T) {
	story := NewChronicle(t)
	const writers, entries = 4, 50
	var writing sync.WaitGroup
	for writer := range writers {
		writing.Go(func() {
			for i := range entries {
				if err := story.write(Event{What: Began, ID: fmt.Sprint(writer), Attempt: i}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if e := story.Await(t, Patience, Began, "0", entries-1); e.PID != os.Getpid() {
		t.Errorf("it was written by process %d, want %d", e.PID, os.Getpid())
	}
	writing.Wait()
	if n := len(story.Events(t)); n != writers*entries {
		t.Errorf("there are %d entries, want %d", n, writers*entries)
	}
	for writer := range writers {
		for i, e := range story.Events(t, fmt.Sprint(writer)) {
			if e.Attempt != i {
				t.Fatalf("entry %d of a writer is %+v", i, e)
			}
		}
	}
}
