package queue

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/status"
)

// Request is a job of EnqueueMany.
type Request struct {
	Kind    string
	Args    any
	Options []Option
}

// Enqueue adds a job and returns its ID once the broker has it, as durably as
// the broker keeps anything. Enqueues of many goroutines share round trips.
//
// args becomes JSON. They must not be nil, and when the kind is registered in
// this process they must be of its type, or a pointer to it, or [Raw].
//
// Errors tell whether the job can have been stored: it was not with
// [ErrInvalid], [ErrInvalidArgs], [ErrTooLarge], [ErrUnsupported],
// [ErrUnavailable], [ErrNoStore], [ErrDuplicate], [ErrVetoed] and [ErrClosed];
// any other, such as that of ctx, leaves it open. The ID is then returned beside
// it: on a broker with the limit UniqueIDs the same Enqueue with ID(id) stores
// no second job.
func (q *Queue) Enqueue(ctx context.Context, kind string, args any, options ...Option) (id string, err error) {
	return q.enqueue(ctx, kind, args, q.defaultsOf(kind), options)
}

// EnqueueMany adds jobs in one batch and returns their IDs in order. If one of
// them is invalid none is stored. If the broker, a Unique or a hook refuses
// some, the error is a [*BatchError] that says which, and what each of its
// errors means is as with Enqueue; the others are stored.
func (q *Queue) EnqueueMany(ctx context.Context, jobs ...Request) ([]string, error) {
	return q.enqueueMany(ctx, len(jobs), func(i int) (string, any, jobOptions, []Option) {
		return jobs[i].Kind, jobs[i].Args, q.defaultsOf(jobs[i].Kind), jobs[i].Options
	})
}

func (q *Queue) defaultsOf(kind string) jobOptions {
	if r := q.mux.lookup(kind); r != nil {
		return r.defaults
	}
	return jobOptions{}
}

func (q *Queue) enqueue(ctx context.Context, kind string, args any, defaults jobOptions, options []Option) (string, error) {
	var alone struct { // one allocation for both
		message backend.Message
		list    [1]*backend.Message
	}
	m, one := &alone.message, alone.list[:]
	one[0] = m
	named, err := q.fill(m, kind, args, defaults, options)
	if err != nil {
		return "", err
	}
	if q.plain(one) {
		err := backend.ErrorAt(q.pusher.push(ctx, one), 0)
		if notStored(err) {
			return "", err
		}
		return m.ID, err
	}
	ids, err := q.push(ctx, one, []bool{named})
	return ids[0], backend.ErrorAt(err, 0)
}

func (q *Queue) enqueueMany(ctx context.Context, n int, job func(i int) (string, any, jobOptions, []Option)) ([]string, error) {
	if n == 0 {
		return nil, ctx.Err()
	}
	messages, named := make([]*backend.Message, n), make([]bool, n)
	ids := make(map[string]bool)
	for i := range messages {
		m := new(backend.Message)
		kind, args, defaults, options := job(i)
		var err error
		named[i], err = q.fill(m, kind, args, defaults, options)
		if err == nil && named[i] && ids[m.ID] {
			err = fmt.Errorf("%w: ID %q stands twice", ErrInvalid, m.ID)
		}
		if err != nil {
			return nil, fmt.Errorf("job %d of %d: %w", i+1, n, err)
		}
		if messages[i] = m; named[i] {
			ids[m.ID] = true
		}
	}
	return q.push(ctx, messages, named)
}

// fill checks a job and gives it the form in which the broker gets it. It
// reports whether the ID is one that the caller has chosen.
func (q *Queue) fill(m *backend.Message, kind string, args any, o jobOptions, options []Option) (named bool, err error) {
	if q.closed.Load() {
		return false, ErrClosed
	}
	if err := checkKind(kind); err != nil {
		return false, err
	}
	if len(options) > 0 {
		o = with(o, options)
		if o.err != nil {
			return false, fmt.Errorf("kind %s: %w", kind, o.err)
		}
	}
	data, err := q.encodeArgs(kind, args)
	if err != nil {
		return false, err
	}
	*m = backend.Message{
		ID:          o.id,
		Kind:        kind,
		Queue:       o.queue,
		Args:        data,
		MaxAttempts: o.maxAttempts,
		Priority:    o.priority,
		EnqueuedAt:  time.Now().UTC().Round(0),
		Header:      o.header,
		Delay:       o.delay,
	}
	if m.ID == "" {
		m.ID = newID()
	}
	if m.Queue == "" {
		m.Queue = DefaultQueue
	}
	if !o.at.IsZero() {
		m.Delay = max(o.at.Sub(m.EnqueuedAt), 0)
	}
	err = q.setExtra(m, &o)
	if err == nil {
		err = q.checkLimits(m)
	}
	if err != nil {
		return false, fmt.Errorf("kind %s: %w", kind, err)
	}
	return o.id != "", nil
}

