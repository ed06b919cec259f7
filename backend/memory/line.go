package memory

import (
	"cmp"
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
	grave      *grave // of a dead job

	prev, next *job  // of the list that the job is in
	slot       int16 // of the wheel, when it is in there
	twin       *job  // another job with the same ID; see Broker.ids
}

// grave is what the dead set keeps beside a job.
type grave struct {
	key     string
	failure backend.Failure
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
	finger   *job // where a job came back last: the next one's place is near
}

func (l *line) level(priority int) (index int, found bool) {
	if len(l.levels) == 1 && l.levels[0].priority == priority {
		return 0, true
	}
	return slices.BinarySearchFunc(l.levels, priority, func(v *level, p int) int { return p - v.priority })
}

// add puts j, whose sequence is set, in its place among the ready jobs. That
// is the end for a job that has just become ready. For one that comes back it
// is sought from where the previous one did: jobs that are given back, or
// whose leases end, one after the other were mostly reserved in that order.
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
	v := l.levels[i]
	j.state = backend.Ready
	l.ready++
	if v.jobs.last == nil || v.jobs.last.sequence < j.sequence {
		v.jobs.pushBack(j)
		return
	}
	before := cmp.Or(v.finger, v.jobs.first)
	for before != nil && before.sequence > j.sequence {
		before = before.prev
	}
	for before != nil && before.next.sequence < j.sequence {
		before = before.next
	}
	v.jobs.insertAfter(before, j)
	v.finger = j
}

func (l *line) remove(j *job) {
	i, _ := l.level(j.message.Priority)
	v := l.levels[i]
	if v.finger == j {
		v.finger = cmp.Or(j.next, j.prev)
	}
	v.jobs.remove(j)
	l.ready--
	if v.jobs.first == nil {
		l.spare = v
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

// all yields the ready jobs in the order in which they are reserved.
func (l *line) all(yield func(*job) bool) {
	for _, v := range l.levels {
		for j := range v.jobs.all {
			if !yield(j) {
				return
			}
		}
	}
}
