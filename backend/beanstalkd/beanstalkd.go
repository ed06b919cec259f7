// Package beanstalkd is the driver for beanstalkd 1.12 and later. A queue is a
// tube: other producers and workers share it, in any language.
//
// It registers the scheme
//
//	beanstalkd://host[:11300][,host2:11300…]
//
// with these parameters, of which none is required:
//
//	lease=30s     the TTR of the jobs that are pushed, in whole seconds. It is the
//	              lease of a worker that is given no other, and the shortest
//	timeout=3s    of connecting, and of the reply to a command
//
// # What is stored
//
// The body of a job is the envelope of package backend, with one member more:
//
//	{"job":"send_email","data":{…},"id":"…","attempt":1,…,"gofer":{"ttr":30}}
//
// A producer in another language needs job and data only:
//
//	$pheanstalk->put('{"job":"send_email","data":{"to":"a@b.c"}}');
//
// Such a job gets an ID that is made of its server and number, its attempts are
// counted from 1, and its TTR may be what it likes: it is touched for as long as
// its handler runs. Bodies that are no envelope are buried as they are.
//
// # What a broker of the line does here
//
//   - Priority p is beanstalkd's 1024 - p: 0 is its usual 1024, and a larger one
//     goes first. Among equals the older job does, by the number that beanstalkd
//     gave it.
//   - Delays are rounded up to the second, and end at 136 years.
//   - A lease that is longer than the TTR is kept by touches and ends when it
//     should. A shorter one is not possible: see parameter lease.
//   - beanstalkd does not tell a holder whose TTR is over from one who holds: the
//     driver does, by its own clock. A lost connection loses its jobs at once, and
//     tells their handlers.
//   - A retry changes the body, which beanstalkd cannot: the new job is stored
//     first and the old one deleted then. A crash in between leaves both. So it is
//     with Bury, where the copy that was left is buried when a worker comes upon
//     it.
//   - The dead set are the buried jobs, their failure in the member gofer of the
//     body, or on a line before a malformed one. Kicked by any client they start
//     anew, but for a job so large that it has no room for that member.
//   - Push waits for the server's word, and has no way to ask again: when that is
//     lost it returns an error which leaves open whether the job was stored.
//   - Pause is beanstalkd's pause-tube, which forgets: a job in the tube
//     gofer.paused.NAME, which nobody takes, has workers pause it again.
//   - beanstalkd can show the first job of a tube only. Peek, Remove and Purge walk
//     over the numbers of all jobs, from that one on, at some 200,000 a second. A
//     server in drain mode does not tell its newest number, and so cannot be
//     listed.
//   - A worker that is stopped, but whose connection is up, may keep its jobs for
//     longer than their TTR: beanstalkd 1.12 forgets that time when other
//     connections are used. A live worker sees to it that its jobs go back.
//   - beanstalkd 1.12 can lose a job when it is killed while it compacts its binlog,
//     also with -f0. No client can prevent that.
//   - A process that dies may be handed a job in that moment, by the connection on
//     which it waits, when another one of its connections has ended before. It
//     counts as handed out, so that one which kills its workers may be buried
//     after the second of them.
//   - A restart of the server forgets how often a job was handed out: attempts that
//     its worker did not live to tell of then do not count.
//
// Tubes whose names begin with "gofer." are this driver's own.
//
// # Several servers
//
// Jobs are spread over the servers, and each lives on one of them. Workers take
// from all. One that is down keeps its share until it is back; the others go on,
// and are given what would have been its jobs. Order holds for each server by
// itself.
package beanstalkd

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/losses"
)

// Backend is a connection to one or more servers. It implements backend.Backend
// and the optional interfaces listed below. It is safe for concurrent use.
type Backend struct {
	settings settings
	maxBody  int
	servers  []*server
	turn     atomic.Uint32 // of the servers
	keeper   keeper
	losses   losses.Listeners

	life context.Context // ends with Close
	die  context.CancelFunc

	mu      sync.Mutex     // held while one more of calls begins: none does once Close waits
	calls   sync.WaitGroup // in progress
	closing sync.Once
}

var _ interface {
	backend.Backend
	backend.Extender
	backend.LossNotifier
	backend.Limiter
	backend.Inspector
	backend.Lister
	backend.DeadSet
	backend.Remover
	backend.Purger
	backend.Pauser
	backend.Checker
} = (*Backend)(nil)

// settings are what the parameters of a URL set.
type settings struct {
	timeout time.Duration // of a connection and of a reply
	lease   time.Duration // the TTR of what is pushed, in whole seconds
}

// ttr is the lease as commands have it.
func (s settings) ttr() int { return int(seconds(s.lease)) }

// Limits returns what the servers can hold and do. The size of a body is two
// bytes less than the server says (its option -z): larger ones it takes, and
// then cannot read its binlog any more.
func (b *Backend) Limits() backend.Limits {
	return backend.Limits{
		MaxBody:      b.maxBody,
		MaxDelay:     maxSeconds * time.Second,
		MinLease:     b.settings.lease,
		MaxLease:     maxSeconds * time.Second,
		DefaultLease: b.settings.lease,
		MinPriority:  max(defaultPriority-maxSeconds, math.MinInt),
		MaxPriority:  defaultPriority,
	}
}

func (b *Backend) checkLease(lease time.Duration) error {
	switch limits := b.Limits(); {
	case lease <= 0:
		return fmt.Errorf("%w: lease of %v", backend.ErrInvalid, lease)
	case lease < limits.MinLease || lease > limits.MaxLease:
		return fmt.Errorf("%w: lease of %v; it can be from %v, the parameter lease of the URL, to %v", backend.ErrUnsupported, lease, limits.MinLease, limits.MaxLease)
	}
	return nil
}

// usable returns why the backend cannot be used with ctx, if it cannot.
func (b *Backend) usable(ctx context.Context) error {
	if b.life.Err() != nil {
		return backend.ErrClosed
	}
	return ctx.Err()
}

// begin notes that a call is made, unless it is too late for it. The caller
// calls calls.Done.
func (b *Backend) begin(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.usable(ctx); err != nil {
		return err
	}
	b.calls.Add(1)
	return nil
}

// pause waits for d, or until ctx ends or the backend is closed.
func (b *Backend) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-b.life.Done():
	}
}

// Close ends every call in progress and the connections; see [backend.Backend].
// Jobs that are on loan come back at once.
func (b *Backend) Close() error {
	b.closing.Do(func() {
		b.mu.Lock()
		b.die()
		b.mu.Unlock()
		ended := make(chan struct{})
		go func() {
			b.calls.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(maxGoodbye + maxGoodbye/4):
		}
		b.keeper.close()
		for _, s := range b.servers {
			s.close()
		}
	})
	return nil
}