// with returns o with the options of one Enqueue on top. A policy or a timeout
// among these travels with the job; those of a registration are looked up
// where it runs.
func with(o jobOptions, options []Option) jobOptions {
	o.retry = nil
	if !o.timeoutTravels {
		o.timeout = 0
	}
	o.apply(options)
	if o.retry != nil || o.timeout != 0 {
		o.travel()
	}
	return o
}

func (q *Queue) encodeArgs(kind string, args any) (Raw, error) {
	if isNil(args) && (args == nil || reflect.TypeOf(args).Kind() == reflect.Pointer) {
		return nil, fmt.Errorf("%w: kind %s: args are nil; use struct{}{} for a job without any", ErrInvalidArgs, kind)
	}
	if raw, ok := args.(Raw); ok {
		// The envelope is the judge, on any broker: of JSON, UTF-8 and depth.
		if _, err := backend.AppendEnvelope(nil, &backend.Message{Kind: kind, Args: raw}); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalidArgs, err)
		}
		return slices.Clone(raw), nil // the caller may use raw again
	}
	if r := q.mux.lookup(kind); r != nil {
		t := reflect.TypeOf(args)
		if !t.AssignableTo(r.argsType) && !(t.Kind() == reflect.Pointer && t.Elem() == r.argsType) {
			return nil, fmt.Errorf("%w: kind %s is registered for %v, not %v", ErrInvalidArgs, kind, r.argsType, t)
		}
	}
	data, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("%w: kind %s: %w", ErrInvalidArgs, kind, err)
	}
	return data, nil
}

func (q *Queue) checkLimits(m *backend.Message) error {
	l := &q.limits
	switch {
	case len(m.Args) > l.MaxBody:
		return fmt.Errorf("%w: args of %d bytes, at most %d are allowed", ErrTooLarge, len(m.Args), l.MaxBody)
	case l.MaxDelay > 0 && m.Delay > l.MaxDelay:
		return fmt.Errorf("%w: delay of %v, at most %v is possible", ErrUnsupported, m.Delay, l.MaxDelay)
	case m.Priority != 0 && l.MinPriority == 0 && l.MaxPriority == 0:
		return fmt.Errorf("%w: priority %d: this broker has none; use a queue of its own for urgent jobs, and Queues in that order", ErrUnsupported, m.Priority)
	case m.Priority < l.MinPriority || m.Priority > l.MaxPriority:
		return fmt.Errorf("%w: priority %d is not between %d and %d", ErrUnsupported, m.Priority, l.MinPriority, l.MaxPriority)
	}
	return nil
}

// Fields of the message that the queue itself reads, in every process.
const (
	extraRetry    = "retry"    // text form of a retry.Backoff
	extraTimeout  = "timeout"  // of an attempt, as time.ParseDuration reads it
	extraTrack    = "track"    // true
	extraUnique   = "unique"   // the uniqueLock that the job holds
	extraPostpone = "postpone" // how often the kind was unknown
	extraError    = "error"    // {"bury":true}: a failed attempt is the last
)

func (q *Queue) setExtra(m *backend.Message, o *jobOptions) error {
	if o.retryText == "" && !o.timeoutTravels && !o.track && o.unique == 0 {
		return nil
	}
	m.Extra = make(map[string]json.RawMessage)
	if o.retryText != "" {
		m.Extra[extraRetry] = json.RawMessage(strconv.Quote(o.retryText))
	}
	if o.timeoutTravels {
		m.Extra[extraTimeout] = json.RawMessage(strconv.Quote(o.timeout.String()))
	}
	if o.track {
		if q.tracker == nil {
			return fmt.Errorf("Track: %w", ErrNoStore)
		}
		m.Extra[extraTrack] = json.RawMessage("true")
	}
	if o.unique > 0 {
		if q.store == nil {
			return fmt.Errorf("Unique: %w", ErrNoStore)
		}
		lock, err := json.Marshal(newUniqueLock(m, o))
		if err != nil {
			return err
		}
		m.Extra[extraUnique] = lock
	}
	return nil
}

// newID returns 128 random bits in hexadecimal, the form that the ids of
// php-resque have.
func newID() string {
	var bits [16]byte
	rand.Read(bits[:])
	var text [32]byte
	hex.Encode(text[:], bits[:])
	return string(text[:])
}

