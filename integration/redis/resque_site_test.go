package redis_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis"
	"github.com/goferhq/queue/integration/brokers"
)

// resqueSite is a namespace in a Redis that this library shares with Ruby and
// PHP. What the site does, it does with the commands of those, and writes the
// bytes that they write.
type resqueSite struct {
	t      testing.TB
	url    string // for this library
	client *goredis.Client
	prefix string // of all keys
}

// newResqueSite starts a Redis with the given options, for a test that has it
// to itself.
func newResqueSite(t testing.TB, options ...string) *resqueSite {
	t.Helper()
	server := brokers.Redis(t, options...)
	return resqueSiteAt(t, fresh(server.URL()), server.Client())
}

// resqueSiteAt is the site of a URL that has the parameter namespace.
func resqueSiteAt(t testing.TB, address string, client *goredis.Client) *resqueSite {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return &resqueSite{t: t, url: address, client: client, prefix: u.Query().Get("namespace") + ":"}
}

// beside is another namespace in the same Redis.
func (s *resqueSite) beside() *resqueSite {
	return resqueSiteAt(s.t, fresh(s.url), s.client)
}

// with returns the site's URL with one parameter more.
func (s *resqueSite) with(name, value string) string {
	return s.url + "&" + name + "=" + url.QueryEscape(value)
}

func (s *resqueSite) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// ctx ends long before a test that hangs would be ended by the go command.
func (s *resqueSite) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

// ruby enqueues a job as Resque.enqueue does.
func (s *resqueSite) ruby(queue, class, args string) {
	s.t.Helper()
	s.raw(queue, `{"class":"`+class+`","args":`+args+`}`)
}

// php enqueues a job as Resque::enqueue does, and returns its id. The args are
// the one value that PHP puts into its list.
func (s *resqueSite) php(queue, class, args string) string {
	s.t.Helper()
	id := phpID()
	s.raw(queue, phpPayload(class, args, id))
	return id
}

func phpID() string {
	var bits [16]byte
	rand.Read(bits[:])
	return hex.EncodeToString(bits[:])
}

func phpPayload(class, args, id string) string {
	now := strconv.FormatFloat(float64(time.Now().UnixMicro())/1e6, 'f', -1, 64)
	return `{"class":"` + class + `","args":[` + args + `],"id":"` + id + `","prefix":"","queue_time":` + now + `}`
}

// raw puts an item into a queue.
func (s *resqueSite) raw(queue string, items ...string) {
	s.t.Helper()
	values := make([]any, len(items))
	for i, item := range items {
		values[i] = item
	}
	ctx := context.Background()
	_, err := s.client.Pipelined(ctx, func(pipe goredis.Pipeliner) error {
		pipe.SAdd(ctx, s.prefix+"queues", queue)
		pipe.RPush(ctx, s.prefix+"queue:"+queue, values...)
		return nil
	})
	s.must(err)
}

// list returns all of a list.
func (s *resqueSite) list(name string) []string {
	s.t.Helper()
	items, err := s.client.LRange(context.Background(), s.prefix+name, 0, -1).Result()
	s.must(err)
	return items
}

// text returns the value of a key, or "" when it is not there.
func (s *resqueSite) text(name string) string {
	s.t.Helper()
	value, err := s.client.Get(context.Background(), s.prefix+name).Result()
	if err != nil && err != goredis.Nil {
		s.t.Fatal(err)
	}
	return value
}

func (s *resqueSite) number(name string) int64 {
	s.t.Helper()
	n, err := strconv.ParseInt("0"+s.text(name), 10, 64)
	s.must(err)
	return n
}

// members returns a set, sorted by nothing.
func (s *resqueSite) members(name string) []string {
	s.t.Helper()
	members, err := s.client.SMembers(context.Background(), s.prefix+name).Result()
	s.must(err)
	return members
}

