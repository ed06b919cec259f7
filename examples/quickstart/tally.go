package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/goferhq/queue"
)

// tally counts what becomes of the jobs.
type tally struct {
	dir      string
	run      string // tells our jobs from those that an earlier run has left
	start    time.Time
	finished chan struct{} // closed when nothing is left to do

	mu       sync.Mutex // guards all below
	complete bool       // nothing more will be enqueued
	total    int
	attempts int
	foreign  int            // jobs of an earlier run
	sums     map[string]sum // by job, until it is settled
	failures map[string]string
	outcomes map[string]*outcome
	largest  []file
	trouble  []trouble
	end      time.Time
}

// outcome sums up the files to which the same has happened.
type outcome struct{ files, lines, size int64 }

// The outcomes, as the table shows them.
const (
	done    = "done at once"
	retried = "done after a retry"
	buried  = "buried"
	skipped = "skipped"
)

type file struct {
	path string
	sum  sum
}

// trouble is a file that was not read at once.
type trouble struct {
	outcome  string
	attempts int
	path     string
	reason   string
}

func newTally(dir string) *tally {
	return &tally{
		dir:      dir,
		run:      rand.Text(),
		start:    time.Now(),
		finished: make(chan struct{}),
		sums:     make(map[string]sum),
		failures: make(map[string]string),
		outcomes: map[string]*outcome{done: {}, retried: {}, buried: {}, skipped: {}},
	}
}

func (t *tally) enqueued(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total += n
}

// walkEnded tells that nothing more will be enqueued.
func (t *tally) walkEnded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.complete = true
	t.checkFinished()
}

// skip notes what gets no job.
func (t *tally) skip(path string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcomes[skipped].files++
	t.trouble = append(t.trouble, trouble{skipped, 0, path, reason(err)})
}

// hashed keeps what a handler has found until its attempt is settled.
func (t *tally) hashed(id string, s sum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sums[id] = s
}

// afterAttempt is the hook that the queue calls when it is known what comes of
// an attempt.
func (t *tally) afterAttempt(_ context.Context, job *queue.Job[queue.Raw], verdict queue.Verdict, _ time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sums[job.ID]
	delete(t.sums, job.ID)
	if job.Header["run"] != t.run {
		if verdict == queue.Done || verdict == queue.Buried {
			t.foreign++
		}
		return
	}
	t.attempts++
	var args File
	json.Unmarshal(job.Args, &args) // it is our own job
	path := args.path()
	switch verdict {
	case queue.Done:
		name := done
		if job.Attempt > 1 {
			name = retried
			t.trouble = append(t.trouble, trouble{name, job.Attempt, path, t.failures[job.ID]})
		}
		o := t.outcomes[name]
		o.files, o.lines, o.size = o.files+1, o.lines+s.lines, o.size+s.size
		t.addLargest(file{path, s})
	case queue.Buried:
		t.outcomes[buried].files++
		t.trouble = append(t.trouble, trouble{buried, job.Attempt, path, reason(err)})
	default: // it will run again
		t.failures[job.ID] = reason(err)
		return
	}
	delete(t.failures, job.ID)
	t.checkFinished()
}

// mostLargest is how many of the largest files the table shows.
const mostLargest = 5

func (t *tally) addLargest(f file) {
	t.largest = append(t.largest, f)
	slices.SortFunc(t.largest, func(x, y file) int {
		return cmp.Or(cmp.Compare(y.sum.size, x.sum.size), cmp.Compare(x.path, y.path))
	})
	t.largest = t.largest[:min(len(t.largest), mostLargest)]
}

func (t *tally) checkFinished() {
	if t.complete && t.end.IsZero() && t.settled() >= t.total {
		t.end = time.Now()
		close(t.finished)
	}
}

// settled returns how many jobs are done or buried.
func (t *tally) settled() int {
	return int(t.outcomes[done].files + t.outcomes[retried].files + t.outcomes[buried].files)
}

// left returns how many jobs are neither done nor buried.
func (t *tally) left() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total - t.settled()
}

// relative returns path as it is below the directory.
func (t *tally) relative(path string) string {
	if relative, err := filepath.Rel(t.dir, path); err == nil {
		return relative
	}
	return path
}

// reason returns an error without the path, which has a column of its own.
func reason(err error) string {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	if err == nil {
		return ""
	}
	return err.Error()
}
