package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
	"github.com/goferhq/queue/status"
)

// trackedPHP enqueues a job as Resque::enqueue does with its status tracked.
func (s *resqueSite) trackedPHP(class, prefix string) (id, key string) {
	s.t.Helper()
	id = phpID()
	key = "job:" + id + ":status"
	payload := phpPayload(class, "{}", id)
	if prefix != "" {
		key = "job:" + prefix + "_" + id + ":status"
		payload = strings.Replace(payload, `"prefix":""`, `"prefix":"`+prefix+`"`, 1)
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	s.must(s.client.Set(context.Background(), s.prefix+key, `{"status":1,"updated":`+now+`,"started":`+now+`,"result":null}`, 0).Err())
	s.raw("default", payload)
	return id, key
}

// phpStatus is what Resque_Job_Status::get returns.
func (s *resqueSite) phpStatus(key string) int {
	s.t.Helper()
	value := s.text(key)
	if value == "" {
		return 0
	}
	var packet struct {
		Status           int
		Updated, Started *int64
		Result           json.RawMessage
	}
	s.must(json.Unmarshal([]byte(value), &packet))
	if packet.Updated == nil || packet.Started == nil || string(packet.Result) != "null" {
		s.t.Errorf("the status is %s", value)
	}
	return packet.Status
}

// staged is a queue whose handlers end when they are told how.
type staged struct {
	began chan int
	end   chan error
}

func (s *resqueSite) staged() (*queue.Queue, *staged) {
	stage := &staged{began: make(chan int, 10), end: make(chan error)}
	mux := new(queue.Mux)
	queue.RegisterFuncOn(mux, "Staged", func(_ context.Context, job *queue.Job[any]) error {
		stage.began <- job.Attempt
		return <-stage.end
	}, queue.Retry(retry.Fixed(time.Millisecond)))
	q := s.queue(mux)
	s.run(q)
	return q, stage
}

func TestTheStatusOfAJobThatPHPTracksIsKept(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	_, stage := site.staged()
	for _, c := range []struct {
		prefix string
		end    error
		status int
	}{
		{"", nil, 4}, {"", queue.Bury(errors.New("boom")), 3}, {"mail", nil, 4}, {"mail", queue.Bury(errors.New("boom")), 3},
	} {
		_, key := site.trackedPHP("Staged", c.prefix)
		<-stage.began
		if got := site.phpStatus(key); got != 2 {
			t.Errorf("while it runs the status is %d, want 2", got)
		}
		if ttl := site.ttl(key); ttl != -1 {
			t.Errorf("while it runs the status expires after %v", ttl)
		}
		stage.end <- errors.New("once more")
		<-stage.began
		stage.end <- c.end
		site.eventually(5*time.Second, "the status is "+strconv.Itoa(c.status), func() bool { return site.phpStatus(key) == c.status })
		if ttl := site.ttl(key); ttl <= 86000*time.Second || ttl > 86400*time.Second {
			t.Errorf("the status %d expires after %v, want a day", c.status, ttl)
		}
	}
	site.expectResqueCanRead()
}

// ttl returns after what time a key expires, -1 for never.
func (s *resqueSite) ttl(name string) time.Duration {
	s.t.Helper()
	ttl, err := s.client.TTL(context.Background(), s.prefix+name).Result()
	s.must(err)
	return ttl
}

func TestAJobThatIsNotTrackedHasNoStatus(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	q, stage := site.staged()
	id := site.php("default", "Staged", "{}")
	ours, err := q.Enqueue(t.Context(), "Staged", struct{}{})
	site.must(err)
	for _, end := range []error{nil, queue.Bury(errors.New("boom"))} {
		<-stage.began
		stage.end <- end
	}
	site.eventually(5*time.Second, "both are settled", func() bool { return site.number("stat:processed") == 2 })
	for _, id := range []string{id, ours} {
		if value := site.text("job:" + id + ":status"); value != "" {
			t.Errorf("the job %s has the status %s", id, value)
		}
		if _, err := q.Status(t.Context(), id); !errors.Is(err, queue.ErrNotTracked) {
			t.Errorf("Status returned %v, want ErrNotTracked", err)
		}
	}
}

func TestPHPCanReadTheStatusOfATrackedJob(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	q, stage := site.staged()
	for _, c := range []struct {
		end    error
		status int
		state  status.State
	}{{nil, 4, status.Done}, {queue.Bury(errors.New("boom")), 3, status.Dead}} {
		before := time.Now().Add(-time.Second)
		id, err := q.Enqueue(t.Context(), "Staged", struct{}{}, queue.Track(), queue.In(100*time.Millisecond))
		site.must(err)
		key := "job:" + id + ":status"
		if got := site.phpStatus(key); got != 1 {
			t.Errorf("while it waits the status is %d, want 1", got)
		}
		<-stage.began
		if got := site.phpStatus(key); got != 2 {
			t.Errorf("while it runs the status is %d, want 2", got)
		}
		stage.end <- c.end
		s, err := q.Wait(site.ctx(), id)
		if site.must(err); s.State != c.state {
			t.Errorf("the queue's own status is %+v, want %s", s, c.state)
		}
		site.eventually(5*time.Second, "PHP sees the end", func() bool { return site.phpStatus(key) == c.status })
		kept, err := site.backend().JobStatus(t.Context(), id)
		if site.must(err); kept.State != string(c.state) || kept.CreatedAt.Before(before.Truncate(time.Second)) || kept.UpdatedAt.Before(kept.CreatedAt) {
			t.Errorf("the status for PHP is %+v", kept)
		}
	}
}

func TestTheStatusThatPHPKeepsIsFoundByStatus(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	q := site.queue(new(queue.Mux))
	b := site.backend()
	at := time.Unix(1795225601, 0)
	for number, state := range map[int]status.State{1: status.Ready, 2: status.Running, 3: status.Dead, 4: status.Done} {
		for _, value := range []string{
			`{"status":` + strconv.Itoa(number) + `,"updated":1795225602,"started":1795225601,"result":{"n":[1]}}`,
			`{"status":"` + strconv.Itoa(number) + `","updated":"1795225602","started":"1795225601","result":{"n":[1]}}`,
		} {
			id := phpID()
			site.must(site.client.Set(t.Context(), site.prefix+"job:"+id+":status", value, time.Hour).Err())
			s, err := q.Status(t.Context(), id)
			site.must(err)
			if s.ID != id || s.State != state || !s.CreatedAt.Equal(at) || !s.UpdatedAt.Equal(at.Add(time.Second)) || string(s.Result) != `{"n":[1]}` {
				t.Errorf("Status of %s is %+v", value, s)
			}
			if state == status.Running != s.StartedAt.Equal(s.UpdatedAt) { // which it has begun with
				t.Errorf("Status of %s says that it began at %v", value, s.StartedAt)
			}
		}
	}
	// The older PHP forgets when the job was enqueued.
	site.must(site.client.Set(t.Context(), site.prefix+"job:old:status", `{"status":4,"updated":1795225602}`, time.Hour).Err())
	if s, err := q.Status(t.Context(), "old"); err != nil || s.State != status.Done || !s.FinishedAt.Equal(at.Add(time.Second)) {
		t.Errorf("the status of the older PHP is %+v, %v", s, err)
	}
	// A job with a prefix is known by both.
	site.must(site.client.Set(t.Context(), site.prefix+"job:mail_7:status", `{"status":2,"updated":1,"started":1,"result":null}`, time.Hour).Err())
	if s, err := b.JobStatus(t.Context(), "mail_7"); err != nil || s.State != "running" {
		t.Errorf("the status of a job with a prefix is %+v, %v", s, err)
	}
	if _, err := b.JobStatus(t.Context(), "nobody"); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("JobStatus of no job returned %v, want ErrNotFound", err)
	}
	site.must(site.client.Set(t.Context(), site.prefix+"job:broken:status", `[1,2]`, time.Hour).Err())
	if _, err := b.JobStatus(t.Context(), "broken"); !errors.Is(err, backend.ErrMalformed) {
		t.Errorf("JobStatus of what is none returned %v, want ErrMalformed", err)
	}
}
