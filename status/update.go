package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goferhq/queue/store"
)

const (
	// maxPending bounds the memory of updates that the store has not taken
	// yet: a few megabytes, and some seconds of work for a fast process.
	maxPending = 10_000

	// maxBatch bounds what a flush asks of the store at once, so that a store
	// which does one thing at a time serves others in between.
	maxBatch = 1000
)

type update struct {
	id      string
	attempt int
	at      time.Time
	change  func(*Record)
}

// Update changes the record of a job, soon: it never blocks and never calls
// the store itself. change is called later, on another goroutine, and at most
// once. It must not block or panic, and what it uses must not change
// meanwhile; times that it writes are best taken before.
//
// Updates of one job through one Tracker are made in order. While the store is
// busy with some, others gather, and those of one job are then written as one.
// If the job has no record, or a corrupt one, change gets a new one.
//
// attempt is the attempt that the change is about. It becomes that of the
// record. A change about an older attempt than the record's is ignored, so
// that a worker which has lost its job does not overwrite what the next one
// writes. One is not: that which makes a Dead job Running, since a job that is
// put back from the dead set counts its attempts anew. Between two processes this is a good guess rather than a guarantee:
// the store is read and then written, and of two updates within that moment
// the later wins.
//
// At most 10,000 updates are held. What does not fit, and what the store does
// not take within its time, is dropped and counted by [Tracker.Dropped].
func (t *Tracker) Update(id string, attempt int, change func(*Record)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id == "" || t.taken-t.settled >= maxPending || t.pausedLocked() != nil {
		t.dropped.Add(1)
		return
	}
	t.pending = append(t.pending, update{id: id, attempt: attempt, at: time.Now(), change: change})
	t.taken++
	if !t.flushing {
		t.flushing = true
		go t.flushPending()
	}
}

// Flush waits until every update made before the call is written or dropped,
// or ctx ends. It is for the end of a process, and for tests.
func (t *Tracker) Flush(ctx context.Context) error {
	t.mu.Lock()
	last := t.taken
	for t.settled < last {
		if t.progress == nil {
			t.progress = make(chan struct{})
		}
		progress := t.progress
		t.mu.Unlock()
		select {
		case <-progress:
		case <-ctx.Done():
			return fmt.Errorf("status: flush: %w", ctx.Err())
		}
		t.mu.Lock()
	}
	t.mu.Unlock()
	return nil
}

// flushPending runs, at most once at a time, until nothing is pending.
func (t *Tracker) flushPending() {
	for updates := t.takePending(); len(updates) > 0; updates = t.takePending() {
		for batch := range slices.Chunk(updates, maxBatch) {
			t.dropped.Add(int64(t.flushBatch(batch)))
			t.settle(len(batch))
		}
	}
}

func (t *Tracker) takePending() []update {
	t.mu.Lock()
	defer t.mu.Unlock()
	updates := t.pending
	t.pending = nil
	t.flushing = len(updates) > 0
	return updates
}

func (t *Tracker) settle(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settled += uint64(n)
	if t.progress != nil {
		close(t.progress)
		t.progress = nil
	}
}

// flushBatch reads, changes and writes the records of a batch, and returns how
// many of its updates were lost.
func (t *Tracker) flushBatch(batch []update) (dropped int) {
	if t.paused() != nil {
		return len(batch)
	}
	jobs := byJob(batch)
	reads := make([]store.Op, len(jobs))
	for i, updates := range jobs {
		reads[i] = store.Op{Verb: store.OpGet, Key: key(updates[0].id)}
	}
	found, err := t.apply(context.Background(), reads)
	if err != nil {
		return len(batch)
	}

	var writes []store.Op
	var written []int // how many updates each write carries
	for i, updates := range jobs {
		record, err := current(updates[0].id, found[i])
		if err != nil {
			dropped += len(updates)
			continue
		}
		if !record.change(updates) {
			continue
		}
		op, err := t.asOp(record)
		if err != nil {
			dropped += len(updates)
			continue
		}
		writes = append(writes, op)
		written = append(written, len(updates))
	}
	if len(writes) == 0 {
		return dropped
	}
	results, err := t.apply(context.Background(), writes)
	for i, n := range written {
		if err != nil || results[i].Err != nil {
			dropped += n
		}
	}
	return dropped
}

// byJob splits a batch into the updates of each job, in the order in which
// they were made.
func byJob(batch []update) [][]update {
	var jobs [][]update
	position := make(map[string]int)
	for _, u := range batch {
		i, seen := position[u.id]
		if !seen {
			i = len(jobs)
			position[u.id] = i
			jobs = append(jobs, nil)
		}
		jobs[i] = append(jobs[i], u)
	}
	return jobs
}

// current returns the record to change: a new one if there is none, or none
// that can be read. It fails if the store did.
func current(id string, found store.Result) (Record, error) {
	if errors.Is(found.Err, store.ErrNotFound) {
		return Record{ID: id}, nil
	}
	if found.Err != nil {
		return Record{}, found.Err
	}
	record, err := decode(id, found.Value)
	if err != nil {
		return Record{ID: id}, nil
	}
	return record, nil
}

// change makes the updates that are not of an older attempt, or that start a
// dead job over, and reports whether there were any.
func (r *Record) change(updates []update) (changed bool) {
	for _, u := range updates {
		older := u.attempt < r.Attempt
		if older && r.State != Dead {
			continue
		}
		next := *r
		next.Attempt = u.attempt
		u.change(&next)
		if older && next.State != Running {
			continue
		}
		next.ID = u.id
		next.UpdatedAt = u.at
		*r, changed = next, true
	}
	return changed
}
