// Package redis is the driver for Redis 6.2 and later, and for Valkey. Its
// queues are Resque's: Ruby and PHP producers and workers share them, and
// resque-web shows them.
//
// It registers the schemes
//
//	redis://[user:password@]host[:port][/database]       also resque://
//	rediss://…                                           the same over TLS
//	redis+unix:///path/to/redis.sock
//	redis+sentinel://host:port,host:port/master[/database]
//	redis+cluster://host:port,host:port
//
// with these parameters, of which none is required:
//
//	namespace=resque        what all keys begin with, and a colon. Ruby and PHP
//	                        must be told the same. On a cluster it must have a
//	                        hash tag, such as {resque}, so that one node has all
//	db=0                    the database, where the path has no room for it
//	pool=n                  connections for commands, 10 for each processor, beside
//	                        at most 16 for pushes
//	lease=30s               the lease of a worker that is given no other
//	delayed=gofer           or resque: new jobs with a delay are written as
//	                        resque-scheduler does, to the second; see ResqueDelayed
//	dial_timeout=3s  read_timeout=3s  write_timeout=3s
//	client_name=            what CLIENT LIST shows
//	allow_eviction=false    open a server that may evict jobs; see Check
//	tls=false               TLS for sentinel and cluster; rediss has it
//	tls_ca=  tls_cert=  tls_key=    PEM files
//	tls_server_name=        what the certificate must be for
//	sentinel_username=  sentinel_password=
//
// # What is stored
//
// A ready job is an item of Resque's list queue:NAME, as any Resque has it,
// with one key more, "go", for what Resque does not know:
//
//	{"class":KIND,"args":[ARGS],"id":"…","prefix":"","queue_time":1795225601.082353123,
//	 "go":{"attempt":1,"max_attempts":5,"headers":{…},…}}
//
// It is left out of a new job without options. The set queues names the queues,
// the list failed is the dead set of all of them, and workers are in Resque's
// keys too (workers, worker:ID, workers:heartbeat, stat:…). Of PHP's keys the
// status of jobs is kept (job:ID:status), of the scheduler's its delayed jobs
// are read. All else is in keys of this library's own, which Resque does not
// look at:
//
//	gofer:running:NAME     hash: token → payload of a job on loan
//	gofer:leases:NAME      sorted set: token by the end of its lease
//	gofer:later:NAME       sorted set: payloads by the time when they are due
//	gofer:due              sorted set: which of the queues has something when
//	gofer:alarm            when the next of it is, and which worker will be there
//	gofer:wake             list: an element in it wakes one worker's clock
//	gofer:lost             sorted set: tokens that were taken from their holders
//	gofer:landing:…        list: a job on its way to a worker that was waiting
//	gofer:push:…           string: the last call of a producer, for an hour
//	gofer:workers, gofer:worker:…, gofer:landings:…, gofer:wake:…   of a worker
//	gofer:paused           set of queues
//	gofer:store:…          the store: status and locks
//
// Reserving, settling and moving are Lua scripts, each over a batch. They go by
// the clock of the server, never look into a payload, and are safe to be sent
// again when their reply was lost.
//
// # Jobs of Ruby and PHP
//
// What Ruby and PHP enqueue runs here: a job without an id is given one, and one
// without "go" is a first attempt with the defaults. A job whose args are a
// list of one element has that as its arguments. A longer list, or an empty
// one, is decoded into a slice, or into the exported fields of a struct by
// their position. A job for a Ruby worker needs a kind that is a Ruby constant
// such as SendEmail; it is given its arguments as one element.
//
// What would bring a Ruby worker down is refused when it is pushed: text with
// half a surrogate pair and numbers that no float64 holds.
//
// A producer adds the queue to the set queues, as Resque's do, and then pushes.
// A worker of all queues finds no queue that is not in the set.
//
// A Ruby or PHP worker pops a job and then runs it: a job that it has taken is
// lost with it. The guarantees of this library are those of its own workers.
package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/store"
	redisstore "github.com/goferhq/queue/store/redis"
)

// DefaultNamespace is Resque's own.
const DefaultNamespace = "resque"

// Backend is a connection to Redis. It implements backend.Backend and every
// optional interface. It is safe for concurrent use.
type Backend struct {
	settings settings
	prefix   string // of all keys
	client   goredis.UniversalClient
	blocking goredis.UniversalClient // for commands that wait
	instance string                  // names this connection among all others
	host     string
	store    *redisstore.Store

	life context.Context // ends with Close
	die  context.CancelFunc

	calls    atomic.Uint64 // numbers tokens and scheduled jobs
	flights  flights
	lanes    lanes
	wires    wires
	waiting  waiting
	clock    clock
	names    names
	worker   worker
	known    sync.Map // queue → time.Time: when it was last added to the set queues
	closing  sync.Once
	closeErr error
}

var _ interface {
	backend.Backend
	backend.Extender
	backend.Limiter
	backend.Inspector
	backend.Lister
	backend.DeadSet
	backend.Remover
	backend.Purger
	backend.Pauser
	backend.StoreProvider
	backend.StatusReader
	backend.Checker
} = (*Backend)(nil)

// settings are what Options and the parameters of a URL set.
type settings struct {
	namespace     string
	lease         time.Duration
	resqueDelayed bool
	allowEviction bool
}

// Option is an option of [New].
type Option func(*settings)

