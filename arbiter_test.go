package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

// arbiter stands at the broker of a simulation, where every call of every
// process passes, keeps a model of what the broker must do, and notes where
// one of them breaks the rules.
type arbiter struct {
	mu         sync.Mutex
	base       time.Time                // tick 0 of the broker
	fates      map[string]*fate         // by the ID of the job; guarded by mu
	outcomes   map[string]queue.Verdict // of handlers that returned, by run; guarded by mu
	inside     map[string]bool          // jobs that run, by process and ID; guarded by mu
	violations []string                 // guarded by mu
}

// fate is what the model knows of a job.
type fate struct {
	state      fateState
	message    backend.Message // as it was pushed
	attempt    int             // begun so far
	deliveries int             // without a settle
	holder     any             // receipt of the latest loan
	until      time.Time       // when that ends
	due        time.Time
}

type fateState string

const (
	fateWaiting  fateState = "waiting"
	fateReserved fateState = "reserved"
	fateDone     fateState = "done"
	fateDead     fateState = "dead"
)

func newArbiter() *arbiter {
	return &arbiter{
		base:     time.Now(),
		fates:    make(map[string]*fate),
		outcomes: make(map[string]queue.Verdict),
		inside:   make(map[string]bool),
	}
}

// violate notes a broken rule. The caller holds mu.
func (a *arbiter) violate(format string, args ...any) {
	a.violations = append(a.violations, fmt.Sprintf("after %v: ", time.Since(a.base))+fmt.Sprintf(format, args...))
}

// after returns when d is over by the broker's clock, which has milliseconds.
func (a *arbiter) after(d time.Duration) time.Time {
	if d == 0 {
		return time.Now()
	}
	d += time.Since(a.base)
	return a.base.Add((d + time.Millisecond - 1).Truncate(time.Millisecond))
}

// holds reports whether d is the loan that the broker must honour.
func (f *fate) holds(d *backend.Delivery) bool {
	return f.state == fateReserved && f.holder == d.Receipt && time.Now().Before(f.until)
}

func (a *arbiter) pushed(ms []*backend.Message) {
	for _, m := range ms {
		a.fates[m.ID] = &fate{state: fateWaiting, message: *m, due: a.after(m.Delay)}
	}
}

// reserved checks what the broker has handed out.
func (a *arbiter) reserved(ds []*backend.Delivery, lease time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for _, d := range ds {
		f := a.fates[d.ID]
		switch {
		case f == nil:
			a.violate("job %s was delivered and never pushed", d.ID)
			continue
		case f.state == fateDone || f.state == fateDead:
			a.violate("job %s was delivered after it was %s", d.ID, f.state)
		case f.state == fateReserved && now.Before(f.until):
			a.violate("job %s was delivered while its lease ran", d.ID)
		case f.state == fateWaiting && now.Before(f.due):
			a.violate("job %s was delivered %v early", d.ID, f.due.Sub(now))
		case f.state == fateWaiting && f.holder == d.Receipt:
			a.violate("job %s was delivered twice with one receipt", d.ID)
		}
		f.attempt++
		f.deliveries++
		if d.Attempt != f.attempt || d.Deliveries != f.deliveries {
			a.violate("job %s: delivered as attempt %d, delivery %d; it is attempt %d, delivery %d",
				d.ID, d.Attempt, d.Deliveries, f.attempt, f.deliveries)
			f.attempt, f.deliveries = d.Attempt, d.Deliveries
		}
		if string(d.Args) != string(f.message.Args) || d.Kind != f.message.Kind || d.Header["n"] != f.message.Header["n"] {
			a.violate("job %s was changed: %+v", d.ID, d.Message)
		}
		f.state, f.holder, f.until = fateReserved, d.Receipt, a.after(lease)
	}
}

