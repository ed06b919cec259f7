package beanstalkd

import (
	"context"
	"math"
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
// jobs of the server, from the first job's in both directions by turns: in most
// tubes the others are right above it. It ends when as many jobs have been found
// as the server counts in the tube.
type walk struct {
	server *server
	tube   string
	state  backend.State

	// sure, if not nil, reports whether no job may be missed that was there all
	// the time. Those that were found and have left the tube since do not count
	// then: they are asked for again before the walk ends. Otherwise they count,
	// and of the ready so do those that were pushed since the walk began, which
	// may come and go faster than they can be found.
	sure func() bool

	total    int      // jobs that the tube had ever been given when the walk began
	newest   uint64   // that was looked at or is about to be
	begin    uint64   // where the walk begins
	urgency  int64    // the priority of the first ready job; -1 if it is not known
	up, down uint64   // what is looked at next in each direction
	wentUp   bool     // the last time
	parts    int      // since newest was asked for
	found    []uint64 // and left in the tube
	rechecks int      // parts that must go by before found is asked for again
}

// walked is a job that a walk has found.
type walked struct {
	id    uint64
	stats jobStats
	at    time.Time // when stats were told
	gone  bool      // set by who deleted it
}

// run calls visit with the jobs that are found, some at a time and by ascending
// IDs, until visit returns false. If they were found on the way upwards, up is
// true.
func (w *walk) run(ctx context.Context, visit func(jobs []walked, up bool) (more bool, err error)) error {
	stats, err := w.server.tubeStats(ctx, w.tube)
	if err != nil || stats.jobs[w.state] == 0 {
		return err
	}
	w.total = stats.total
	if err := w.start(ctx); err != nil {
		return err
	}
	for {
		first, last, up, err := w.next(ctx)
		if err != nil || first == 0 {
			return err
		}
		jobs, stats, err := w.look(ctx, first, last)
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
				stats.jobs[w.state]-- // it was counted before
			} else {
				w.found = append(w.found, job.id)
			}
		}
		if done, err := w.complete(ctx, stats); err != nil || done {
			return err
		}
	}
}

// start finds where to begin.
func (w *walk) start(ctx context.Context) (err error) {
	if w.newest, err = w.server.newest(ctx); err != nil {
		return err
	}
	// The first job may be gone before its priority is asked for. Without that,
	// a walk for ready jobs has to find them all.
	w.urgency = -1
	for tries := 5; tries > 0 && w.urgency < 0; tries-- {
		head, err := w.head(ctx)
		if err != nil {
			return err
		}
		w.begin = min(head, w.newest+1)
		if w.state != backend.Ready || w.begin > w.newest {
			break
		}
		replies, err := w.server.look(ctx, appendCommand(nil, "stats-job", head), 1)
		if err != nil {
			return err
		}
		if stats, ok, err := w.matches(replies[0]); err != nil {
			return err
		} else if ok {
			w.urgency = int64(stats.pri)
		}
	}
	w.up, w.down = w.begin, w.begin-1
	return nil
}

// head returns the ID of the first job of the tube, or the largest there is when
// the server does not show one.
func (w *walk) head(ctx context.Context) (uint64, error) {
	peek := peeks[w.state]
	if peek == "" {
		return math.MaxUint64, nil
	}
	replies, err := w.server.inTube(ctx, w.tube, []byte(peek), 1)
	if err != nil {
		return 0, err
	}
	switch replies[0].Word {
	case wire.Found:
		return replies[0].ID, nil
	case wire.NotFound:
		return math.MaxUint64, nil
	}
	return 0, w.server.refused(replies[0])
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
	w.wentUp = w.up <= w.newest && (w.down == 0 || !w.wentUp)
	switch {
	case w.wentUp:
		first, last = w.up, min(w.up+walkPart-1, w.newest)
		w.up = last + 1
	case w.down > 0:
		first, last = max(w.down, walkPart)-walkPart+1, w.down
		w.down = first - 1
	}
	return first, last, w.wentUp, nil
}

// look returns those of the jobs from first to last that are searched for, and
// the stats of the tube right after.
func (w *walk) look(ctx context.Context, first, last uint64) (jobs []walked, tube tubeStats, err error) {
	request := make([]byte, 0, 32*walkPart)
	for id := first; id <= last; id++ {
		request = appendCommand(request, "stats-job", id)
	}
	commands := int(last-first) + 1
	replies, err := w.server.look(ctx, appendTube(request, "stats-tube", w.tube), commands+1)
	if err != nil {
		return nil, tube, err
	}
	now := time.Now()
	for i, reply := range replies[:commands] {
		if stats, ok, err := w.matches(reply); err != nil {
			return nil, tube, err
		} else if ok {
			jobs = append(jobs, walked{id: first + uint64(i), stats: stats, at: now})
		}
	}
	tube, err = w.server.tubeOf(replies[commands])
	return jobs, tube, err
}

// matches reads the reply to a stats-job.
func (w *walk) matches(reply wire.Reply) (stats jobStats, ok bool, err error) {
	switch reply.Word {
	case wire.OK:
		stats = parseJobStats(reply.Body)
		return stats, stats.tube == w.tube && stats.state == w.state, nil
	case wire.NotFound:
		return stats, false, nil
	}
	return stats, false, w.server.refused(reply)
}

// complete reports whether the walk can end, by the stats of the tube.
func (w *walk) complete(ctx context.Context, stats tubeStats) (bool, error) {
	if w.rechecks > 0 {
		w.rechecks--
	}
	count := stats.jobs[w.state]
	if w.sure == nil || !w.sure() {
		fresh := 0
		if w.state == backend.Ready {
			fresh = max(stats.total-w.total, 0)
		}
		return len(w.found)+fresh >= count, nil
	}
	if len(w.found) < count || count <= 0 {
		return count <= 0, nil
	}
	if w.rechecks > 0 {
		return false, nil
	}
	w.rechecks = len(w.found)/walkPart + 1 // so that it at most doubles the work
	left, err := w.among(ctx, w.found)
	if err != nil {
		return false, err
	}
	w.found = idsOf(left)
	return len(w.found) >= count, nil
}

// among returns those of ids that are searched for.
func (w *walk) among(ctx context.Context, ids []uint64) (found []walked, err error) {
	for ids := range slices.Chunk(ids, walkPart) {
		replies, err := w.server.do(ctx, appendCommands(nil, "stats-job", ids), len(ids))
		if err != nil {
			return nil, err
		}
		now := time.Now()
		for i, reply := range replies {
			if stats, ok, err := w.matches(reply); err != nil {
				return nil, err
			} else if ok {
				found = append(found, walked{id: ids[i], stats: stats, at: now})
			}
		}
	}
	return found, nil
}

// newest returns an ID that is larger than those of all jobs. IDs ascend, and
// the only way to learn of the last one is to put a job.
func (s *server) newest(ctx context.Context) (uint64, error) {
	put := "put 0 " + strconv.FormatInt(maxSeconds, 10) + " 1 1\r\n-\r\n"
	conn, err := s.conn(ctx)
	if err != nil {
		return 0, err
	}
	replies, err := conn.Put([]byte(put+peeks[backend.Scheduled]), 2, probeTube, probeTube).Wait(ctx)
	if err != nil {
		return 0, s.explain(ctx, err)
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
	_, err = conn.Do(ctx, request, commands)
	return replies[0].ID, s.explain(ctx, err)
}
