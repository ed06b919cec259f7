package beanstalkd

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

const (
	// walkPart is how many jobs are asked for in one request: some milliseconds
	// of the server's time.
	walkPart = 500

	// walkRenewal is after how many parts the jobs are looked at that have been
	// pushed meanwhile.
	walkRenewal = 20
)

// walk is a search for the jobs of one tube. The server shows no more of a tube
// than its first job in each state, so that the search goes over the IDs of all
// jobs of the server: from the first job's upwards, where in most tubes all
// others are, and then from there downwards. It ends when as many jobs have
// been found as the server counts in the tube.
type walk struct {
	server *server
	tube   string
	states []backend.State

	// sure is for those who must not miss a job that was there all the time.
	// Jobs that were found and have left the tube since then do not count: they
	// are asked for again before the walk ends.
	sure bool

	head     wire.Reply // the first job, when there is one state and it has one
	newest   uint64     // that was looked at or is about to be
	begin    uint64     // where the walk begins
	up, down uint64     // what is looked at next in each direction
	parts    int        // since newest was asked for
	found    []uint64   // and left in the tube
	rechecks int        // parts that must go by before found is asked for again
	urgency  *uint32    // the priority of head; nil while it is not known
}

// walked is a job that a walk has found.
type walked struct {
	id    uint64
	stats jobStats
	at    time.Time // when stats were told
	gone  bool      // set by who deleted it
}

