package redis_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// workerOf returns the id of the only worker that is registered.
func (s *resqueSite) workerOf() string {
	s.t.Helper()
	var ids []string
	s.eventually(10*time.Second, "a worker is registered", func() bool {
		ids = s.members("workers")
		return len(ids) > 0
	})
	if len(ids) != 1 {
		s.t.Fatalf("the workers are %q, want one", ids)
	}
	return ids[0]
}

func TestAWorkerThatWaitsIsRegisteredAsResquesAre(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	q := site.queue(new(queue.Mux), queue.Queues("high", "default"))
	if ids := site.members("workers"); len(ids) > 0 {
		t.Errorf("a queue that only enqueues is registered: %q", ids)
	}
	before := time.Now().Add(-time.Second)
	site.run(q)
	id := site.workerOf()
	host, err := os.Hostname()
	site.must(err)
	parts := strings.SplitN(id, ":", 3)
	if len(parts) != 3 || !strings.HasPrefix(parts[0], host+"-go-") || parts[1] != strconv.Itoa(os.Getpid()) || parts[2] != "high,default" {
		t.Errorf("the id is %q, want %s-go-…:%d:high,default", id, host, os.Getpid())
	}
	site.expectResqueCanRead()
	for name, layout := range map[string]string{"started": "2006-01-02 15:04:05 -0700", "heartbeat": time.RFC3339} {
		text := site.text("worker:" + id + ":started")
		if name == "heartbeat" {
			text, err = site.client.HGet(t.Context(), site.prefix+"workers:heartbeat", id).Result()
			site.must(err)
		}
		at, err := time.Parse(layout, text)
		if server, _ := site.client.Time(t.Context()).Result(); err != nil || at.Before(before) || at.After(server.Add(time.Second)) {
			t.Errorf("%s is %q, want the server's time, which is %v: %v", name, text, server, err)
		}
	}
	if sample := site.text("worker:" + id); sample != "" {
		t.Errorf("a worker that waits is said to run %s", sample)
	}
}

func TestAWorkerShowsTheJobThatItRuns(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	begun, end := make(chan bool, 1), make(chan bool)
	queue.RegisterFuncOn(mux, "Slow", func(context.Context, *queue.Job[email]) error {
		begun <- true
		<-end
		return nil
	})
	q := site.queue(mux, queue.Lease(3*time.Second)) // which makes the beat a second
	site.run(q)
	_, err := q.Enqueue(t.Context(), "Slow", email{"ann"})
	site.must(err)
	<-begun
	id := site.workerOf()
	site.eventually(3*time.Second, "the job is shown", func() bool { return site.text("worker:"+id) != "" })
	site.expectBytes("worker:ID", site.text("worker:"+id),
		`{"queue":"default","run_at":"TIME","payload":{"class":"Slow","args":[{"to":"ann"}],"id":"ID","prefix":"","queue_time":SECONDS}}`)
	site.expectResqueCanRead()
	close(end)
	site.eventually(3*time.Second, "the job is shown no more", func() bool { return site.text("worker:"+id) == "" })
}

func TestAWorkerCountsWhatItHasProcessed(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	queue.RegisterFuncOn(mux, "Half", func(_ context.Context, job *queue.Job[int]) error {
		if job.Args%2 == 1 {
			return queue.Bury(os.ErrNotExist)
		}
		return nil
	})
	q := site.queue(mux)
	site.run(q)
	for n := range 10 {
		_, err := q.Enqueue(t.Context(), "Half", n)
		site.must(err)
	}
	site.eventually(10*time.Second, "ten jobs are counted", func() bool { return site.number("stat:processed") == 10 })
	id := site.workerOf()
	for name, want := range map[string]int64{"stat:processed:" + id: 10, "stat:failed": 5, "stat:failed:" + id: 5} {
		if got := site.number(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestNothingIsLeftOfAWorkerThatWasClosed(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	ran := make(chan bool, 1)
	queue.RegisterFuncOn(mux, "Ping", func(context.Context, *queue.Job[any]) error { ran <- true; return nil })
	q := site.queue(mux, queue.Queues("high", "*"))
	stop := site.run(q)
	_, err := q.Enqueue(t.Context(), "Ping", struct{}{}, queue.On("low"))
	site.must(err)
	<-ran
	id := site.workerOf()
	instance, _, _ := strings.Cut(id[strings.Index(id, "-go-")+4:], ":")
	stop()
	site.must(q.Close())
	// The totals stay, and so do the names of the queues.
	left := slices.DeleteFunc(site.keys(), func(name string) bool {
		return name == "stat:processed" || name == "queues" ||
			name == "gofer:wake" || name == "gofer:due" || // for the clock of whoever comes next
			strings.HasPrefix(name, "gofer:push:") // expires
	})
	if len(left) > 0 {
		t.Errorf("after Close there still are %q", left)
	}
	for _, name := range site.keys() {
		if strings.Contains(name, instance) && !strings.HasPrefix(name, "gofer:push:") {
			t.Errorf("%s is of the worker", name)
		}
	}
	if ids := site.members("workers"); len(ids) > 0 {
		t.Errorf("the workers are still %q", ids)
	}
}
