package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
)

type email struct {
	To string `json:"to"`
}

func TestAJobIsStoredInTheBytesOfResque(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	// Without a parameter the keys are where Ruby and PHP have them.
	site := &resqueSite{t: t, url: server.URL(), client: server.Client(), prefix: "resque:"}
	q := site.queue(new(queue.Mux))
	id, err := q.Enqueue(t.Context(), "SendEmail", email{"ann@example.org"}, queue.On("golden"))
	site.must(err)
	stored := site.list("queue:golden")[0]
	site.expectBytes("queue:golden", stored,
		`{"class":"SendEmail","args":[{"to":"ann@example.org"}],"id":"ID","prefix":"","queue_time":SECONDS}`)
	if got := site.fieldOf(stored, "id"); got != `"`+id+`"` {
		t.Errorf("Enqueue returned the id %s of %s", id, got)
	}
	if member, err := site.client.SIsMember(t.Context(), "resque:queues", "golden").Result(); err != nil || !member {
		t.Errorf("golden is not in the set queues: %v, %v", member, err)
	}
}

func TestWhatResqueDoesNotKnowIsStoredUnderGo(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	q := site.queue(new(queue.Mux))
	enqueue := func(name string, options ...queue.Option) {
		t.Helper()
		_, err := q.Enqueue(t.Context(), "SendEmail", email{"ann"}, append(options, queue.On(name))...)
		site.must(err)
	}
	enqueue("headers", queue.Header("trace", "b7"), queue.Header("a", "é\n"))
	enqueue("attempts", queue.MaxAttempts(5))
	enqueue("tracked", queue.Track())
	enqueue("named", queue.ID("order 7/\"é\""))
	_, err := q.Enqueue(t.Context(), "SendEmail", []any{1, "two", nil}, queue.On("list"))
	site.must(err)
	_, err = q.Enqueue(t.Context(), "SendEmail", struct{}{}, queue.On("nothing"))
	site.must(err)

	const head = `{"class":"SendEmail","args":[{"to":"ann"}],"id":"ID","prefix":"","queue_time":SECONDS`
	for queue, want := range map[string]string{
		"headers":  head + `,"go":{"headers":{"a":"é\n","trace":"b7"}}}`,
		"attempts": head + `,"go":{"max_attempts":5}}`,
		"tracked":  head + `,"go":{"track":true}}`,
		"named":    `{"class":"SendEmail","args":[{"to":"ann"}],"id":"order 7/\"é\"","prefix":"","queue_time":SECONDS}`,
		"list":     `{"class":"SendEmail","args":[[1,"two",null]],"id":"ID","prefix":"","queue_time":SECONDS}`,
		"nothing":  `{"class":"SendEmail","args":[{}],"id":"ID","prefix":"","queue_time":SECONDS}`,
	} {
		site.expectBytes(queue, site.list("queue:" + queue)[0], want)
	}
	id := site.fieldOf(site.list("queue:tracked")[0], "id")
	site.expectBytes("the status of the tracked job", site.text("job:"+id[1:len(id)-1]+":status"),
		`{"status":1,"updated":SECONDS,"started":SECONDS,"result":null}`)
	site.expectResqueCanRead()
}

func TestWhatWouldBreakARubyWorkerIsRefused(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	q := site.queue(new(queue.Mux))
	for name, args := range map[string]string{
		"half a surrogate pair":        `"\ud800"`,
		"the other half":               `{"k":["\udc00"]}`,
		"a number beyond float64":      `[1e400]`,
		"a name with half a pair":      `{"\ud800":1}`,
		"a negative one":               `-1e309`,
		"more levels than Ruby allows": nested(120),
	} {
		_, err := q.Enqueue(t.Context(), "SendEmail", json.RawMessage(args))
		if !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	for name, args := range map[string]string{
		"a whole pair":           `"\ud83d\ude00"`,
		"large and small floats": `[1e308,-1e308,1e-400,12345678901234567]`,
		"as deep as it may be":   nested(90),
		"an empty text":          `""`,
		"escaped backslashes":    `"\\ud800"`,
	} {
		if _, err := q.Enqueue(t.Context(), "SendEmail", json.RawMessage(args)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(site.list("queue:default")); n != 5 {
		t.Errorf("%d jobs are stored, want 5", n)
	}
	site.expectResqueCanRead()
}

func nested(levels int) string {
	text := make([]byte, 0, 2*levels+1)
	for range levels {
		text = append(text, '[')
	}
	text = append(text, '1')
	for range levels {
		text = append(text, ']')
	}
	return string(text)
}

func TestAJobThatIsRetriedCountsItsAttemptsUnderGo(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	site.must(b.Push(t.Context(), []*backend.Message{{
		ID: "7", Kind: "SendEmail", Queue: "default", Args: []byte(`{"to":"ann"}`),
		EnqueuedAt: time.Unix(1795225601, 82353123), MaxAttempts: 5, Header: map[string]string{"a": "b"},
	}}))
	d := site.reserve(b, "default")
	site.must(b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &d.Message}}))
	site.expectBytes("queue:default", site.list("queue:default")[0],
		`{"class":"SendEmail","args":[{"to":"ann"}],"id":"7","prefix":"","queue_time":SECONDS,"go":{"attempt":1,"max_attempts":5,"headers":{"a":"b"}}}`)
}

