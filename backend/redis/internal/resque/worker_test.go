package resque_test

import (
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend/redis/internal/resque"
)

func TestWorkerID(t *testing.T) {
	for want, w := range map[string]resque.Worker{
		"vm-go-7Q4Z:17146:high,default": {Host: "vm", PID: 17146, Queues: []string{"high", "default"}, Nonce: "7Q4Z"},
		"a-go-b-go-n:1:email:high,*":    {Host: "a-go-b", PID: 1, Queues: []string{"email:high", "*"}, Nonce: "n"},
	} {
		if got := resque.WorkerID(w.Host, w.PID, w.Queues, w.Nonce); got != want {
			t.Errorf("WorkerID(%+v) = %q, want %q", w, got, want)
		}
		got, ok := resque.ParseWorkerID(want)
		if !ok {
			t.Errorf("%q is no id", want)
		}
		equal(t, want, got, w)
	}
	for want, got := range map[string]string{
		"vm-go-n:1:*":      resque.WorkerID("vm", 1, nil, "n"),
		"fe80--1-go-n:1:q": resque.WorkerID("fe80::1", 1, []string{"q"}, "n"),
		"vm-go-n:1:_q":     resque.WorkerID("vm", 1, []string{":q"}, "n"),
	} {
		equal(t, "the id", got, want)
	}
}

func TestParseWorkerID(t *testing.T) {
	got, ok := resque.ParseWorkerID("vm:17146:high,default")
	if want := (resque.Worker{Host: "vm", PID: 17146, Queues: []string{"high", "default"}}); !ok {
		t.Error("the id of a Ruby worker is none")
	} else {
		equal(t, "the worker", got, want)
	}
	for _, id := range []string{"", "vm", "vm:1", "vm:1:", "vm:x:q", "vm::q", "vm:-1:q", "::", strings.Repeat(":", 9)} {
		if w, ok := resque.ParseWorkerID(id); ok {
			t.Errorf("ParseWorkerID(%q) = %+v", id, w)
		}
	}
}

func TestWorking(t *testing.T) {
	at := failedAt.Add(time.Millisecond).In(time.FixedZone("CET", 3600))
	got := resque.AppendWorking([]byte("before"), "default", at, rubyPayload)
	equal(t, "what it works on", string(got), "before"+string(golden(t, "working_ruby")))

	got = resque.AppendWorking(nil, "a\"\xff", failedAt, []byte("hello"))
	equal(t, "what it works on", string(got),
		`{"queue":"a\"�","run_at":"2026-11-21T01:28:33Z","payload":{"class":"(malformed)","args":["hello"]}}`)
}

func TestTimesOfWorkers(t *testing.T) {
	at := failedAt.In(time.FixedZone("CET", 3600))
	equal(t, "the start", resque.Started(at), "2026-11-21 01:28:33 +0000")
	equal(t, "the heartbeat", resque.Heartbeat(at), "2026-11-21T01:28:33Z")
}