// Namespace is what all keys begin with, and a colon: [DefaultNamespace] if it
// is not given. On a cluster it must have a hash tag.
func Namespace(name string) Option { return func(s *settings) { s.namespace = name } }

// ResqueDelayed makes Push write new jobs with a delay as resque-scheduler
// does, for those who run Ruby's scheduler beside their Ruby workers. Their
// time is then rounded up to the second, and of the job only kind and arguments
// are kept: neither ID nor attempts, headers or options. Retries are not
// written so.
//
// Without it delays are kept to the millisecond, in keys that Ruby's scheduler
// does not look at. What it or PHP has scheduled is made ready either way: by
// Ruby's scheduler where one runs, otherwise from here.
func ResqueDelayed() Option { return func(s *settings) { s.resqueDelayed = true } }

// AllowEviction opens a server that is set to evict keys when its memory is
// full, and may so evict jobs.
func AllowEviction() Option { return func(s *settings) { s.allowEviction = true } }

// DefaultLease is the lease of a worker that is given no other.
func DefaultLease(d time.Duration) Option { return func(s *settings) { s.lease = d } }

// New returns a backend on the server that client is connected to: a
// *redis.Client, which may be one for Sentinel, or a *redis.ClusterClient.
//
// It makes connections of its own, by the client's options, because it sends a
// request again only in ways that do nothing twice, while a client that retries
// by itself stores a job as often as it tries. Closing the backend leaves
// client as it is. The client library logs broken connections by itself; its
// SetLogger silences it.
//
// It fails as Open does: with backend.ErrUnavailable when the server cannot be
// reached, with backend.ErrUnsupported when it is too old or may evict jobs.
func New(ctx context.Context, client goredis.UniversalClient, options ...Option) (*Backend, error) {
	var s settings
	for _, option := range options {
		option(&s)
	}
	switch c := client.(type) {
	case *goredis.Client:
		o := *c.Options()
		return connect(ctx, s, func(change func(*goredis.Options)) goredis.UniversalClient {
			o := o
			change(&o)
			return goredis.NewClient(&o)
		})
	case *goredis.ClusterClient:
		o := *c.Options()
		return connect(ctx, s, clusterMaker(&o))
	}
	return nil, fmt.Errorf("%w: New takes a *redis.Client or a *redis.ClusterClient, not a %T", backend.ErrInvalid, client)
}

// connect opens both clients and looks whether the server will do.
func connect(ctx context.Context, s settings, open func(change func(*goredis.Options)) goredis.UniversalClient) (*Backend, error) {
	s.namespace = cmp.Or(s.namespace, DefaultNamespace)
	if err := checkNamespace(s.namespace); err != nil {
		return nil, err
	}
	if s.lease != 0 && (s.lease < minLease || s.lease > maxLease) {
		return nil, fmt.Errorf("%w: lease of %v is not between %v and %v", backend.ErrInvalid, s.lease, minLease, maxLease)
	}
	b := &Backend{
		settings: s,
		prefix:   s.namespace + ":",
		instance: strings.ToLower(rand.Text()[:12]),
	}
	b.client = open(b.forCommands)
	b.host, _ = os.Hostname()
	b.life, b.die = context.WithCancel(context.Background())
	b.lanes.room = make(chan struct{}, maxLanes)
	b.names.init(b)
	b.blocking = open(b.forWaiting)
	b.store = redisstore.New(b.client, b.prefix+"gofer:store:")
	b.waiting.init(b)
	b.clock.init(b)
	if err := b.greet(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// checkNamespace refuses what would not be found again, or hide in a log.
func checkNamespace(name string) error {
	for _, c := range name {
		if c <= ' ' || c == 0x7f {
			return fmt.Errorf("%w: namespace %q has a blank or control character", backend.ErrInvalid, name)
		}
	}
	return nil
}

const (
	minLease = 100 * time.Millisecond
	maxLease = 365 * 24 * time.Hour
	maxDelay = 250 * 365 * 24 * time.Hour // what a time.Duration can hold, with some room

	// maxBatch keeps the arguments of a script below the 8000 that Lua's
	// unpack takes, and its run below a millisecond or two.
	maxBatch = 500

	// maxCall is how many bytes of payloads go into one call, either way.
	// Redis answers nobody else meanwhile.
	maxCall = 8 << 20
)

// Limits returns the limits of the driver. There are no priorities within a
// queue: a Resque queue is a list.
func (b *Backend) Limits() backend.Limits {
	return backend.Limits{
		MaxBody:      backend.MaxEnvelope,
		MaxBatch:     maxBatch,
		MaxDelay:     maxDelay,
		MinLease:     minLease,
		MaxLease:     maxLease,
		DefaultLease: b.settings.lease,
		AllQueues:    true,
	}
}

// Store returns a store in keys beneath gofer:store:. It ends with the
// backend.
func (b *Backend) Store() store.Store { return b.store }

// Close returns at once what was on its way to this worker, unregisters it,
// and closes the connections.
func (b *Backend) Close() error {
	b.closing.Do(func() {
		b.die()
		b.flights.land()
		quiet := b.waiting.close()
		b.clock.close()
		b.names.close()
		if quiet {
			b.worker.leave(b)
		} // else others find out that this worker is gone, and look again
		b.closeErr = errors.Join(b.store.Close(), b.blocking.Close(), b.client.Close())
	})
	return b.closeErr
}

// unique returns a name that no other call of any worker has.
func (b *Backend) unique() string {
	return b.instance + "-" + strconv.FormatUint(b.calls.Add(1), 36)
}