// keys returns the names of all keys of the namespace, without the prefix.
func (s *resqueSite) keys() []string {
	s.t.Helper()
	var names []string
	scan := s.client.Scan(context.Background(), 0, s.prefix+"*", 1000).Iterator()
	for scan.Next(context.Background()) {
		names = append(names, strings.TrimPrefix(scan.Val(), s.prefix))
	}
	s.must(scan.Err())
	return names
}

// backend opens a connection of this library, with no queue in front of it.
func (s *resqueSite) backend() *redis.Backend {
	s.t.Helper()
	return s.backendAt(s.url)
}

func (s *resqueSite) backendAt(address string) *redis.Backend {
	s.t.Helper()
	opened, err := backend.Open(context.Background(), address)
	s.must(err)
	s.t.Cleanup(func() { opened.Close() })
	return opened.(*redis.Backend)
}

// reserve takes one job, and gives up after ten seconds.
func (s *resqueSite) reserve(b backend.Backend, queues ...string) *backend.Delivery {
	s.t.Helper()
	return s.reserveFor(b, time.Minute, queues...)
}

func (s *resqueSite) reserveFor(b backend.Backend, lease time.Duration, queues ...string) *backend.Delivery {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	deliveries, err := b.Reserve(ctx, queues, 1, lease)
	s.must(err)
	return deliveries[0]
}

// queue opens a queue with handlers.
func (s *resqueSite) queue(mux *queue.Mux, options ...queue.OpenOption) *queue.Queue {
	s.t.Helper()
	return s.queueAt(s.url, mux, options...)
}

func (s *resqueSite) queueAt(address string, mux *queue.Mux, options ...queue.OpenOption) *queue.Queue {
	s.t.Helper()
	q, err := queue.Open(context.Background(), address, append([]queue.OpenOption{queue.Handlers(mux), queue.Logger(nil)}, options...)...)
	s.must(err)
	s.t.Cleanup(func() { q.Close() })
	return q
}

// run lets a queue work until the test ends, or the function that it returns
// is called.
func (s *resqueSite) run(q *queue.Queue) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	stopped := false
	stop = func() {
		s.t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run ended with %v", err)
		}
	}
	s.t.Cleanup(stop)
	return stop
}

// eventually waits until a condition holds, and fails the test when that takes
// longer than the limit. It returns how long it took.
func (s *resqueSite) eventually(limit time.Duration, what string, holds func() bool) time.Duration {
	s.t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > limit {
			s.t.Fatalf("after %v still not: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// masks are the parts of stored bytes that differ from run to run.
var masks = []struct {
	pattern *regexp.Regexp
	mask    string
}{
	{regexp.MustCompile(`"queue_time":\d{10}\.\d{9}`), `"queue_time":SECONDS`},
	{regexp.MustCompile(`"failed_at":"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d UTC"`), `"failed_at":"TIME"`},
	{regexp.MustCompile(`"key":"[a-z0-9]+-[a-z0-9]+"`), `"key":"KEY"`},
	{regexp.MustCompile(`"(at|run_at)":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"`), `"$1":"TIME"`},
	{regexp.MustCompile(`"worker":"[^":]+-go-[a-z0-9]+:\d+:`), `"worker":"HOST-go-INSTANCE:PID:`},
	{regexp.MustCompile(`"worker":"[^":]+:\d+"`), `"worker":"HOST:PID"`},
	{regexp.MustCompile(`"(id|unique)":"[0-9a-f]{32}"`), `"$1":"ID"`},
	{regexp.MustCompile(`"(updated|started)":\d{10}\b`), `"$1":SECONDS`},
}

func masked(text string) string {
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.mask)
	}
	return text
}

// expectBytes compares with what stays the same from run to run.
func (s *resqueSite) expectBytes(what, got, want string) {
	s.t.Helper()
	if got := masked(got); got != want {
		s.t.Errorf("%s:\ngot  %s\nwant %s", what, got, want)
	}
}

// fieldOf returns a member of a JSON object that has it.
func (s *resqueSite) fieldOf(object, name string) string {
	s.t.Helper()
	var members map[string]json.RawMessage
	s.must(json.Unmarshal([]byte(object), &members))
	return string(members[name])
}