// extended checks the reply to an Extend.
func (a *arbiter) extended(ds []*backend.Delivery, lease time.Duration, err error, healthy bool) {
	for i, d := range ds {
		f := a.fates[d.ID]
		if a.judge("extend", f, d, backend.ErrorAt(err, i), healthy) {
			f.until = a.after(lease)
		}
	}
}

// judge checks whether the broker was right to grant or to refuse something
// for d, and reports whether it granted it. A process that was healthy all
// along loses no lease.
func (a *arbiter) judge(verb string, f *fate, d *backend.Delivery, err error, healthy bool) (granted bool) {
	switch {
	case f == nil:
		a.violate("%s of job %s, which nobody pushed", verb, d.ID)
		return false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false // the call came too late to have been made
	case err == nil && !f.holds(d):
		a.violate("a stale %s of job %s was accepted; it is %s", verb, d.ID, f.state)
	case err != nil && f.holds(d):
		a.violate("the %s of job %s was refused while its lease ran: %v", verb, d.ID, err)
	case err != nil && !errors.Is(err, queue.ErrLeaseLost):
		a.violate("the stale %s of job %s was refused with %v", verb, d.ID, err)
	case err != nil && verb != "extend" && healthy:
		a.violate("a healthy process lost the lease of job %s", d.ID)
	}
	return err == nil
}

// settled checks a settlement: that it is the broker's to grant, and that it
// is what the handler said.
func (a *arbiter) settled(p *process, verb string, d *backend.Delivery, m *backend.Message, delay time.Duration, failure string, err error) {
	f := a.fates[d.ID]
	if !a.judge(verb, f, d, err, p.healthy) {
		return
	}
	verdict, ran := a.outcomes[p.run(d)]
	known := p.knows(d.Kind)
	wrong := ""
	switch verb {
	case "ack":
		f.state = fateDone
		if !ran || verdict != queue.Done && verdict != queue.Cancelled {
			wrong = "was not done"
		}
	case "retry":
		f.state, f.deliveries, f.due = fateWaiting, 0, a.after(delay)
		f.attempt = m.Attempt
		switch {
		case !known && m.Attempt != d.Attempt-1:
			wrong = fmt.Sprintf("is unknown and has spent %d attempts", m.Attempt)
		case known && m.Attempt != d.Attempt:
			wrong = fmt.Sprintf("has spent %d attempts by its retry", m.Attempt)
		case known && (!ran || verdict != queue.Retried):
			wrong = "did not fail"
		}
	case "release":
		f.state, f.due = fateWaiting, a.after(delay)
		f.attempt--
		f.deliveries--
		if ran && verdict != queue.Released && !p.stopping.Load() {
			wrong = "did not snooze"
		}
	case "bury":
		f.state = fateDead
		legitimate := ran && verdict == queue.Buried ||
			ran && verdict == queue.Retried && d.Attempt >= f.message.MaxAttempts ||
			strings.Contains(failure, queue.ErrCrashLoop.Error()) && d.Deliveries > 3 ||
			strings.Contains(failure, queue.ErrAttemptsExhausted.Error()) && d.Attempt > f.message.MaxAttempts ||
			strings.Contains(failure, queue.ErrUnknownKind.Error()) && !known
		if !legitimate {
			wrong = "had no reason: " + failure
		}
	}
	if wrong != "" {
		a.violate("the %s of job %s, attempt %d in process %d: it %s (verdict %v, ran %v)", verb, d.ID, d.Attempt, p.number, wrong, verdict, ran)
	}
}

// begin and end frame the run of a handler.
func (a *arbiter) begin(p *process, id string, attempt int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := fmt.Sprint(p.number, " ", id)
	if a.inside[key] {
		a.violate("job %s runs twice at once in process %d", id, p.number)
	}
	a.inside[key] = true
	f := a.fates[id]
	if f.attempt < attempt {
		a.violate("job %s runs as attempt %d and the broker counts %d", id, attempt, f.attempt)
	}
	if attempt > f.message.MaxAttempts {
		a.violate("job %s runs as attempt %d of %d", id, attempt, f.message.MaxAttempts)
	}
}

