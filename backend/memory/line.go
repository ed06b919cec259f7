package memory

import (
	"slices"

	"github.com/goferhq/queue/backend"
)

// job is a stored message.
type job struct {
	message   backend.Message
	raw       []byte // of a foreign producer, else nil
	malformed error  // why raw is not a message

	state      backend.State
	sequence   uint64 // the order in which jobs became ready
	deliveries int    // since it was pushed, retried or requeued
	token      uint64 // of the latest loan; a receipt with another one is stale
	due        int64  // tick: of becoming ready, or of the end of the lease
	line       *line
	failure    *backend.Failure // of a dead job
	key        string           // of a dead job

	prev, next *job  // of the list that the job is in
	slot       int16 // of the wheel, when it is in there
}

// line is one queue: its ready jobs by priority, and its dead ones.
type line struct {
	name      string
	levels    []*level // the higher priority first, none empty
	spare     *level   // the latest that became empty, for the next
	ready     int
	scheduled int
	reserved  int
	dead      list
	paused    bool
}

// level holds the ready jobs of one priority, the oldest first.
type level struct {
	priority int
	jobs     list
}

func (l *line) level(priority int) (index int, found bool) {
	if len(l.levels) == 1 && l.levels[0].priority == priority {
		return 0, true
	}
	return slices.BinarySearchFunc(l.levels, priority, func(v *level, p int) int { return p - v.priority })
}

// add puts j, whose sequence is set, in its place among the ready jobs. That
// is the end for a job that has just become ready, and near the front for one
// that comes back.
func (l *line) add(j *job) {
	i, found := l.level(j.message.Priority)
	if !found {
		added := l.spare
		if added == nil {
			added = new(level)
		}
		l.spare = nil
		added.priority = j.message.Priority
		l.levels = slices.Insert(l.levels, i, added)
	}
	jobs := &l.levels[i].jobs
	j.state = backend.Ready
	l.ready++
	if jobs.last == nil || jobs.last.sequence < j.sequence {
		jobs.pushBack(j)
		return
	}
	var before *job
	for at := jobs.first; at.sequence < j.sequence; at = at.next {
		before = at
	}
	jobs.insertAfter(before, j)
}

func (l *line) remove(j *job) {
	i, _ := l.level(j.message.Priority)
	jobs := &l.levels[i].jobs
	jobs.remove(j)
	l.ready--
	if jobs.first == nil {
		l.spare = l.levels[i]
		l.levels = slices.Delete(l.levels, i, i+1)
	}
}

// first returns the job that is reserved next, or nil.
func (l *line) first() *job {
	if l.ready == 0 || l.paused {
		return nil
	}
	return l.levels[0].jobs.first
}
