package resque_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

var (
	rubyPayload = []byte(`{"class":"EchoJob","args":[1,"two",{"k":null}]}`)
	ours        = resque.Failed{
		Queue: "default", Payload: rubyPayload, Worker: "vm-go-7Q4Z:17146:high,default", Key: "01JD7Q4Z5M8X9W2V3T6R1KYNPC",
		Failure: backend.Failure{
			At: failedAt.Add(82353123), Error: "open x: no such file", Type: "*fs.PathError",
			Backtrace: []string{"main.handle", "\tmain.go:7"}, Worker: "vm:17146",
		},
	}
	malformed = resque.Failed{
		Queue: "default", Payload: []byte("hello \xff there"), Worker: "vm-go-7Q4Z:17146:high,default", Key: "7",
		Failure: backend.Failure{At: failedAt, Error: "queue: malformed message: not valid UTF-8"},
	}
)

func TestFailedEntriesOfEveryProducer(t *testing.T) {
	retried := ours
	retried.RetriedAt = "2026/11/22 10:00:00"
	ruby := resque.Failed{Queue: "default", Payload: rubyPayload, Worker: "vm:17146:high,default", Failure: backend.Failure{
		At: failedAt, Error: "boom é", Type: "ArgumentError", Worker: "vm:17146",
		Backtrace: []string{"/app/echo_job.rb:7:in `perform'", "/app/x.rb:1"},
	}}
	rubyRetried := ruby
	rubyRetried.RetriedAt = "2026/11/22 10:00:00"
	for name, want := range map[string]resque.Failed{
		"failed_go":           ours,
		"failed_go_malformed": malformed,
		"failed_go_retried":   retried,
		"failed_ruby":         ruby,
		"failed_ruby_retried": rubyRetried,
		"failed_ruby_pruned": {Queue: "default", Payload: rubyPayload, Worker: "vm:17146:high,default", Failure: backend.Failure{
			At: failedAt, Type: "Resque::PruneDeadWorkerDirtyExit", Worker: "vm:17146",
			Error: "Worker vm:17146:high,default did not gracefully exit while processing EchoJob",
		}},
		"failed_php": {Queue: "default", Payload: golden(t, "payload_php"), Worker: "vm:17146:high,default", Failure: backend.Failure{
			At: failedAt, Error: "[7] boom", Type: "RuntimeException", Worker: "vm:17146",
			Backtrace: []string{"#0 /app/EchoJob.php(7): EchoJob->perform()", "#1 {main}", "", "Caused by: boom"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := golden(t, name)
			got, err := resque.DecodeFailed(raw)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the entry", got, want)
			if queue, ok := resque.FailedQueue(raw); queue != "default" || !ok {
				t.Errorf("FailedQueue = %q, %v", queue, ok)
			}
		})
	}
}

func TestFailedEntriesAreWritten(t *testing.T) {
	for name, f := range map[string]resque.Failed{"failed_go": ours, "failed_go_malformed": malformed} {
		raw, err := resque.AppendFailed([]byte("before"), &f)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, string(raw), "before"+string(golden(t, name)))
		checkEntry(t, raw[len("before"):])
	}
}