func (a *arbiter) end(p *process, id string, attempt int, verdict queue.Verdict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.inside, fmt.Sprint(p.number, " ", id))
	a.outcomes[runKey(p, id, attempt)] = verdict
}

// unfinished returns the jobs that are neither done nor dead.
func (a *arbiter) unfinished() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []string
	for id, f := range a.fates {
		if f.state != fateDone && f.state != fateDead {
			ids = append(ids, fmt.Sprintf("%s (%s, kind %s, attempt %d)", id, f.state, f.message.Kind, f.attempt))
		}
	}
	slices.Sort(ids)
	return ids
}

// link is the connection of a process to the broker, by way of the arbiter
// and of whatever goes wrong on a network.
type link struct {
	*memory.Backend
	arbiter *arbiter
	process *process
	flaw    flaw
}

func (l *link) Push(ctx context.Context, ms []*backend.Message) error {
	return l.process.net(ctx, "push", func() error {
		l.arbiter.mu.Lock()
		defer l.arbiter.mu.Unlock()
		l.arbiter.pushed(ms)
		return l.Backend.Push(ctx, ms)
	})
}

func (l *link) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) (ds []*backend.Delivery, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.process.alive, cancel)() // a dead process waits no more
	err = l.process.net(ctx, "reserve", func() error {
		ds, err = l.flaw.reserve(l.Backend, ctx, queues, max, lease)
		l.arbiter.reserved(ds, lease)
		return err
	})
	if err != nil {
		return nil, err // what was handed out is lost on the way
	}
	return ds, nil
}

func (l *link) Extend(ctx context.Context, ds []*backend.Delivery, lease time.Duration) error {
	return l.process.net(ctx, "extend", func() error {
		l.arbiter.mu.Lock()
		defer l.arbiter.mu.Unlock()
		err := l.flaw.extend(l.Backend, ctx, ds, lease)
		l.arbiter.extended(ds, lease, err, l.process.healthy)
		return err
	})
}

// settle makes a call and lets the arbiter look at each item of it.
func (l *link) settle(ctx context.Context, verb string, n int, call func() error, judge func(i int, err error)) error {
	return l.process.net(ctx, verb, func() error {
		l.arbiter.mu.Lock()
		defer l.arbiter.mu.Unlock()
		err := call()
		for i := range n {
			judge(i, backend.ErrorAt(err, i))
		}
		return err
	})
}

func (l *link) Ack(ctx context.Context, ds []*backend.Delivery) error {
	return l.settle(ctx, "ack", len(ds), func() error { return l.flaw.ack(l.Backend, ctx, ds) }, func(i int, err error) {
		l.arbiter.settled(l.process, "ack", ds[i], nil, 0, "", err)
	})
}

func (l *link) Retry(ctx context.Context, rs []backend.Replacement) error {
	return l.settle(ctx, "retry", len(rs), func() error { return l.flaw.retry(l.Backend, ctx, rs) }, func(i int, err error) {
		l.arbiter.settled(l.process, "retry", rs[i].Delivery, rs[i].Message, rs[i].Message.Delay, "", err)
	})
}

func (l *link) Release(ctx context.Context, ds []*backend.Delivery, delay time.Duration) error {
	return l.settle(ctx, "release", len(ds), func() error { return l.flaw.release(l.Backend, ctx, ds, delay) }, func(i int, err error) {
		l.arbiter.settled(l.process, "release", ds[i], nil, delay, "", err)
	})
}

func (l *link) Bury(ctx context.Context, bs []backend.Burial) error {
	return l.settle(ctx, "bury", len(bs), func() error { return l.Backend.Bury(ctx, bs) }, func(i int, err error) {
		l.arbiter.settled(l.process, "bury", bs[i].Delivery, nil, 0, bs[i].Failure.Error, err)
	})
}