// push stores messages, with the hooks, locks and statuses around it. named
// says whose ID the caller has chosen: such a message may be there already. The
// error is a *BatchError.
func (q *Queue) push(ctx context.Context, messages []*backend.Message, named []bool) ([]string, error) {
	ids, errs := make([]string, len(messages)), make([]error, len(messages))
	var made []creation
	for i, m := range messages {
		ids[i] = m.ID
		c := creation{index: i, message: m, named: named[i]}
		if errs[i] = q.hooks.beforeEnqueue(ctx, m); errs[i] != nil {
			ids[i] = ""
			continue
		}
		if ids[i], c.locked, errs[i] = q.lockUnique(ctx, m); errs[i] == nil {
			made = append(made, c)
		}
	}
	q.trackNew(ctx, made)
	passed := make([]*backend.Message, len(made))
	for i, c := range made {
		passed[i] = c.message
	}
	err := q.pusher.push(ctx, passed)
	var undone []creation
	for i, c := range made {
		err := backend.ErrorAt(err, i)
		errs[c.index] = err
		switch {
		case err == nil:
			q.hooks.afterEnqueue(ctx, c.message)
		case notStored(err):
			ids[c.index] = ""
			undone = append(undone, c)
		}
	}
	q.undo(undone)
	return ids, backend.NewBatchError(errs)
}

// creation is a message on its way to the broker, and what was made for it
// before.
type creation struct {
	index   int // in the batch
	message *backend.Message
	named   bool // the ID is the caller's
	locked  bool // its unique lock was taken just now
	tracked bool // its status was written just now
}

// undo takes back what was made for messages that were not stored, within a
// moment: the caller waits.
func (q *Queue) undo(made []creation) {
	if len(made) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	var ids []string
	for _, c := range made {
		if c.locked {
			q.unlockUnique(ctx, c.message)
		}
		if c.tracked {
			ids = append(ids, c.message.ID)
		}
	}
	if len(ids) > 0 {
		q.tracker.Delete(ctx, ids...)
	}
}

// plain reports whether there is nothing to do for messages but to push them.
func (q *Queue) plain(messages []*backend.Message) bool {
	if !q.hooks.aroundEnqueue() {
		return !slices.ContainsFunc(messages, func(m *backend.Message) bool { return m.Extra != nil })
	}
	return false
}

// errNotSent is in the error of an Enqueue whose context ended before the
// broker had heard of it.
var errNotSent = errors.New("queue: not sent")

// notStored reports whether err means that the broker certainly has no such
// message.
func notStored(err error) bool {
	return errors.Is(err, ErrInvalid) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnsupported) ||
		errors.Is(err, ErrUnavailable) || errors.Is(err, ErrClosed) || errors.Is(err, errNotSent)
}

// trackNew writes the first status of the messages that are tracked.
func (q *Queue) trackNew(ctx context.Context, made []creation) {
	var records []status.Record
	for i := range made {
		m := made[i].message
		if m.Extra[extraTrack] == nil || made[i].named && q.isTracked(ctx, m.ID) {
			continue
		}
		made[i].tracked = true
		r := status.Record{
			ID: m.ID, Kind: m.Kind, Queue: m.Queue,
			State:       status.Ready,
			MaxAttempts: m.MaxAttempts,
			CreatedAt:   m.EnqueuedAt,
			UpdatedAt:   m.EnqueuedAt,
		}
		if m.Delay > 0 {
			r.State, r.DueAt = status.Scheduled, m.EnqueuedAt.Add(m.Delay)
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return
	}
	if err := q.tracker.Create(ctx, records...); err != nil {
		q.logger.WarnContext(ctx, "queue: status of new jobs not stored", "jobs", len(records), "error", err)
	}
}

// isTracked reports whether there is a job of this ID that has not ended: the
// Enqueue is one that is sent again, or a mistake, and must not overwrite the
// status.
func (q *Queue) isTracked(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	r, err := q.tracker.Get(ctx, id)
	return err == nil && !r.State.Finished()
}

// jobOf returns the view of a message that hooks and middleware have.
func jobOf(m *backend.Message) Job[Raw] {
	return Job[Raw]{
		ID: m.ID, Kind: m.Kind, Queue: m.Queue,
		Args:        m.Args,
		Attempt:     m.Attempt,
		MaxAttempts: m.MaxAttempts,
		Priority:    m.Priority,
		EnqueuedAt:  m.EnqueuedAt,
		Header:      maps.Clone(m.Header),
	}
}
