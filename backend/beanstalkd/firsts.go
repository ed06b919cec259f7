package beanstalkd

import (
	"context"
	"math"
	"time"

	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// firsts tells which jobs are surely handed out for the first time, so that the
// server need not be asked about each one: that would cost a quarter of what
// reserving and deleting a job does.
//
// A job is handed out again after its TTR or its connection has ended, and the
// server counts both. While its counts stand still, all jobs that were put since
// they were looked at are new. Their numbers are above that of a job which is
// put for this and deleted again.
type firsts struct {
	seen    counts
	above   uint64 // jobs with larger numbers are new; math.MaxUint64 when that is not known
	probing bool
	failed  time.Time // when a probe was last: a server in drain mode takes none
}

// counts are what a server has counted since it was started.
type counts struct {
	server   string // a name that it has until it is restarted
	closed   uint64 // connections that have ended
	timeouts uint64 // jobs whose TTR was over
}

// observe looks at the reply to a stats that was made after jobs were reserved.
// Those with numbers above the one that it returns are new.
func (s *server) observe(reply wire.Reply) (above uint64) {
	if reply.Word != wire.OK {
		return math.MaxUint64
	}
	now := parseCounts(reply.Body)
	f := &s.firsts
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.seen != now {
		f.seen, f.above = now, math.MaxUint64
		return math.MaxUint64
	}
	// Where other clients come and go all the time no probe is made.
	if f.above == math.MaxUint64 && !f.probing && time.Since(f.failed) > 10*time.Second {
		f.probing = true
		go s.probeFirsts(now)
	}
	return f.above
}

// probeFirsts finds out which jobs are put from now on.
func (s *server) probeFirsts(seen counts) {
	ctx, cancel := context.WithTimeout(s.backend.life, s.backend.settings.timeout)
	defer cancel()
	newest, err := s.newest(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.firsts.probing = false
	switch {
	case err != nil:
		s.firsts.failed = time.Now()
	case s.firsts.seen == seen:
		s.firsts.above = newest
	}
}