// stumble is an error with a type of its own, to be seen in resque-web.
type stumble struct{}

func (*stumble) Error() string { return "no </script> such \"file\"" }

func TestABuriedJobIsAnEntryOfFailed(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	queue.RegisterFuncOn(mux, "SendEmail", func(context.Context, *queue.Job[email]) error { return queue.Bury(new(stumble)) })
	q := site.queue(mux, queue.Queues("high", "default"))
	site.raw("high", "hello \xff there")
	site.run(q)
	site.eventually(10*time.Second, "the first is buried", func() bool { return len(site.list("failed")) == 1 })
	_, err := q.Enqueue(t.Context(), "SendEmail", email{"ann"}, queue.MaxAttempts(3))
	site.must(err)
	site.eventually(10*time.Second, "both are buried", func() bool { return len(site.list("failed")) == 2 })
	const worker = `"worker":"HOST-go-INSTANCE:PID:high,default"`
	entries := site.list("failed")
	site.expectBytes("what was no job", entries[0], `{"failed_at":"TIME","payload":{"class":"(malformed)","args":["hello `+"\ufffd"+` there"]},`+
		site.errorOf(entries[0])+`"backtrace":[],`+worker+`,"go":{"key":"KEY","at":"TIME","worker":"HOST:PID","raw":"aGVsbG8g/yB0aGVyZQ=="},"queue":"high"}`)
	site.expectBytes("the job", entries[1], `{"failed_at":"TIME","payload":{"class":"SendEmail","args":[{"to":"ann"}],"id":"ID","prefix":"",`+
		`"queue_time":SECONDS,"go":{"attempt":1,"max_attempts":3}},"exception":"*redis_test.stumble","error":"no </script> such \"file\"",`+
		`"backtrace":[],`+worker+`,"go":{"key":"KEY","at":"TIME","worker":"HOST:PID"},"queue":"default"}`)
	site.expectResqueCanRead()
}

// errorOf returns the members exception and error of an entry, whose words are
// the queue's own affair.
func (s *resqueSite) errorOf(entry string) string {
	return `"exception":` + s.fieldOf(entry, "exception") + `,"error":` + s.fieldOf(entry, "error") + `,`
}

func TestAPanicIsAnEntryOfFailedWithItsBacktrace(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	queue.RegisterFuncOn(mux, "Divide", func(context.Context, *queue.Job[int]) error { panic("by \xff zero") }, queue.MaxAttempts(1))
	q := site.queue(mux)
	_, err := q.Enqueue(t.Context(), "Divide", 0)
	site.must(err)
	site.run(q)
	site.eventually(10*time.Second, "the job is buried", func() bool { return len(site.list("failed")) == 1 })
	var backtrace []string
	site.must(json.Unmarshal([]byte(site.fieldOf(site.list("failed")[0], "backtrace")), &backtrace))
	if len(backtrace) == 0 {
		t.Errorf("no backtrace in %s", site.list("failed")[0])
	}
	site.expectResqueCanRead()
}

func TestANamespaceIsWhatEveryKeyBeginsWith(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	const namespace = "app:{v2}*[é]"
	address := server.URL() + "?namespace=" + url.QueryEscape(namespace)
	site := &resqueSite{t: t, url: address, client: server.Client(), prefix: namespace + ":"}
	mux := new(queue.Mux)
	ran := make(chan bool, 1)
	queue.RegisterFuncOn(mux, "Ping", func(context.Context, *queue.Job[any]) error { ran <- true; return nil })
	q := site.queue(mux, queue.Queues("*"))
	site.run(q)
	_, err := q.Enqueue(t.Context(), "Ping", struct{}{}, queue.In(50*time.Millisecond), queue.Track())
	site.must(err)
	<-ran
	keys, err := site.client.Keys(t.Context(), "*").Result()
	site.must(err)
	for _, key := range keys {
		if len(key) < len(site.prefix) || key[:len(site.prefix)] != site.prefix {
			t.Errorf("the key %q is outside of the namespace", key)
		}
	}
}