// run calls visit with the jobs that are found, some at a time and by ascending
// IDs, until visit returns false. While it goes upwards, up is true.
func (w *walk) run(ctx context.Context, visit func(jobs []walked, up bool) (more bool, err error)) error {
	if count, err := w.count(ctx); err != nil || count == 0 {
		return err
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	for {
		first, last, up, err := w.next(ctx)
		if err != nil || first == 0 {
			return err
		}
		jobs, count, err := w.look(ctx, first, last)
		if err != nil {
			return err
		}
		if len(jobs) > 0 {
			more, err := visit(jobs, up)
			if err != nil || !more {
				return err
			}
		}
		for _, job := range jobs {
			if job.gone {
				count-- // it was counted before
			} else {
				w.found = append(w.found, job.id)
			}
		}
		if done, err := w.complete(ctx, count); err != nil || done {
			return err
		}
	}
}

// count returns how many jobs the tube has in the states.
func (w *walk) count(ctx context.Context) (int, error) {
	replies, err := w.server.do(ctx, appendTubeStats(nil, w.tube), 1)
	if err != nil {
		return 0, err
	}
	return w.counted(replies[0])
}

func (w *walk) counted(reply wire.Reply) (n int, err error) {
	switch reply.Word {
	case wire.OK:
		stats := parseTubeStats(reply.Body)
		for _, state := range w.states {
			n += stats.jobs[state]
		}
		return n, nil
	case wire.NotFound:
		return 0, nil
	}
	return 0, w.server.refused(reply)
}

// start finds where to begin.
func (w *walk) start(ctx context.Context) (err error) {
	if w.newest, err = w.server.newest(ctx); err != nil {
		return err
	}
	w.begin = w.newest + 1
	var request []byte
	commands := 0
	for _, state := range w.states {
		if peek := peeks[state]; peek != "" {
			request = append(request, peek...)
			commands++
		}
	}
	if commands > 0 {
		heads, err := w.server.inTube(ctx, w.tube, request, commands)
		if err != nil {
			return err
		}
		for _, head := range heads {
			switch head.Word {
			case wire.Found:
				w.begin = min(w.begin, head.ID)
				w.head = head
			case wire.NotFound:
			default:
				return w.server.refused(head)
			}
		}
	}
	w.up, w.down = w.begin, w.begin-1
	return nil
}

// peeks are the commands that show the first job of the tube that is used.
var peeks = [...]string{
	backend.Ready:     "peek-ready\r\n",
	backend.Scheduled: "peek-delayed\r\n",
	backend.Reserved:  "",
	backend.Dead:      "peek-buried\r\n",
}

// next returns the IDs that are looked at next. They are 0 when there are none.
func (w *walk) next(ctx context.Context) (first, last uint64, up bool, err error) {
	if err := w.server.backend.usable(ctx); err != nil {
		return 0, 0, false, err
	}
	if w.up > w.newest && w.parts >= walkRenewal {
		w.parts = 0
		if w.newest, err = w.server.newest(ctx); err != nil {
			return 0, 0, false, err
		}
	}
	w.parts++
	if w.up <= w.newest {
		first, last = w.up, min(w.up+walkPart-1, w.newest)
		w.up = last + 1
		return first, last, true, nil
	}
	if w.down == 0 {
		return 0, 0, false, nil
	}
	last = w.down
	first = max(last, walkPart) - walkPart + 1
	w.down = first - 1
	return first, last, false, nil
}

// look returns those of the jobs from first to last that are searched for, and
// how many such jobs the tube has.
func (w *walk) look(ctx context.Context, first, last uint64) (jobs []walked, count int, err error) {
	request := make([]byte, 0, 32*walkPart)
	for id := first; id <= last; id++ {
		request = appendCommand(request, "stats-job", id)
	}
	commands := int(last-first) + 1
	replies, err := w.server.do(ctx, appendTubeStats(request, w.tube), commands+1)
	if err != nil {
		return nil, 0, err
	}
	now := time.Now()
	for i, reply := range replies[:commands] {
		if stats, ok, err := w.matches(reply); err != nil {
			return nil, 0, err
		} else if ok {
			jobs = append(jobs, walked{id: first + uint64(i), stats: stats, at: now})
		}
	}
	count, err = w.counted(replies[commands])
	return jobs, count, err
}

// matches reads the reply to a stats-job.
func (w *walk) matches(reply wire.Reply) (stats jobStats, ok bool, err error) {
	switch reply.Word {
	case wire.OK:
		stats = parseJobStats(reply.Body)
		return stats, stats.tube == w.tube && slices.Contains(w.states, stats.state), nil
	case wire.NotFound:
		return stats, false, nil
	}
	return stats, false, w.server.refused(reply)
}

// complete reports whether the count jobs of the tube have all been found.
func (w *walk) complete(ctx context.Context, count int) (bool, error) {
	if w.rechecks > 0 {
		w.rechecks--
	}
	if len(w.found) < count || !w.sure || count <= 0 {
		return len(w.found) >= count, nil
	}
	if w.rechecks > 0 {
		return false, nil
	}
	w.rechecks = len(w.found)/walkPart + 1 // so that it at most doubles the work
	kept := w.found[:0]
	for ids := range slices.Chunk(w.found, walkPart) {
		var request []byte
		for _, id := range ids {
			request = appendCommand(request, "stats-job", id)
		}
		replies, err := w.server.do(ctx, request, len(ids))
		if err != nil {
			return false, err
		}
		for i, reply := range replies {
			if _, ok, err := w.matches(reply); err != nil {
				return false, err
			} else if ok {
				kept = append(kept, ids[i])
			}
		}
	}
	w.found = kept
	return len(w.found) >= count, nil
}

// newest returns an ID that is larger than those of all jobs. IDs ascend, and
// the only way to learn of the last one is to put a job.
func (s *server) newest(ctx context.Context) (uint64, error) {
	put := "put 0 " + strconv.FormatInt(maxSeconds, 10) + " 1 1\r\n-\r\n"
	replies, err := s.inTube(ctx, probeTube, []byte(put+peeks[backend.Scheduled]), 2)
	if err != nil {
		return 0, err
	}
	if replies[0].Word != wire.Inserted {
		return 0, s.refused(replies[0])
	}
	request := appendCommand(nil, "delete", replies[0].ID)
	commands := 1
	if old := replies[1]; old.Word == wire.Found && old.ID != replies[0].ID {
		// It was left here by a call that ended too early, or is about to be
		// deleted by its own.
		request = appendCommand(request, "delete", old.ID)
		commands++
	}
	_, err = s.do(ctx, request, commands)
	return replies[0].ID, err
}

// inTube sends commands that are about the tube which is used, and waits for
// their replies.
func (s *server) inTube(ctx context.Context, tube string, request []byte, commands int) ([]wire.Reply, error) {
	conn, err := s.conn(ctx)
	if err != nil {
		return nil, err
	}
	replies, err := conn.Put(request, commands, tube, tube).Wait(ctx)
	return replies, s.explain(ctx, err)
}

// bodies returns the bodies of jobs, nil for those that are gone.
func (s *server) bodies(ctx context.Context, ids []uint64) ([][]byte, error) {
	all := make([][]byte, 0, len(ids))
	part := max(1, min(walkPart, maxBodies/max(1, s.backend.maxBody)))
	for ids := range slices.Chunk(ids, part) {
		if err := s.backend.usable(ctx); err != nil {
			return nil, err
		}
		var request []byte
		for _, id := range ids {
			request = appendCommand(request, "peek", id)
		}
		replies, err := s.do(ctx, request, len(ids))
		if err != nil {
			return nil, err
		}
		for _, reply := range replies {
			switch reply.Word {
			case wire.Found:
				all = append(all, reply.Body)
			case wire.NotFound:
				all = append(all, nil)
			default:
				return nil, s.refused(reply)
			}
		}
	}
	return all, nil
}

// maxBodies is how many bytes of bodies are asked for in one request, about.
const maxBodies = 4 << 20

// remove deletes jobs and reports for each whether it was there.
func (s *server) remove(ctx context.Context, ids []uint64) (deleted []bool, err error) {
	for ids := range slices.Chunk(ids, walkPart) {
		if err := s.backend.usable(ctx); err != nil {
			return deleted, err
		}
		var request []byte
		for _, id := range ids {
			request = appendCommand(request, "delete", id)
		}
		replies, err := s.do(ctx, request, len(ids))
		for _, reply := range replies {
			if reply.Word != wire.Deleted && reply.Word != wire.NotFound && err == nil {
				err = s.refused(reply)
			}
			deleted = append(deleted, reply.Word == wire.Deleted)
		}
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}
