package beanstalkd

import (
	"context"
	"fmt"
	"slices"

	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// A pause of a tube ends with the tube, which a server forgets once it is empty
// and nobody refers to it, and with the server. So a job in another tube says
// that the queue is paused: it has the longest delay, so that nobody reserves
// it. Whoever is about to reserve from a queue for the first time looks for it,
// keeps a reference to the tube, and has the tube paused again if need be.

// Pause stops a queue on all servers; see [backend.Pauser].
func (b *Backend) Pause(ctx context.Context, queue string) error {
	return b.setPause(ctx, queue, (*server).pause)
}

// Resume lets a queue go on, on all servers.
func (b *Backend) Resume(ctx context.Context, queue string) error {
	return b.setPause(ctx, queue, (*server).resume)
}

func (b *Backend) setPause(ctx context.Context, queue string, set func(s *server, ctx context.Context, queue string) error) error {
	if err := checkQueue(queue); err != nil {
		return err
	}
	if err := b.usable(ctx); err != nil {
		return err
	}
	return b.change(ctx, func(_ int, s *server) (bool, error) { return false, set(s, ctx, queue) })
}

// pause puts the marker and pauses the tube, which a use brings into being.
func (s *server) pause(ctx context.Context, queue string) error {
	marker := markerTube(queue)
	stats, err := s.tubeStats(ctx, marker)
	if err != nil {
		return err
	}
	var request []byte
	want := []string{wire.Using, wire.Paused}
	first := queue
	if stats.all() == 0 {
		request = fmt.Appendf(nil, "put %d %d %d %d\r\n%s\r\n", defaultPriority, int64(maxSeconds), 60, len(queue), queue)
		want = slices.Insert(want, 0, wire.Inserted)
		first = marker
	}
	request = appendTube(request, "use", queue)
	request = appendPause(request, queue, true)
	conn, err := s.conn(ctx)
	if err != nil {
		return err
	}
	replies, err := conn.Put(request, len(want), first, queue).Wait(ctx)
	if err != nil {
		return s.explain(ctx, err)
	}
	for i, reply := range replies {
		if reply.Word != want[i] {
			return s.refused(reply)
		}
	}
	return nil
}

// resume deletes the markers, in whatever state somebody may have moved them
// to, and ends the pause.
func (s *server) resume(ctx context.Context, queue string) error {
	const all = "peek-delayed\r\npeek-ready\r\npeek-buried\r\n"
	for {
		replies, err := s.inTube(ctx, markerTube(queue), []byte(all), 3)
		if err != nil {
			return err
		}
		var markers []uint64
		for _, reply := range replies {
			switch reply.Word {
			case wire.Found:
				markers = append(markers, reply.ID)
			case wire.NotFound:
			default:
				return s.refused(reply)
			}
		}
		if len(markers) == 0 {
			break
		}
		if _, err := s.remove(ctx, markers); err != nil {
			return err
		}
	}
	replies, err := s.do(ctx, appendPause(nil, queue, false), 1)
	if err == nil && replies[0].Word != wire.Paused && replies[0].Word != wire.NotFound {
		err = s.refused(replies[0])
	}
	return err
}

// heedPauses sees to it that the queues are paused on the server which are to be. It
// must have returned before a job is taken from them, and costs nothing when it
// has done so before on the same connection.
func (s *server) heedPauses(ctx context.Context, queues []string) error {
	s.mu.Lock()
	conn := s.shared
	if conn != nil && conn.Err() == nil {
		queues = s.unwatched(queues)
	} else {
		conn = nil
	}
	s.mu.Unlock()
	if len(queues) == 0 {
		return nil
	}
	if conn == nil {
		var err error
		if conn, err = s.conn(ctx); err != nil {
			return err
		}
	}
	if err := s.keepPauses(ctx, conn, queues); err != nil {
		return s.explain(ctx, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared != conn {
		return nil // the next call does it all again
	}
	if s.watched == nil {
		s.watched = make(map[string]bool)
	}
	for _, queue := range queues {
		s.watched[queue] = true
	}
	return nil
}

// unwatched returns those of queues that are not watched. The caller holds mu.
func (s *server) unwatched(queues []string) []string {
	for i, queue := range queues {
		if s.watched[queue] {
			continue
		}
		fresh := []string{queue}
		for _, queue := range queues[i+1:] {
			if !s.watched[queue] {
				fresh = append(fresh, queue)
			}
		}
		return fresh
	}
	return nil
}

// keepPauses refers to the tubes of queues and pauses those that have a marker.
//
// A marker may come or go right then. So what a tube was set to is compared
// with the marker once more, and set again if they differ: after a last look at
// which they agree, whoever moves the marker sets the tube as well.
func (s *server) keepPauses(ctx context.Context, conn *wire.Conn, queues []string) error {
	var request []byte
	for _, queue := range queues {
		request = appendTube(request, "watch", queue)
		request = appendTube(request, "stats-tube", markerTube(queue))
	}
	set := make([]bool, len(queues))
	word := wire.Watching
	for {
		replies, err := conn.Do(ctx, request, 2*len(queues))
		if err != nil {
			return err
		}
		var changed []string
		var wanted []bool
		for i, queue := range queues {
			if got := replies[2*i]; got.Word != word {
				return s.refused(got)
			}
			marker, err := s.tubeOf(replies[2*i+1])
			if err != nil {
				return err
			}
			if marked := marker.all() > 0; marked != set[i] {
				changed, wanted = append(changed, queue), append(wanted, marked)
			}
		}
		if len(changed) == 0 {
			return nil
		}
		queues, set, word = changed, wanted, wire.Paused
		request = request[:0]
		for i, queue := range queues {
			request = appendPause(request, queue, set[i])
			request = appendTube(request, "stats-tube", markerTube(queue))
		}
	}
}
