package memory

import "math/bits"

// A wheel holds jobs by the millisecond at which something is due: a
// scheduled job becomes ready, a reserved one loses its lease. It is a
// hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical
// Timing Wheels", 1987): adding and removing a job takes the same few steps
// whether it holds ten or ten million, which a heap does not offer.
//
// A job that is due at tick t sits at the level of the highest six-bit digit
// in which t differs from the current tick, in the slot of that digit. When
// the current tick reaches the slot, its jobs move to lower levels, and at
// last they are due.
type wheel struct {
	tick   int64 // the current tick; jobs in the wheel are due after it
	len    int
	used   [levels]uint64 // a bit for each slot that is not empty
	slots  [levels][slots]list
	passed list // due, not yet collected
}

const (
	digit  = 6
	slots  = 1 << digit
	levels = 8 // 48 bits of milliseconds: 8,900 years
	// farthest is the last tick that the wheel can hold.
	farthest = 1<<(digit*levels) - 1
)

// add puts j in by j.due. A job that is due already is collected by the next
// advance.
func (w *wheel) add(j *job) {
	w.len++
	j.due = min(j.due, farthest)
	if j.due <= w.tick {
		j.slot = passedSlot
		w.passed.pushBack(j)
		return
	}
	level := (bits.Len64(uint64(j.due^w.tick)) - 1) / digit
	slot := j.due >> (digit * level) & (slots - 1)
	j.slot = int16(level*slots) + int16(slot)
	w.slots[level][slot].pushBack(j)
	w.used[level] |= 1 << slot
}

// passedSlot is the slot number of jobs in the passed list.
const passedSlot = -1

func (w *wheel) remove(j *job) {
	w.len--
	if j.slot == passedSlot {
		w.passed.remove(j)
		return
	}
	level, slot := j.slot/slots, j.slot%slots
	w.slots[level][slot].remove(j)
	if w.slots[level][slot].first == nil {
		w.used[level] &^= 1 << slot
	}
}

// next returns the earliest tick at which advance may have something to do:
// that at which the jobs of the earliest slot are due, or move down. A job
// moves at most once a level, so waiting for it takes a few steps, however far
// away it is.
func (w *wheel) next() (tick int64, ok bool) {
	if w.passed.first != nil {
		return w.tick, true
	}
	level, slot, ok := w.earliest()
	if !ok {
		return 0, false
	}
	return w.start(level, slot), true
}

// earliest finds the slot that comes first: all jobs of a level are due
// before those of the levels above it.
func (w *wheel) earliest() (level, slot int, ok bool) {
	for level, used := range w.used {
		if used != 0 {
			return level, bits.TrailingZeros64(used), true
		}
	}
	return 0, 0, false
}

// start returns the first tick of a slot: the current tick with the digit of
// the level replaced and those below it cleared.
func (w *wheel) start(level, slot int) int64 {
	above := int64(-1) << (digit * (level + 1))
	return w.tick&above | int64(slot)<<(digit*level)
}

// advance moves the current tick to now and returns the jobs that are due, in
// no particular order, linked by next.
func (w *wheel) advance(now int64) *job {
	for {
		level, slot, ok := w.earliest()
		if !ok {
			break
		}
		start := w.start(level, slot)
		if start > now {
			break
		}
		w.tick = start
		moved := w.slots[level][slot].take()
		w.used[level] &^= 1 << slot
		for moved != nil {
			j := moved
			moved = j.next
			w.len--
			w.add(j)
		}
	}
	w.tick = max(w.tick, now)
	due := w.passed.take()
	for j := due; j != nil; j = j.next {
		w.len--
	}
	return due
}

// all yields every job in the wheel.
func (w *wheel) all(yield func(*job) bool) {
	for j := range w.passed.all {
		if !yield(j) {
			return
		}
	}
	for level := range w.slots {
		for slot := range w.slots[level] {
			for j := range w.slots[level][slot].all {
				if !yield(j) {
					return
				}
			}
		}
	}
}

// list is a doubly linked list of jobs. A job is in one list at a time.
type list struct {
	first, last *job
	len         int
}

func (l *list) pushBack(j *job) { l.insertAfter(l.last, j) }

// insertAfter puts j behind before, or in front of all when before is nil.
func (l *list) insertAfter(before, j *job) {
	l.len++
	j.prev = before
	if before == nil {
		j.next = l.first
		l.first = j
	} else {
		j.next = before.next
		before.next = j
	}
	if j.next == nil {
		l.last = j
	} else {
		j.next.prev = j
	}
}

func (l *list) remove(j *job) {
	l.len--
	if j.prev == nil {
		l.first = j.next
	} else {
		j.prev.next = j.next
	}
	if j.next == nil {
		l.last = j.prev
	} else {
		j.next.prev = j.prev
	}
	j.prev, j.next = nil, nil
}

// take empties the list and returns its first job; the others follow by next.
func (l *list) take() *job {
	first := l.first
	*l = list{}
	return first
}

// all yields the jobs of the list, of which each may be removed in its turn.
func (l *list) all(yield func(*job) bool) {
	for j := l.first; j != nil; {
		next := j.next
		if !yield(j) {
			return
		}
		j = next
	}
}
