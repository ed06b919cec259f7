package redis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis"
)

// schedulerLock is what the Ruby scheduler holds, behind the namespace. It names
// the namespace once more.
func (s *resqueSite) schedulerLock() string { return s.prefix + "resque_scheduler_master_lock" }

// rubyDelayed schedules an item as Resque.enqueue_at does.
func (s *resqueSite) rubyDelayed(second int64, item string) {
	s.t.Helper()
	at := strconv.FormatInt(second, 10)
	s.phpDelayed(second, item)
	s.must(s.client.SAdd(context.Background(), s.prefix+"timestamps:"+item, "delayed:"+at).Err())
}

// phpDelayed schedules one as ResqueScheduler::enqueueAt does, which keeps no
// record of where the item is.
func (s *resqueSite) phpDelayed(second int64, item string) {
	s.t.Helper()
	ctx, at := context.Background(), strconv.FormatInt(second, 10)
	_, err := s.client.Pipelined(ctx, func(pipe goredis.Pipeliner) error {
		pipe.RPush(ctx, s.prefix+"delayed:"+at, item)
		pipe.ZAdd(ctx, s.prefix+"delayed_queue_schedule", goredis.Z{Score: float64(second), Member: at})
		return nil
	})
	s.must(err)
}

// expectNothingDelayed checks that what Ruby's scheduler looks at is empty.
func (s *resqueSite) expectNothingDelayed() {
	s.t.Helper()
	for _, name := range s.keys() {
		if kind, _, _ := strings.Cut(name, ":"); kind == "delayed" || kind == "timestamps" || name == "delayed_queue_schedule" || name == s.schedulerLock() {
			s.t.Errorf("%s is left", name)
		}
	}
}

func (s *resqueSite) serverSecond() int64 {
	s.t.Helper()
	now, err := s.client.Time(context.Background()).Result()
	s.must(err)
	return now.Unix()
}

func TestWhatRubyAndPHPHaveDelayedRunsWhenItIsDue(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	now := site.serverSecond()
	const ruby, php = `{"class":"A","args":[1,"two",{"k":null}],"queue":"default"}`, `{"class":"B","args":[{"k":"\u00e9\/"}],"queue":"a\/b"}`
	site.rubyDelayed(now+2, ruby)
	site.phpDelayed(now+2, php)
	site.rubyDelayed(now+1000, ruby) // the same item at another time
	for _, want := range []struct{ queue, raw string }{
		{"default", `{"class":"A","args":[1,"two",{"k":null}]}`}, {"a/b", `{"class":"B","args":[{"k":"\u00e9\/"}]}`},
	} {
		d := site.reserveFor(b, time.Second, "default", "a/b")
		if second := site.serverSecond(); second < now+2 {
			t.Errorf("the job of %s was reserved in second %d, was due in %d", want.queue, second, now+2)
		}
		if d.Queue != want.queue || string(d.Raw) != want.raw || d.Attempt != 1 {
			t.Errorf("reserved %s of %s, attempt %d; want %s of %s", d.Raw, d.Queue, d.Attempt, want.raw, want.queue)
		}
		site.must(b.Ack(t.Context(), []*backend.Delivery{d}))
	}
	later := "delayed:" + strconv.FormatInt(now+1000, 10)
	if members := site.members("timestamps:" + ruby); !slices.Equal(members, []string{later}) {
		t.Errorf("Ruby's record of the item has %q, want %q", members, later)
	}
	if items := site.list(later); !slices.Equal(items, []string{ruby}) {
		t.Errorf("the later second has %q", items)
	}
	seconds, err := site.client.ZRange(t.Context(), site.prefix+"delayed_queue_schedule", 0, -1).Result()
	if site.must(err); !slices.Equal(seconds, []string{later[len("delayed:"):]}) {
		t.Errorf("the schedule has the seconds %q", seconds)
	}
	if site.text(site.schedulerLock()) != "" {
		t.Error("the scheduler's lock is left")
	}
}

