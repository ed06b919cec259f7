package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/hosts"
	"github.com/goferhq/queue/backend/internal/tlsparams"
)

func init() {
	for _, scheme := range []string{"redis", "rediss", "resque", "redis+unix", "redis+sentinel", "redis+cluster"} {
		backend.Register(scheme, open)
	}
}

// target is what a URL says.
type target struct {
	addresses                  []string // hosts with ports, or the path of a socket
	master                     string   // of Sentinel
	user, password             string
	database                   int
	pool                       int
	name                       string
	dialing, reading, writing  time.Duration
	tls                        *tls.Config
	sentinelUser, sentinelPass string
}

func open(ctx context.Context, u *url.URL) (backend.Backend, error) {
	t, s, err := parse(u)
	if err != nil {
		return nil, err
	}
	return t.open(ctx, u.Scheme, s)
}

// parse reads what the package comment says of a URL.
func parse(u *url.URL) (t target, s settings, err error) {
	p := backend.NewParams(u)
	t = target{
		pool:         p.Int("pool", 0),
		name:         p.String("client_name", ""),
		dialing:      p.Duration("dial_timeout", 3*time.Second),
		reading:      p.Duration("read_timeout", 3*time.Second),
		writing:      p.Duration("write_timeout", 3*time.Second),
		database:     p.Int("db", 0),
		sentinelUser: p.String("sentinel_username", ""),
		sentinelPass: p.String("sentinel_password", ""),
	}
	t.user = u.User.Username()
	t.password, _ = u.User.Password()
	s = settings{
		namespace:     p.String("namespace", ""),
		lease:         p.Duration("lease", 0),
		allowEviction: p.Bool("allow_eviction", false),
	}
	switch delayed := p.String("delayed", "gofer"); delayed {
	case "gofer", "resque":
		s.resqueDelayed = delayed == "resque"
	default:
		return t, s, fmt.Errorf("%w: parameter delayed is neither gofer nor resque", backend.ErrInvalid)
	}
	t.tls, err = tlsOf(p, u.Scheme)
	if err == nil {
		err = p.Err()
	}
	if err == nil {
		err = t.read(u)
	}
	return t, s, err
}

// read takes the parts of u that mean something else for each scheme.
func (t *target) read(u *url.URL) error {
	if u.Fragment != "" {
		return fmt.Errorf("%w: a Redis URL has no fragment", backend.ErrInvalid)
	}
	if t.pool < 0 || t.database < 0 {
		return fmt.Errorf("%w: parameters pool and db cannot be negative", backend.ErrInvalid)
	}
	for name, d := range map[string]time.Duration{"dial_timeout": t.dialing, "read_timeout": t.reading, "write_timeout": t.writing} {
		if d <= 0 {
			return fmt.Errorf("%w: parameter %s is not positive", backend.ErrInvalid, name)
		}
	}
	database := strings.Trim(u.Path, "/")
	port := "6379"
	switch u.Scheme {
	case "redis+unix":
		if u.Host != "" || u.Path == "" {
			return fmt.Errorf("%w: write the socket's path behind three slashes, as redis+unix:///run/redis.sock", backend.ErrInvalid)
		}
		t.addresses = []string{u.Path}
		return nil
	case "redis+sentinel":
		t.master, database, _ = strings.Cut(database, "/")
		if t.master == "" {
			return fmt.Errorf("%w: the path names the master, as redis+sentinel://host:26379/mymaster", backend.ErrInvalid)
		}
		port = "26379"
	case "redis+cluster":
		if database != "" || t.database != 0 {
			return fmt.Errorf("%w: a cluster has no databases", backend.ErrInvalid)
		}
	default:
		if strings.Contains(u.Host, ",") {
			return fmt.Errorf("%w: %s takes one host; write redis+cluster:// or redis+sentinel://", backend.ErrInvalid, u.Scheme)
		}
	}
	var err error
	if t.addresses, err = hosts.WithPorts(strings.Split(u.Host, ","), port); err != nil {
		return err
	}
	if database != "" {
		n, err := strconv.Atoi(database)
		if err != nil || n < 0 {
			return fmt.Errorf("%w: the path of the URL is not the number of a database", backend.ErrInvalid)
		}
		if t.database != 0 && n != 0 && t.database != n {
			return fmt.Errorf("%w: the path and parameter db name two databases", backend.ErrInvalid)
		}
		t.database = max(t.database, n)
	}
	return nil
}

