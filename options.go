package queue

import (
	"fmt"
	"maps"
	"time"
	"unicode/utf8"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

// DefaultQueue is where a job goes that no option sends elsewhere.
const DefaultQueue = "default"

// Option is an option of a job. Given to Register or Define it is the default
// of a kind, given to Enqueue it is of one job and wins. ID is for one job
// only.
type Option func(*jobOptions)

// jobOptions is what Options set. A zero field is not set.
type jobOptions struct {
	queue       string
	delay       time.Duration
	at          time.Time
	maxAttempts int
	retry       retry.Policy
	timeout     time.Duration
	priority    int
	id          string
	unique      time.Duration
	uniqueKey   string
	track       bool
	header      map[string]string

	// retryText and timeoutTravels are set for a policy and a timeout that
	// the message has to carry.
	retryText      string
	timeoutTravels bool

	err error // of the first option that was invalid
}

// apply sets options on top of what is set.
func (o *jobOptions) apply(options []Option) {
	for _, option := range options {
		if option == nil {
			o.fail("nil Option")
			continue
		}
		option(o)
	}
}

func (o *jobOptions) fail(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
}

// travel makes the policy and the timeout part of the message.
func (o *jobOptions) travel() {
	if o.retry != nil {
		policy, ok := o.retry.(retry.Backoff)
		if !ok {
			o.fail("this Retry policy is code and cannot travel with a job; give it to Register, or use one of package retry without If")
			return
		}
		o.retryText = policy.String()
	}
	o.timeoutTravels = o.timeout != 0
}

// On sends the job to a queue other than [DefaultQueue]. As the default of a
// kind it is also where Run looks for jobs; of a queue that only an Enqueue
// names, Run has to be told with Queues.
func On(queue string) Option {
	return func(o *jobOptions) {
		if err := backend.CheckQueueName(queue); err != nil && o.err == nil {
			o.err = err
		}
		o.queue = queue
	}
}

// In holds the job back for delay. A negative delay is [ErrInvalid].
func In(delay time.Duration) Option {
	return func(o *jobOptions) {
		if delay < 0 {
			o.fail("In(%v) is negative", delay)
		}
		o.delay, o.at = delay, time.Time{}
	}
}

// At holds the job back until t. A job whose time has passed runs now.
func At(t time.Time) Option {
	return func(o *jobOptions) { o.delay, o.at = 0, t }
}

// MaxAttempts is how often the handler is tried before the job is buried.
// Without it that of the kind's registration in the process that runs the job
// applies, and without that one [DefaultMaxAttempts].
func MaxAttempts(n int) Option {
	return func(o *jobOptions) {
		if n < 1 || n > maxMaxAttempts {
			o.fail("MaxAttempts(%d) is not between 1 and %d", n, maxMaxAttempts)
		}
		o.maxAttempts = n
	}
}

// maxMaxAttempts is what every envelope can carry.
const maxMaxAttempts = 1_000_000

// Retry is when the job runs again after an attempt that failed. As the
// default of a kind it can be any policy and is asked where the job runs; as
// an option of Enqueue it travels with the job, and so it must be a
// [retry.Backoff]. Without it the policy of the Retries middleware applies.
func Retry(policy retry.Policy) Option {
	return func(o *jobOptions) {
		if policy == nil {
			o.fail("Retry(nil)")
		}
		o.retry = policy
	}
}

// Timeout is how long an attempt may take before its context ends with
// [ErrTimeout]. Without it the default of the Timeouts middleware applies,
// which is no timeout.
func Timeout(d time.Duration) Option {
	return func(o *jobOptions) {
		if d <= 0 {
			o.fail("Timeout(%v) is not positive", d)
		}
		o.timeout = d
	}
}

// Priority makes the job go before those of its queue that have a lower one,
// and behind those that have a higher one. The default is 0. On a broker
// without priorities, or outside of the range that it has, any other is
// [ErrUnsupported]; use several queues there.
func Priority(p int) Option {
	return func(o *jobOptions) { o.priority = p }
}

// ID gives the job an ID instead of a random one, which must be its own: it is
// what Status and removal go by. On a broker with the limit UniqueIDs an
// Enqueue with the ID of a job that is waiting or running is taken for the same
// one sent again: it succeeds and stores nothing, whatever its kind, queue and
// arguments are. Use UniqueBy to be told.
func ID(id string) Option {
	return func(o *jobOptions) {
		if id == "" || len(id) > maxNameLength || !utf8.ValidString(id) {
			o.fail("an ID is 1 to %d bytes of UTF-8", maxNameLength)
		}
		o.id = id
	}
}

// Unique refuses the job with [ErrDuplicate] while one of the same kind, in
// the same queue, with the same arguments is waiting or running. ttl bounds
// how long such a job stands in the way, should it never end; make it longer
// than the job's delay and retries. It needs a store.
func Unique(ttl time.Duration) Option {
	return func(o *jobOptions) {
		if ttl <= 0 || ttl > maxUnique {
			o.fail("Unique(%v) is not between 0 and %v", ttl, maxUnique)
		}
		o.unique, o.uniqueKey = ttl, ""
	}
}

// maxUnique keeps sums of times far from their overflow.
const maxUnique = 100 * 365 * 24 * time.Hour

// UniqueBy is Unique for all jobs with the same key, whatever their kind,
// queue and arguments.
func UniqueBy(key string, ttl time.Duration) Option {
	return func(o *jobOptions) {
		if ttl <= 0 || ttl > maxUnique || key == "" || len(key) > maxNameLength || !utf8.ValidString(key) {
			o.fail("UniqueBy needs a key of 1 to %d bytes of UTF-8 and a positive ttl", maxNameLength)
		}
		o.unique, o.uniqueKey = ttl, key
	}
}

// Track keeps a status of the job, for [Queue.Status] and [Queue.Wait]. It
// needs a store.
func Track() Option {
	return func(o *jobOptions) { o.track = true }
}

// Header adds a field to the metadata of the job.
func Header(name, value string) Option {
	return func(o *jobOptions) {
		if err := checkHeader(map[string]string{name: value}); err != nil && o.err == nil {
			o.err = err
		}
		o.header = maps.Clone(o.header) // it may be the default of a kind
		if o.header == nil {
			o.header = make(map[string]string)
		}
		o.header[name] = value
	}
}

// maxNameLength bounds kinds, IDs and keys, in bytes.
const maxNameLength = 255

func checkKind(kind string) error {
	if kind == "" || len(kind) > maxNameLength || !utf8.ValidString(kind) {
		return fmt.Errorf("%w: a kind is 1 to %d bytes of UTF-8", ErrInvalid, maxNameLength)
	}
	return nil
}

func checkHeader(header map[string]string) error {
	for name, value := range header {
		if name == "" || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return fmt.Errorf("%w: a Header has a name, and both name and value are UTF-8", ErrInvalid)
		}
	}
	return nil
}