func TestWhileASchedulerRunsItsItemsAreLeftToIt(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	site.must(site.client.Set(t.Context(), site.prefix+site.schedulerLock(), "vm:4711", 3*time.Minute).Err())
	now := site.serverSecond()
	site.rubyDelayed(now-5, `{"class":"Count","args":[1],"queue":"default"}`)
	ran := site.counting(queue.Lease(3 * time.Second)) // a beat of a second
	time.Sleep(settled)
	requests := requests(t, site.client)
	before := requests()
	time.Sleep(2500 * time.Millisecond)
	if n := requests() - before; n > 8 {
		t.Errorf("a worker that leaves the items to the scheduler made %d requests in 2.5 s", n)
	}
	if n := ran.Load(); n > 0 || len(site.list("delayed:"+strconv.FormatInt(now-5, 10))) != 1 {
		t.Errorf("%d jobs of the scheduler ran", n)
	}
	if holder := site.text(site.schedulerLock()); holder != "vm:4711" {
		t.Errorf("the lock is now held by %q", holder)
	}
	// The scheduler goes, without having done it.
	site.must(site.client.Del(t.Context(), site.prefix+site.schedulerLock()).Err())
	site.eventually(4*time.Second, "the item ran", func() bool { return ran.Load() == 1 })
	site.expectNothingDelayed()
}

func TestSeveralWorkersMoveADelayedItemOnce(t *testing.T) {
	t.Parallel()
	const items = 1500
	site := newResqueSite(t)
	now := site.serverSecond()
	for n := range items {
		site.rubyDelayed(now-int64(n%20), fmt.Sprintf(`{"class":"Count","args":[%d],"queue":"default"}`, n%700)) // some are equal
	}
	var workers []*redis.Backend
	for range 4 {
		workers = append(workers, site.backend())
	}
	for _, b := range workers {
		go b.Reserve(site.ctx(), []string{"nothing"}, 1, time.Second)
	}
	site.eventually(20*time.Second, "all are moved", func() bool { return len(site.list("queue:default")) >= items })
	time.Sleep(100 * time.Millisecond)
	if n := len(site.list("queue:default")); n != items {
		t.Errorf("%d jobs are ready, want %d", n, items)
	}
	site.expectNothingDelayed()
	site.expectResqueCanRead()
}

func TestADelayedItemThatCannotRunIsKeptInFailed(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	now := site.serverSecond()
	broken := []string{
		`{"class":"A","args":[1]}`,
		`{"class":"A","args":[1],"queue":""}`,
		`{"class":"A","args":[1],"queue":"not a name"}`,
		`{"class":"A","args":[1],"queue":7}`,
		`not JSON`,
		`null`,
		`[1,2]`,
		``,
		"\xff\x00",
		`{"class":"A","args":["\ud800"],"queue":"default"}`,
		`{"class":"A","args":[1e400],"queue":"default"}`,
	}
	for _, item := range broken {
		site.rubyDelayed(now-1, item)
	}
	site.rubyDelayed(now-1, `{"class":"A","args":[1],"queue":"default"}`)
	d := site.reserve(b, "default")
	if string(d.Raw) != `{"class":"A","args":[1]}` {
		t.Errorf("reserved %s", d.Raw)
	}
	site.eventually(10*time.Second, "all others are in failed", func() bool { return len(site.list("failed")) == len(broken) })
	entries := site.dead(b, "unknown")
	if len(entries) != len(broken) {
		t.Fatalf("%d entries are found in unknown, want %d", len(entries), len(broken))
	}
	for i, e := range entries {
		if string(e.Raw) != broken[i] || e.Failure.Error == "" {
			t.Errorf("entry %d has the bytes %q, want %q; it failed by %+v", i, e.Raw, broken[i], e.Failure)
		}
	}
	site.expectNothingDelayed()
	site.expectResqueCanRead()
	requests := requests(t, site.client)
	before := requests()
	time.Sleep(time.Second)
	if n := requests() - before; n > 3 {
		t.Errorf("after that a worker makes %d requests a second", n)
	}
}

