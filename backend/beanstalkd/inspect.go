package beanstalkd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// onEach runs f for every server, at the same time, and returns their errors.
func (b *Backend) onEach(f func(i int, s *server) error) []error {
	errs := make([]error, len(b.servers))
	var all sync.WaitGroup
	for i, s := range b.servers {
		all.Go(func() { errs[i] = f(i, s) })
	}
	all.Wait()
	return errs
}

// onAll is onEach for a call that fails when a server does. The others have
// then done their part nevertheless.
func (b *Backend) onAll(ctx context.Context, f func(i int, s *server) error) error {
	err := errors.Join(b.onEach(f)...)
	if err == nil {
		return nil
	}
	if over := b.usable(ctx); over != nil {
		return over // once, and not for each server
	}
	return err
}

// change is onAll for a call that changes something. What has had an effect is
// not unavailable.
func (b *Backend) change(ctx context.Context, f func(i int, s *server) (acted bool, err error)) error {
	var acted atomic.Bool
	err := b.onAll(ctx, func(i int, s *server) error {
		did, err := f(i, s)
		if did || err == nil {
			acted.Store(true)
		}
		return err
	})
	if errors.Is(err, backend.ErrUnavailable) && acted.Load() {
		return fmt.Errorf("done in part: %v", err)
	}
	return err
}

// Queues returns the names of the tubes of all servers, but for those that the
// driver keeps for itself and those that cannot name a queue.
func (b *Backend) Queues(ctx context.Context) ([]string, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	tubes := make([][]string, len(b.servers))
	err := b.onAll(ctx, func(i int, s *server) (err error) {
		tubes[i], err = s.queues(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	names := slices.Concat(tubes...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (s *server) queues(ctx context.Context) ([]string, error) {
	body, err := s.question(ctx, "list-tubes\r\n")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range bytes.Lines(body) {
		if name, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("- ")); ok {
			names = append(names, string(name))
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return checkQueue(name) != nil })
	// Every connection begins with the tube default, so that it always is there.
	if i := slices.Index(names, "default"); i >= 0 {
		stats, err := s.tubeStats(ctx, "default")
		if err != nil {
			return nil, err
		}
		if stats.all() == 0 && stats.total == 0 {
			names = slices.Delete(names, i, i+1)
		}
	}
	return names, nil
}

// question returns what the server replies to a command that asks for a text.
func (s *server) question(ctx context.Context, command string) ([]byte, error) {
	replies, err := s.look(ctx, []byte(command), 1)
	if err != nil {
		return nil, err
	}
	if replies[0].Word != wire.OK {
		return nil, s.refused(replies[0])
	}
	return replies[0].Body, nil
}

// stats returns what the server tells of itself.
func (s *server) stats(ctx context.Context) (map[string]string, error) {
	body, err := s.question(ctx, "stats\r\n")
	if err != nil {
		return nil, err
	}
	stats := make(map[string]string)
	for name, value := range members(body) {
		stats[string(name)] = string(value)
	}
	return stats, nil
}

// tubeStats returns what the server tells of a tube. One that does not exist is
// empty.
func (s *server) tubeStats(ctx context.Context, tube string) (stats tubeStats, err error) {
	replies, err := s.look(ctx, appendTube(nil, "stats-tube", tube), 1)
	if err != nil {
		return stats, err
	}
	return s.tubeOf(replies[0])
}

// tubeOf reads the reply to a stats-tube.
func (s *server) tubeOf(reply wire.Reply) (tubeStats, error) {
	switch reply.Word {
	case wire.OK:
		return parseTubeStats(reply.Body), nil
	case wire.NotFound:
		return tubeStats{}, nil
	}
	return tubeStats{}, s.refused(reply)
}

// Stats counts. It fails when a server cannot be reached, since a sum without
// its jobs would be wrong.
func (b *Backend) Stats(ctx context.Context, queue string) (backend.Stats, error) {
	sum := backend.Stats{Queue: queue}
	if err := checkQueue(queue); err != nil {
		return sum, err
	}
	if err := b.usable(ctx); err != nil {
		return sum, err
	}
	stats, markers := make([]tubeStats, len(b.servers)), make([]tubeStats, len(b.servers))
	err := b.onAll(ctx, func(i int, s *server) (err error) {
		if stats[i], err = s.tubeStats(ctx, queue); err != nil {
			return err
		}
		markers[i], err = s.tubeStats(ctx, markerTube(queue))
		return err
	})
	if err != nil {
		return sum, err
	}
	for i, s := range stats {
		sum.Ready += int64(s.jobs[backend.Ready])
		sum.Scheduled += int64(s.jobs[backend.Scheduled])
		sum.Reserved += int64(s.jobs[backend.Reserved])
		sum.Dead += int64(s.jobs[backend.Dead])
		sum.Paused = sum.Paused || s.paused || markers[i].all() > 0
	}
	return sum, nil
}
