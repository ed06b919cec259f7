package beanstalkd

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

// Peek shows jobs; see [backend.Lister]. Those on loan come in the order in
// which their leases end, which is the entry's DueAt.
//
// A server has no list of what is in a tube. Peek goes over the IDs of its jobs
// until it has found as many as there are, or as it needs. In most tubes the
// first of the ready and of the dead are found at once; the scheduled take about
// as long as it takes to go over all IDs since the oldest of them. While others
// push and take jobs, some may be missing. A server in drain mode tells no new
// ID, so that its jobs cannot be listed.
func (b *Backend) Peek(ctx context.Context, queue string, state backend.State, offset, limit int) ([]*backend.Entry, error) {
	if err := checkQueue(queue); err != nil {
		return nil, err
	}
	if offset < 0 || limit < 0 {
		return nil, fmt.Errorf("%w: Peek of %d from %d", backend.ErrInvalid, limit, offset)
	}
	if state < backend.Ready || state > backend.Dead {
		return nil, fmt.Errorf("%w: state %d", backend.ErrInvalid, state)
	}
	if err := b.usable(ctx); err != nil || limit == 0 {
		return nil, err
	}
	most := offset + limit
	if most < 0 {
		most = math.MaxInt
	}
	lists := make([][]listed, len(b.servers))
	err := b.onAll(ctx, func(i int, s *server) (err error) {
		lists[i], err = s.list(ctx, queue, state, most)
		if err == nil && len(b.servers) > 1 {
			lists[i], err = s.read(ctx, queue, lists[i]) // they are merged by what they hold
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	page := merge(lists, state, most)
	page = page[min(offset, len(page)):]
	if len(b.servers) == 1 {
		if page, err = b.servers[0].read(ctx, queue, page); err != nil {
			return nil, err
		}
	}
	entries := make([]*backend.Entry, len(page))
	for i, l := range page {
		entries[i] = l.entry
	}
	return entries, nil
}

// listed is a job in a list, and its entry once that has been read.
type listed struct {
	walked
	entry *backend.Entry
}

// list returns the first jobs of one server, at most that many, in the order of
// Peek.
func (s *server) list(ctx context.Context, queue string, state backend.State, most int) ([]listed, error) {
	w := walk{server: s, tube: queue, state: state}
	var list []listed
	first := 0 // how many at the head of list are certainly the first ones
	err := w.run(ctx, func(jobs []walked, up bool) (more bool, err error) {
		for _, job := range jobs {
			list = append(list, listed{walked: job})
			if up && w.follows(job) {
				first++
			}
		}
		return first < most, nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(x, y listed) int { return w.order(x.walked, y.walked) })
	return list[:min(most, len(list))], nil
}

// follows reports whether a job that the walk has met on its way upwards comes,
// in the order of Peek, right after those which it has met before and of which
// this is true as well.
//
// Of the dead it always is: see order. Of the ready it is as long as they have
// the priority of the first one.
func (w *walk) follows(job walked) bool {
	switch w.state {
	case backend.Dead:
		return true
	case backend.Ready:
		return int64(job.stats.pri) == w.urgency
	}
	return false
}

// order is that of Peek, for jobs of one server. The dead come in the order in
// which they were buried, as far as it can be told: the server shows the first,
// and the others have been put in this order if this driver has buried them.
// Jobs with smaller IDs than the first are of those who bury otherwise, and
// were buried later than it.
func (w *walk) order(x, y walked) int {
	switch w.state {
	case backend.Ready:
		return cmp.Or(cmp.Compare(x.stats.pri, y.stats.pri), cmp.Compare(x.id, y.id))
	case backend.Dead:
		return cmp.Compare(x.id-w.begin, y.id-w.begin) // those before begin wrap around
	}
	return cmp.Or(x.stats.due(x.at).Compare(y.stats.due(y.at)), cmp.Compare(x.id, y.id))
}

// read completes the entries of a list, and leaves out jobs that are gone.
func (s *server) read(ctx context.Context, queue string, list []listed) ([]listed, error) {
	ids := make([]uint64, len(list))
	for i, l := range list {
		ids[i] = l.id
	}
	bodies, err := s.presentBodies(ctx, ids)
	if err != nil {
		return nil, err
	}
	present := list[:0]
	for i, l := range list {
		if bodies[i] != nil {
			l.entry = s.entry(queue, l.walked, bodies[i])
			present = append(present, l)
		}
	}
	return present, nil
}

// entry is a job as a person sees it.
func (s *server) entry(queue string, job walked, body []byte) *backend.Entry {
	held := s.decode(queue, job, body)
	e := &backend.Entry{
		Key:       s.key(job.id),
		State:     job.stats.state,
		Raw:       held.raw,
		Malformed: held.malformed,
		Failure:   held.failure,
	}
	if held.malformed == nil {
		e.Message = held.message
	}
	e.Queue = queue
	if e.State == backend.Scheduled || e.State == backend.Reserved {
		e.DueAt = job.stats.due(job.at)
	}
	if held.malformed == nil {
		e.Attempt = held.attempts(job.stats)
	}
	return e
}

// attempts returns how many attempts of a job have begun: those that its body
// counts and those for which it has been handed out since.
func (held *stored) attempts(stats jobStats) int {
	begun := stats.reserves - stats.releases - stats.buries
	if stats.state == backend.Dead {
		if held.failure != nil {
			return held.attempt
		}
		begun++ // its last attempt is why it was buried
	}
	return held.message.Attempt + max(begun, 0)
}

// decode reads a body. What a foreign producer does not say is filled in.
func (s *server) decode(queue string, job walked, body []byte) stored {
	held := decodeBody(body)
	if held.malformed != nil {
		return held
	}
	held.message.Queue = queue
	if held.message.ID == "" {
		held.message.ID = foreignID(s.address, job.id)
	}
	if held.lease == 0 {
		held.message.Priority = int(defaultPriority - int64(job.stats.pri))
	}
	return held
}

// merge returns the first of the jobs of several servers, at most that many. It
// keeps the order of each list.
func merge(lists [][]listed, state backend.State, most int) []listed {
	if len(lists) == 1 {
		return lists[0]
	}
	var all []listed
	for len(all) < most {
		next := -1
		for i, list := range lists {
			if len(list) > 0 && (next < 0 || earlier(list[0], lists[next][0], state)) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		all = append(all, lists[next][0])
		lists[next] = lists[next][1:]
	}
	return all
}

// earlier compares jobs of different servers, whose IDs tell nothing.
func earlier(x, y listed, state backend.State) bool {
	switch state {
	case backend.Ready:
		order := cmp.Compare(x.stats.pri, y.stats.pri)
		return cmp.Or(order, x.entry.EnqueuedAt.Compare(y.entry.EnqueuedAt)) < 0
	case backend.Dead:
		return x.buriedAt().Before(y.buriedAt())
	}
	return x.entry.DueAt.Before(y.entry.DueAt)
}

// buriedAt is zero for those that this driver has not buried.
func (l listed) buriedAt() time.Time {
	if l.entry.Failure == nil {
		return time.Time{}
	}
	return l.entry.Failure.At
}

// key is that of an entry: where the job is and its ID there.
func (s *server) key(id uint64) string {
	return s.address + "#" + strconv.FormatUint(id, 10)
}

// keyed returns the IDs that keys name, for each server.
func (b *Backend) keyed(keys []string) [][]uint64 {
	ids := make([][]uint64, len(b.servers))
	seen := make(map[string]bool)
	for _, key := range keys {
		if seen[key] {
			continue
		}
		seen[key] = true
		address, text, found := strings.Cut(key, "#")
		i := slices.IndexFunc(b.servers, func(s *server) bool { return s.address == address })
		id, err := strconv.ParseUint(text, 10, 64)
		if found && i >= 0 && err == nil {
			ids[i] = append(ids[i], id)
		}
	}
	return ids
}
