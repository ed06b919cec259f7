package beanstalkd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goferhq/queue/backend"
)

// Reserve lends ready jobs; see [backend.Backend]. While there are none it
// waits in the server.
func (b *Backend) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	if err := b.checkReserve(queues, max, lease); err != nil {
		return nil, err
	}
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.calls.Done()
	max = min(max, maxTake)
	for {
		deliveries, err := b.look(ctx, queues, max, lease)
		if len(deliveries) == 0 && err == nil {
			deliveries, err = b.wait(ctx, queues, max, lease)
		}
		if len(deliveries) > 0 {
			if b.life.Err() == nil {
				return deliveries, nil
			}
			b.giveBack(deliveries)
		}
		if err := b.usable(ctx); err != nil {
			return nil, err
		}
		if err != nil {
			return nil, err
		}
	}
}

func (b *Backend) checkReserve(queues []string, max int, lease time.Duration) error {
	if max < 1 {
		return fmt.Errorf("%w: Reserve of at most %d messages", backend.ErrInvalid, max)
	}
	if err := b.checkLease(lease); err != nil {
		return err
	}
	if err := backend.CheckQueues(queues, false); err != nil {
		return err
	}
	for _, queue := range queues {
		if err := checkQueue(queue); err != nil {
			return err
		}
	}
	return nil
}

// look takes what is ready, queue by queue: the server itself would go by
// priority alone. A single queue of a single server needs no look before the
// wait, unless there was plenty of late: the wait takes what is ready too, but
// needs a connection that holds nothing.
func (b *Backend) look(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	if len(queues) == 1 && len(b.servers) == 1 && !b.servers[0].isEager(queues[0]) {
		return nil, nil
	}
	var all []*backend.Delivery
	for i, queue := range queues {
		found, more, err := b.lookAt(ctx, queue, max-len(all), lease)
		all = append(all, found...)
		if more || len(all) == max { // a later queue has to wait
			return all, nil
		}
		if err != nil && i == 0 {
			return all, err
		}
	}
	return all, nil
}

// lookAt takes what is ready in a queue, on as many servers at a time as may give
// a job each.
func (b *Backend) lookAt(ctx context.Context, queue string, max int, lease time.Duration) ([]*backend.Delivery, bool, error) {
	var errs []error
	answered := false
	for servers := range slices.Chunk(b.inTurn(), max) {
		share := (max + len(servers) - 1) / len(servers)
		all, more, err := b.fromEach(ctx, servers, max, laggards, func(ctx context.Context, s *server) ([]*backend.Delivery, bool, error) {
			return s.take(ctx, []string{queue}, share, lease, false)
		})
		if len(all) > 0 {
			return all, more, nil
		}
		if answered = answered || err == nil; err != nil {
			errs = append(errs, err)
		}
	}
	if answered {
		return nil, false, nil
	}
	return nil, false, errors.Join(errs...)
}

// laggards is how long the servers that answer wait for one that does not.
const laggards = 100 * time.Millisecond

// wait waits for jobs of any of the queues, which were found empty.
func (b *Backend) wait(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	deliveries, _, err := b.fromEach(ctx, b.servers, max, 0, func(ctx context.Context, s *server) ([]*backend.Delivery, bool, error) {
		if len(b.servers) == 1 {
			return s.take(ctx, queues, max, lease, true)
		}
		return s.takeWhenUp(ctx, queues, max, lease)
	})
	return deliveries, err
}

// fromEach takes up to max jobs from servers, all at the same time. Once one has
// answered, the others may do so for as long as patience. It returns more when
// one of them has, and an error when all have failed.
func (b *Backend) fromEach(ctx context.Context, servers []*server, max int, patience time.Duration,
	take func(ctx context.Context, s *server) ([]*backend.Delivery, bool, error)) (all []*backend.Delivery, more bool, err error) {
	if len(servers) == 1 {
		return take(ctx, servers[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		taken []*backend.Delivery
		more  bool
		err   error
	}
	results := make(chan result)
	for _, s := range servers {
		go func() {
			taken, more, err := take(ctx, s)
			results <- result{taken, more, err}
		}()
	}
	var errs []error
	answered := false
	for range servers {
		r := <-results
		all, more = append(all, r.taken...), more || r.more
		switch {
		case r.err != nil:
			errs = append(errs, r.err)
		case !answered:
			answered = true
			defer time.AfterFunc(patience, cancel).Stop()
		}
	}
	if len(all) > max {
		b.giveBack(all[max:])
		all = all[:max]
	}
	if !answered && len(all) == 0 {
		err = errors.Join(errs...)
	}
	return all, more, err
}

// takeWhenUp is take that does not fail while the server is down, so that the
// others are waited for and this one is noticed when it is back.
func (s *server) takeWhenUp(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, bool, error) {
	for {
		deliveries, more, err := s.take(ctx, queues, max, lease, true)
		if err == nil || s.backend.usable(ctx) != nil || !slices.ContainsFunc(s.backend.servers, (*server).isUp) {
			return deliveries, more, err
		}
		s.backend.pause(ctx, retryPause)
	}
}

// retryPause is how long a server that is down is left alone while others work.
const retryPause = time.Second

// pace is how many jobs a queue is asked for. One that is asked for and not
// there costs a reply that the others wait for, so that the pace follows what
// there was of late.
type pace struct {
	n    int
	more bool // there was no less
}

// firstPace is how many jobs a queue is asked for first.
const firstPace = 16

func (s *server) pace(queue string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, known := s.paces[queue]; known {
		return p.n
	}
	return firstPace
}

// setPace notes what a request has got, and how long that took to come. The
// leases of its jobs run meanwhile: of large jobs over a slow network no more is
// asked for than comes in a tenth of that.
func (s *server) setPace(queue string, asked, got int, took time.Duration) {
	p := pace{max(got, 1), false}
	if asked == got {
		p = pace{min(2*asked, maxTake), true}
	}
	if most := s.backend.settings.lease / 10; took > most {
		p.n = max(1, min(p.n, int(int64(got)*int64(most)/int64(took))))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paces == nil {
		s.paces = make(map[string]pace)
	}
	if s.paces[queue] != p {
		s.paces[queue] = p
	}
}

// isEager reports whether the last request got all that it asked for.
func (s *server) isEager(queue string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paces[queue].more
}