func (t *target) open(ctx context.Context, scheme string, s settings) (*Backend, error) {
	switch scheme {
	case "redis+cluster":
		return connect(ctx, s, clusterMaker(&goredis.ClusterOptions{
			Addrs: t.addresses, Username: t.user, Password: t.password, ClientName: t.name, TLSConfig: t.tls,
			PoolSize: t.pool, DialTimeout: t.dialing, ReadTimeout: t.reading, WriteTimeout: t.writing, Dialer: t.dial,
		}))
	case "redis+sentinel":
		return connect(ctx, s, func(change func(*goredis.Options)) goredis.UniversalClient {
			o := goredis.Options{PoolSize: t.pool, DialTimeout: t.dialing, ReadTimeout: t.reading, WriteTimeout: t.writing, Dialer: t.dial}
			change(&o)
			return goredis.NewFailoverClient(&goredis.FailoverOptions{
				MasterName: t.master, SentinelAddrs: t.addresses,
				SentinelUsername: t.sentinelUser, SentinelPassword: t.sentinelPass,
				Username: t.user, Password: t.password, DB: t.database, ClientName: t.name, TLSConfig: t.tls, Dialer: o.Dialer,
				MaxRetries: o.MaxRetries, DialerRetries: o.DialerRetries, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout,
				DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
				Protocol: o.Protocol, DisableIdentity: o.DisableIdentity, PushNotificationProcessor: o.PushNotificationProcessor,
			})
		})
	}
	o := goredis.Options{
		Addr: t.addresses[0], Username: t.user, Password: t.password, DB: t.database, ClientName: t.name, TLSConfig: t.tls,
		PoolSize: t.pool, DialTimeout: t.dialing, ReadTimeout: t.reading, WriteTimeout: t.writing, Dialer: t.dial,
	}
	if scheme == "redis+unix" {
		o.Network = "unix"
	}
	return connect(ctx, s, func(change func(*goredis.Options)) goredis.UniversalClient {
		o := o
		change(&o)
		return goredis.NewClient(&o)
	})
}

// dial connects as the client does by itself, but notices within seconds that
// a server it only listens to is gone without a word.
func (t *target) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{
		Timeout:         t.dialing,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 3},
	}
	if t.tls == nil {
		return dialer.DialContext(ctx, network, address)
	}
	return (&tls.Dialer{NetDialer: dialer, Config: t.tls}).DialContext(ctx, network, address)
}

// forCommands are the options of the client that makes requests.
func (b *Backend) forCommands(o *goredis.Options) {
	forRequests(o)
	if o.Dialer == nil {
		o.Dialer = goredis.NewDialer(o)
	}
	o.Dialer = b.wires.watch(o.Dialer)
}

// forRequests are the options of both clients. Neither makes a request twice.
func forRequests(o *goredis.Options) {
	o.MaxRetries = -1
	o.MaxActiveConns = 0 // what waits is as many as there are queues
	o.DialerRetries = 1
	o.Protocol = 2 // nothing is used that only the third has
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.ContextTimeoutEnabled = false // see await
	if o.PoolSize == 0 {
		o.PoolSize = 10 * runtime.GOMAXPROCS(0)
	}
	o.PoolSize += maxLanes
}

// forWaiting are those of the client whose connections wait in Redis.
func (b *Backend) forWaiting(o *goredis.Options) {
	forRequests(o)
	o.Protocol = 3 // for notes
	o.PushNotificationProcessor = b.names.processor()
	o.PoolSize = 10_000 // as many as there are queues to wait for
	o.MinIdleConns = 0
}

func clusterMaker(template *goredis.ClusterOptions) func(change func(*goredis.Options)) goredis.UniversalClient {
	return func(change func(*goredis.Options)) goredis.UniversalClient {
		c, o := *template, goredis.Options{
			PoolSize: template.PoolSize, Dialer: template.Dialer, DialTimeout: cmp.Or(template.DialTimeout, 5*time.Second), TLSConfig: template.TLSConfig,
		}
		change(&o)
		c.Dialer = o.Dialer
		c.MaxRetries, c.DialerRetries, c.PoolSize = o.MaxRetries, o.DialerRetries, o.PoolSize
		c.Protocol, c.DisableIdentity, c.MaintNotificationsConfig = o.Protocol, o.DisableIdentity, o.MaintNotificationsConfig
		c.ContextTimeoutEnabled, c.PushNotificationProcessor = o.ContextTimeoutEnabled, o.PushNotificationProcessor
		return goredis.NewClusterClient(&c)
	}
}

// tlsOf reads the parameters of TLS. It returns nil when there is to be none.
func tlsOf(p *backend.Params, scheme string) (*tls.Config, error) {
	always := scheme == "rediss"
	wanted := p.Bool("tls", always)
	if always && !wanted {
		return nil, fmt.Errorf("%w: rediss:// is over TLS: write redis://, or leave tls=false out", backend.ErrInvalid)
	}
	return tlsparams.Read(p, wanted, "rediss://, or tls=true")
}
