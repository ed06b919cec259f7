package beanstalkd

import (
	"context"
	"slices"

	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

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

// bodies returns the bodies of jobs, nil for those that are gone. A body is only
// certain to be that of its job if the job is still there afterwards: the server
// keeps no copy of what it is about to send, and when the job is deleted in that
// moment sends what the memory holds by then.
func (s *server) bodies(ctx context.Context, ids []uint64) ([][]byte, error) {
	all := make([][]byte, 0, len(ids))
	part := max(1, min(walkPart, maxBodies/max(1, s.backend.maxBody)))
	for ids := range slices.Chunk(ids, part) {
		if err := s.backend.usable(ctx); err != nil {
			return nil, err
		}
		replies, err := s.do(ctx, appendCommands(nil, "peek", ids), len(ids))
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

// presentBodies is bodies for those who cannot tell by a delete whether the job
// was still there.
func (s *server) presentBodies(ctx context.Context, ids []uint64) ([][]byte, error) {
	bodies, err := s.bodies(ctx, ids)
	if err != nil {
		return nil, err
	}
	place := 0
	for ids := range slices.Chunk(ids, walkPart) {
		replies, err := s.do(ctx, appendCommands(nil, "stats-job", ids), len(ids))
		if err != nil {
			return nil, err
		}
		for _, reply := range replies {
			switch reply.Word {
			case wire.OK:
			case wire.NotFound:
				bodies[place] = nil
			default:
				return nil, s.refused(reply)
			}
			place++
		}
	}
	return bodies, nil
}

// maxBodies is how many bytes of bodies are asked for in one request, about.
const maxBodies = 4 << 20

// remove deletes jobs and reports for each whether it was there.
func (s *server) remove(ctx context.Context, ids []uint64) (deleted []bool, err error) {
	conn, err := s.conn(ctx)
	if err != nil {
		return nil, err
	}
	return s.removeOver(ctx, conn, ids)
}

func (s *server) removeOver(ctx context.Context, conn *wire.Conn, ids []uint64) (deleted []bool, err error) {
	for ids := range slices.Chunk(ids, walkPart) {
		if err := s.backend.usable(ctx); err != nil {
			return deleted, err
		}
		replies, err := conn.Do(ctx, appendCommands(nil, "delete", ids), len(ids))
		err = s.explain(ctx, err)
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
