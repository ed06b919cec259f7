package redis_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/backendtest"
	"github.com/goferhq/queue/backend/redis"
	"github.com/goferhq/queue/integration/brokers"
)

func TestConformance(t *testing.T) {
	server := brokers.Redis(t)
	backendtest.Run(t, harness(t, server.URL(), plainClient(t, server.URL())))
}

// plainClient returns a client that knows nothing of this library.
func plainClient(t testing.TB, address string) *goredis.Client {
	t.Helper()
	options, err := goredis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	client := goredis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// harness describes the driver to the suite. client is for what others do.
func harness(t testing.TB, address string, client goredis.UniversalClient) backendtest.Harness {
	t.Helper()
	namespace := redis.DefaultNamespace
	if u, err := url.Parse(address); err == nil && u.Query().Has("namespace") {
		namespace = u.Query().Get("namespace")
	}
	return backendtest.Harness{
		Open: func(ctx context.Context) (backend.Backend, error) { return backend.Open(ctx, address) },
		PutRaw: func(ctx context.Context, queue string, raw []byte) error {
			_, err := client.Pipelined(ctx, func(pipe goredis.Pipeliner) error {
				pipe.SAdd(ctx, namespace+":queues", queue)
				pipe.RPush(ctx, namespace+":queue:"+queue, raw)
				return nil
			})
			return err
		},
		Minimal: func(kind string, args []byte) []byte {
			return []byte(`{"class":` + strconv.Quote(kind) + `,"args":[` + string(args) + `]}`)
		},
		Accepts:  accepts,
		Fresh:    func() backendtest.Harness { return harness(t, fresh(address), client) },
		Requests: requests(t, client),
		Lease:    time.Second,
		Slack:    500 * time.Millisecond,
		Without: []backendtest.Capability{
			backendtest.Priorities, backendtest.UniqueIDs,
		},
	}
}

// accepts reports whether bytes are a payload to Resque: an object with a class
// and a list of arguments.
func accepts(raw []byte) bool {
	var payload struct {
		Class *string            `json:"class"`
		Args  *[]json.RawMessage `json:"args"`
	}
	return json.Unmarshal(raw, &payload) == nil && payload.Class != nil && *payload.Class != ""
}

// requests returns a count of the requests that the server has read, without
// those that do the counting. Its count of commands has those of scripts too.
func requests(t testing.TB, client goredis.UniversalClient) func() int64 {
	var asked int64
	return func() int64 {
		info, err := client.Do(t.Context(), "INFO", "stats").Text()
		if err != nil {
			t.Error(err)
			return 0
		}
		_, rest, _ := strings.Cut(info, "total_reads_processed:")
		text, _, _ := strings.Cut(rest, "\r")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Error(err)
		}
		asked++
		return n - asked
	}
}

// fresh returns the address with a namespace that nobody else has.
func fresh(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	q := u.Query()
	q.Set("namespace", q.Get("namespace")+strings.ToLower(rand.Text()[:8]))
	u.RawQuery = q.Encode()
	return u.String()
}