// Whatever the bytes of a payload are, they come back, and what stands for
// them is a payload that can be shown.
func TestPayloadsInEntriesComeBackByteForByte(t *testing.T) {
	for name, tt := range map[string]struct{ payload, shown string }{
		"as it is":           {`{"class":"K","args":[1.0,12345678901234567,"\u00e9"]}`, ``},
		"without args":       {`{"class":"K"}`, ``},
		"with strange go":    {`{"class":"K","args":[],"go":[1]}`, ``},
		"space around":       {" {\"class\" : \"K\"}\r\n", `{"class" : "K"}`},
		"nothing":            {``, `{"class":"(malformed)","args":[""]}`},
		"text":               {"a\tb\x00c\xff", `{"class":"(malformed)","args":["a�b�c�"]}`},
		"a list":             {`["\u00e9"]`, `{"class":"(malformed)","args":["[\"\\u00e9\"]"]}`},
		"no class":           {`{"args":[1]}`, `{"class":"(malformed)","args":["{\"args\":[1]}"]}`},
		"a class of 1":       {`{"class":1}`, `{"class":"(malformed)","args":["{\"class\":1}"]}`},
		"two classes":        {`{"class":"K","class":1}`, `{"class":"(malformed)","args":["{\"class\":\"K\",\"class\":1}"]}`},
		"an empty class":     {`{"class":""}`, `{"class":"(malformed)","args":["{\"class\":\"\"}"]}`},
		"a hidden class":     {`{"\u0063lass":"K"}`, ``},
		"200 characters":     {strings.Repeat("é", 200), `{"class":"(malformed)","args":["` + strings.Repeat("é", 200) + `"]}`},
		"201 characters":     {strings.Repeat("é", 201), `{"class":"(malformed)","args":["` + strings.Repeat("é", 199) + `…"]}`},
		"a queue at the end": {`{"class":"K","queue":"other"}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.shown == "" {
				tt.shown = tt.payload
			}
			raw, err := resque.AppendFailed(nil, &resque.Failed{Queue: "q", Payload: []byte(tt.payload)})
			if err != nil {
				t.Fatal(err)
			}
			checkEntry(t, raw)
			if !bytes.Contains(raw, []byte(`,"payload":`+tt.shown+`,`)) {
				t.Errorf("%s does not show %s", raw, tt.shown)
			}
			if hasRaw := bytes.Contains(raw, []byte(`"raw":`)); hasRaw != (tt.shown != tt.payload) {
				t.Errorf("%s has a raw: %v", raw, hasRaw)
			}
			got, err := resque.DecodeFailed(raw)
			if err != nil || string(got.Payload) != tt.payload || got.Queue != "q" {
				t.Errorf("%+v, %v", got, err)
			}
			if queue, ok := resque.FailedQueue(raw); queue != "q" || !ok {
				t.Errorf("FailedQueue = %q, %v", queue, ok)
			}
		})
	}
}

// A burial is never refused because of what a handler has said.
func TestFailuresOfAnyKindAreWritten(t *testing.T) {
	for name, tt := range map[string]struct{ failure, want backend.Failure }{
		"nothing":      {},
		"a type":       {backend.Failure{Type: "Error"}, backend.Failure{Type: "Error"}},
		"a local time": {backend.Failure{At: failedAt.In(time.FixedZone("CET", 3600))}, backend.Failure{At: failedAt}},
		"the year 0":   {backend.Failure{At: time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)}, backend.Failure{At: time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"no year":      {backend.Failure{At: time.Unix(math.MaxInt64, 0)}, backend.Failure{}},
		"no lines":     {backend.Failure{Backtrace: []string{}}, backend.Failure{}},
		"text": {
			backend.Failure{Error: "a\x00\"\\\n\u2028😀", Backtrace: []string{"", "\t"}, Worker: ":"},
			backend.Failure{Error: "a\x00\"\\\n\u2028😀", Backtrace: []string{"", "\t"}, Worker: ":"},
		},
		"invalid UTF-8": {
			backend.Failure{Error: "a\xffb", Type: "\xff", Backtrace: []string{"a", "\xed\xa0\x80", "b\xff"}, Worker: "\xff"},
			backend.Failure{Error: "a\ufffdb", Type: "\ufffd", Backtrace: []string{"a", "\ufffd", "b\ufffd"}, Worker: "\ufffd"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			lines := append([]string(nil), tt.failure.Backtrace...)
			raw, err := resque.AppendFailed(nil, &resque.Failed{Queue: "q", Payload: rubyPayload, Failure: tt.failure, Worker: "vm:1:q"})
			if err != nil {
				t.Fatal(err)
			}
			checkEntry(t, raw)
			got, err := resque.DecodeFailed(raw)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the failure", got.Failure, tt.want)
			if strings.Join(lines, "\n") != strings.Join(tt.failure.Backtrace, "\n") {
				t.Errorf("the caller's backtrace was changed to %q", tt.failure.Backtrace)
			}
		})
	}
}

func TestFailedEntriesWithoutAQueueAreRefused(t *testing.T) {
	for _, f := range []resque.Failed{{}, {Queue: "\xff"}, {Queue: "q", Key: "\xff"}} {
		if raw, err := resque.AppendFailed([]byte("before"), &f); !errors.Is(err, backend.ErrInvalid) || string(raw) != "before" {
			t.Errorf("AppendFailed = %s, %v, want ErrInvalid", raw, err)
		}
	}
}

func TestTimesOfFailures(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026/11/21 01:28:33 UTC":         failedAt,
		"2026/11/21 01:28:33 GMT":         failedAt,
		"2026/11/21 01:28:33":             failedAt,
		"Sat Nov 21 01:28:33 UTC 2026":    failedAt,
		"2026-11-21T01:28:33Z":            failedAt,
		"2026-11-21T02:28:33.000+01:00":   failedAt,
		"Sat, 21 Nov 2026 02:28:33 +0100": failedAt,
		"0000-01-01T00:00:00+01:00":       {},
		"":                                {},
		"tomorrow":                        {},
	} {
		f, err := resque.DecodeFailed([]byte(`{"failed_at":"` + text + `"}`))
		if err != nil || !f.Failure.At.Equal(want) {
			t.Errorf("%q is read as %v, %v, want %v", text, f.Failure.At, err, want)
		}
	}
}

func TestFailedQueue(t *testing.T) {
	for raw, want := range map[string]string{
		`{"a":1,"queue":"q"}`:                           "q",
		`{"queue":"q"}`:                                 "q",
		`{"a":1,"queue":"é/x"}`:                         "é/x",
		`{"a":1,"queue":"a\/b"}`:                        "a/b",
		`{"a":1,"queue":"a\"}`:                          "",
		`{"a":1,"queue":"q","retried_at":"now"}`:        "q",
		`{"a":1,"queue" : "q" }`:                        "q",
		`{"payload":{"x":1,"queue":"other"}}`:           "",
		`{"error":",\"queue\":\"other"}`:                "",
		`{"error":",\"queue\":\"other","queue":"q"}`:    "q",
		`{"queue":"q","error":"x,\"queue\":\"other\""}`: "q",
		`{"a":1,"queue":""}`:                            "",
		`{"a":1,"queue":7}`:                             "",
		`{"a":1}`:                                       "",
		`hello`:                                         "",
		``:                                              "",
		`"}`:                                            "",
	} {
		if queue, ok := resque.FailedQueue([]byte(raw)); queue != want || ok != (want != "") {
			t.Errorf("FailedQueue(%s) = %q, %v, want %q", raw, queue, ok, want)
		}
	}
}