func TestAnEmptySecondIsClearedAway(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	now := site.serverSecond()
	for _, second := range []int64{now - 10, now - 5} {
		site.must(site.client.ZAdd(t.Context(), site.prefix+"delayed_queue_schedule", goredis.Z{Score: float64(second), Member: second}).Err())
	}
	site.counting()
	site.eventually(5*time.Second, "the schedule is empty", func() bool {
		n, err := site.client.ZCard(t.Context(), site.prefix+"delayed_queue_schedule").Result()
		site.must(err)
		return n == 0
	})
	site.expectNothingDelayed()
}

func TestWithDelayedResqueAJobIsWrittenForRubysScheduler(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	q := site.queueAt(site.with("delayed", "resque"), new(queue.Mux))
	before := time.Now()
	_, err := q.Enqueue(t.Context(), "SendEmail", email{"ann"}, queue.In(90*time.Second))
	site.must(err)
	seconds, err := site.client.ZRangeWithScores(t.Context(), site.prefix+"delayed_queue_schedule", 0, -1).Result()
	site.must(err)
	if len(seconds) != 1 || strconv.FormatFloat(seconds[0].Score, 'f', -1, 64) != seconds[0].Member {
		t.Fatalf("the schedule is %v", seconds)
	}
	if due := time.Unix(int64(seconds[0].Score), 0); due.Before(before.Add(90*time.Second)) || due.After(time.Now().Add(91*time.Second)) {
		t.Errorf("it is due at %v, was enqueued at %v", due, before)
	}
	key := "delayed:" + seconds[0].Member.(string)
	const item = `{"class":"SendEmail","args":[{"to":"ann"}],"queue":"default"}`
	if items := site.list(key); !slices.Equal(items, []string{item}) {
		t.Errorf("%s has %q, want %q", key, items, item)
	}
	if members := site.members("timestamps:" + item); !slices.Equal(members, []string{key}) {
		t.Errorf("Ruby's record of the item has %q, want %q", members, key)
	}
	names := site.keys()
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool { kind, _, _ := strings.Cut(name, ":"); return kind == "gofer" })
	if want := []string{key, "delayed_queue_schedule", "queues", "timestamps:" + item}; !slices.Equal(names, want) {
		t.Errorf("the keys are %q, want %q", names, want)
	}

	for name, option := range map[string]queue.Option{
		"MaxAttempts": queue.MaxAttempts(3), "Header": queue.Header("a", "b"), "Track": queue.Track(),
		"Timeout": queue.Timeout(time.Minute), "Unique": queue.Unique(time.Hour),
	} {
		if _, err := q.Enqueue(t.Context(), "SendEmail", email{"ann"}, queue.In(time.Minute), option); !errors.Is(err, queue.ErrUnsupported) {
			t.Errorf("with %s: got %v, want ErrUnsupported", name, err)
		}
		if _, err := q.Enqueue(t.Context(), "SendEmail", email{name}, option); err != nil {
			t.Errorf("with %s and no delay: %v", name, err)
		}
	}
	if items := site.list(key); len(items) != 1 {
		t.Errorf("%s has %q", key, items)
	}
}

func TestWithDelayedResqueAJobRunsHereToo(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	ran := make(chan *queue.Job[email], 1)
	queue.RegisterFuncOn(mux, "SendEmail", func(_ context.Context, job *queue.Job[email]) error {
		if job.Attempt == 1 {
			return queue.RetryIn(time.Millisecond, errors.New("a retry is none of the scheduler's"))
		}
		ran <- job
		return nil
	})
	q := site.queueAt(site.with("delayed", "resque"), mux, queue.Lease(3*time.Second))
	site.run(q)
	began := time.Now()
	_, err := q.Enqueue(t.Context(), "SendEmail", email{"ann"}, queue.In(time.Second))
	site.must(err)
	select {
	case job := <-ran:
		if job.Args.To != "ann" || job.Attempt != 2 || time.Since(began) < time.Second {
			t.Errorf("after %v ran %+v", time.Since(began), job)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the job did not run")
	}
	site.expectNothingDelayed()
}
