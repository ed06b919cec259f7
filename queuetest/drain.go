package queuetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// mostAttempts bounds a Drain: a job that enqueues itself again, or that is
// retried without a delay and an end, would keep it for ever.
var mostAttempts = 100_000 // lowered by a test

var errEndless = errors.New("attempts without an end: does a job put itself back, or enqueue itself, without a delay?")

// drain is a call of Drain.
type drain struct {
	report Report // guarded by the Queue's mu
	stop   context.CancelCauseFunc
}

// pass is one Run of a Drain.
type pass struct {
	queues []string      // that exist when it begins
	begun  chan []string // of capacity 1: the queues that it takes jobs from
}

// Drain runs every job that is due, in any queue, until none is left that can
// run now: also those that handlers enqueue, and those that are retried
// without a delay. It returns what came of each attempt. Jobs that are
// scheduled for later stay, those that failed and wait for their retry among
// them, and so do those of a paused queue.
//
// Drain fails the test, and the report is of what was done until then, when
// ctx ends first, after 100,000 attempts, and while Run is in progress. A
// handler must not call it.
func (q *Queue) Drain(ctx context.Context) Report {
	q.t.Helper()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d := &drain{stop: stop}
	if !q.setDrain(nil, d) {
		q.t.Errorf("queuetest: Drain during a Drain")
		return Report{}
	}
	defer q.setDrain(d, nil)

	for {
		queues, due, err := q.due(ctx)
		if err == nil && !due {
			return d.report
		}
		if err == nil {
			err = q.runUntilIdle(ctx, queues)
		}
		if err != nil {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.t.Errorf("queuetest: Drain: %v\nUntil then: %v", err, tail(d.report, 20))
			return d.report
		}
	}
}

// setDrain replaces what is in progress, and reports whether that was old.
func (q *Queue) setDrain(old, d *drain) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.drain != old {
		return false
	}
	q.drain = d
	return true
}

// due returns the queues that exist, and whether any holds a job that can run.
func (q *Queue) due(ctx context.Context) (queues []string, due bool, err error) {
	queues, err = q.broker.Queues(ctx)
	for _, name := range queues {
		stats, err := q.broker.Stats(ctx, name)
		if err != nil {
			return nil, false, err
		}
		due = due || stats.Ready > 0 && !stats.Paused
	}
	return queues, due, err
}

// runUntilIdle does what is due in queues and in those that the Run takes
// jobs from anyway. What handlers enqueue elsewhere is for another pass.
func (q *Queue) runUntilIdle(ctx context.Context, queues []string) error {
	p := &pass{queues: queues, begun: make(chan []string, 1)}
	q.broker.setPass(p)
	defer q.broker.setPass(nil)
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- q.Run(running) }()

	var err error
	select {
	case queues := <-p.begun:
		err = q.broker.Idle(ctx, queues...)
	case err := <-ended:
		return err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	stop()
	return errors.Join(err, <-ended)
}

// Reserve takes jobs from the queues of a Drain too, behind those of its Run.
func (b *broker) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	b.mu.Lock()
	p := b.pass
	b.mu.Unlock()
	if p != nil {
		queues = slices.Clone(queues)
		for _, name := range p.queues {
			if !slices.Contains(queues, name) {
				queues = append(queues, name)
			}
		}
		select {
		case p.begun <- queues:
		default: // told before
		}
	}
	return b.Backend.Reserve(ctx, queues, max, lease)
}

// note is told of every attempt.
func (q *Queue) note(_ context.Context, job *queue.Job[queue.Raw], verdict queue.Verdict, delay time.Duration, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.drain == nil {
		return
	}
	r := &q.drain.report
	r.add(Outcome{
		ID: job.ID, Kind: job.Kind, Queue: job.Queue,
		Args: job.Args, Attempt: job.Attempt,
		Verdict: verdict, Delay: delay, Err: err,
	})
	if len(r.Outcomes) >= mostAttempts {
		q.drain.stop(errEndless)
	}
}
