package redis_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// pauseAll does what a person does to all of Resque's workers, or undoes it.
func (s *resqueSite) pauseAll(value string) {
	s.t.Helper()
	ctx := context.Background()
	if value == "" {
		s.must(s.client.Del(ctx, s.prefix+"pause-all-workers").Err())
	} else {
		s.must(s.client.Set(ctx, s.prefix+"pause-all-workers", value, 0).Err())
	}
}

// counting is a queue that runs and counts the jobs of the kind Count.
func (s *resqueSite) counting(options ...queue.OpenOption) *atomic.Int64 {
	s.t.Helper()
	mux, ran := new(queue.Mux), new(atomic.Int64)
	queue.RegisterFuncOn(mux, "Count", func(context.Context, *queue.Job[any]) error {
		ran.Add(1)
		return nil
	})
	s.run(s.queue(mux, options...))
	s.workerOf()
	return ran
}

// settled waits until a worker that has nothing to do has begun to wait.
const settled = 300 * time.Millisecond

func TestResquesPauseStopsAWorkerThatWaits(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	ran := site.counting()
	time.Sleep(settled)
	for _, over := range []string{"", "false"} {
		before := ran.Load()
		site.pauseAll("true")
		for range 3 {
			site.ruby("default", "Count", "[1]")
		}
		time.Sleep(1500 * time.Millisecond)
		if n := ran.Load() - before; n > 0 {
			t.Errorf("%d jobs ran during the pause", n)
		}
		if n := len(site.list("queue:default")); n != 3 {
			t.Errorf("%d jobs are in the queue during the pause, want 3", n)
		}
		stats, err := site.backend().Stats(t.Context(), "default")
		if site.must(err); !stats.Paused || stats.Ready != 3 {
			t.Errorf("the stats during the pause are %+v", stats)
		}
		site.pauseAll(over)
		site.eventually(2*time.Second, "the pause is over with "+over, func() bool { return ran.Load() == before+3 })
	}
	site.ruby("default", "Count", "[1]")
	if took := site.eventually(5*time.Second, "a job runs after the pauses", func() bool { return ran.Load() == 7 }); took > time.Second {
		t.Errorf("after the pauses a job waited %v", took)
	}
}

func TestResquesPauseStopsAWorkerThatWorks(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	ran := site.counting(queue.Workers(2))
	stop := make(chan bool)
	pushed := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				pushed <- n
				return
			case <-time.After(2 * time.Millisecond):
				site.ruby("default", "Count", "[1]")
			}
		}
	}()
	site.eventually(10*time.Second, "jobs run", func() bool { return ran.Load() > 20 })
	site.pauseAll("true")
	time.Sleep(time.Second) // what was reserved before may still run
	before := ran.Load()
	time.Sleep(700 * time.Millisecond)
	if n := ran.Load() - before; n > 0 {
		t.Errorf("%d jobs ran after a second of the pause", n)
	}
	site.pauseAll("")
	close(stop)
	n := <-pushed
	site.eventually(10*time.Second, "all jobs ran", func() bool { return ran.Load() == int64(n) })
	time.Sleep(100 * time.Millisecond)
	if ran := ran.Load(); ran != int64(n) {
		t.Errorf("%d jobs ran, want %d", ran, n)
	}
}

func TestAPausedWorkerHardlyAsks(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	requests := requests(t, site.client)
	site.counting(queue.Queues("a", "b", "c", "*"), queue.Workers(5))
	site.pauseAll("true")
	for _, name := range []string{"a", "b", "c", "d"} {
		site.ruby(name, "Count", "[1]")
	}
	time.Sleep(1500 * time.Millisecond) // for all of its waits to notice
	before := requests()
	time.Sleep(3 * time.Second)
	if n := requests() - before; n > 3*3 {
		t.Errorf("in 3 s of a pause a worker made %d requests, want at most 3 a second", n)
	}
}

func TestTwoNamespacesDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	one := newResqueSite(t)
	two := one.beside()
	first, second := one.counting(queue.Queues("default", "*")), two.counting(queue.Queues("default", "*"))
	for range 5 {
		one.ruby("default", "Count", "[1]")
		one.php("other", "Count", "{}")
	}
	one.eventually(10*time.Second, "the jobs of the first ran", func() bool { return first.Load() == 10 })
	time.Sleep(100 * time.Millisecond)
	if n := second.Load(); n > 0 {
		t.Errorf("%d jobs of one namespace ran in another", n)
	}
	if id, other := one.workerOf(), two.workerOf(); id == other {
		t.Errorf("both workers have the id %s", id)
	}
	b := two.backend()
	names, err := b.Queues(t.Context())
	if one.must(err); len(names) > 0 {
		t.Errorf("the second namespace has the queues %q", names)
	}
	one.failed(rubyFailed(`{"class":"A","args":[]}`, "boom", workerID, "default", failedAt))
	if stats, err := b.Stats(t.Context(), "default"); err != nil || stats.Dead != 0 {
		t.Errorf("the second namespace has the stats %+v, %v", stats, err)
	}
	one.pauseAll("true")
	two.ruby("default", "Count", "[1]")
	two.eventually(time.Second, "the pause of one is not that of the other", func() bool { return second.Load() == 1 })
}

func TestAllQueuesTakesFromOneThatRubyHasJustMade(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	ran := site.counting(queue.Queues("*"))
	requests := requests(t, site.client)
	time.Sleep(2 * settled)
	before := requests()
	time.Sleep(2 * time.Second)
	if n := requests() - before; n > 6 {
		t.Errorf("in 2 s of waiting for new queues there were %d requests", n)
	}
	for i, name := range []string{"brand-new", "newer", "a/b", "z.z:z+z"} {
		site.ruby(name, "Count", "[1]")
		took := site.eventually(5*time.Second, "the job of "+name+" ran", func() bool { return ran.Load() == int64(i+1) })
		if took > 500*time.Millisecond { // milliseconds, but for a busy machine
			t.Errorf("a job of the new queue %s waited %v", name, took)
		}
	}
	site.ruby("newer", "Count", "[1]")
	site.eventually(500*time.Millisecond, "the next job of a known queue ran", func() bool { return ran.Load() == 5 })
}

func TestJobsOfRubyComeInTheOrderOfTheQueues(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	for _, name := range []string{"z", "low", "B", "high", "a", "high"} {
		site.ruby(name, "Count", `["`+name+`"]`)
	}
	expect := func(want ...string) {
		t.Helper()
		for _, name := range want {
			d := site.reserve(b, "high", "low", "*")
			if d.Queue != name || string(d.Args) != `"`+name+`"` {
				t.Errorf("reserved %s of %s, want %s", d.Args, d.Queue, name)
			}
			site.must(b.Ack(t.Context(), []*backend.Delivery{d}))
		}
	}
	expect("high", "high", "low", "B", "a", "z")
	// And so it is for one that waited when they came.
	for range 3 {
		waiting := make(chan *backend.Delivery)
		go func() {
			deliveries, err := b.Reserve(site.ctx(), []string{"high", "low", "*"}, 1, time.Minute)
			if err != nil {
				t.Error(err)
				close(waiting)
				return
			}
			waiting <- deliveries[0]
		}()
		time.Sleep(settled)
		site.ruby("low", "Count", `["low"]`)
		first := <-waiting
		if first == nil || first.Queue != "low" {
			t.Fatalf("reserved %+v, want the job of low", first)
		}
		site.must(b.Ack(t.Context(), []*backend.Delivery{first}))
	}
}

// Redis answers both waits at once; which answer is read first must not matter.
func TestJobsThatComeTogetherAreTakenInTheOrderOfTheQueues(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	for range 50 {
		first := make(chan *backend.Delivery, 1)
		go func() {
			defer close(first)
			deliveries, err := b.Reserve(site.ctx(), []string{"high", "low"}, 1, time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			first <- deliveries[0]
		}()
		site.eventually(5*time.Second, "it waits for both", func() bool {
			clients, err := site.client.Info(t.Context(), "clients").Result()
			site.must(err)
			return strings.Contains(clients, "blocked_clients:3\r\n") // the clock waits too
		})
		_, err := site.client.TxPipelined(t.Context(), func(pipe goredis.Pipeliner) error {
			for _, name := range []string{"low", "high"} {
				pipe.RPush(t.Context(), site.prefix+"queue:"+name, `{"class":"A","args":[]}`)
			}
			return nil
		})
		site.must(err)
		d := <-first
		if d == nil || d.Queue != "high" {
			t.Fatalf("reserved %+v first, want the job of high", d)
		}
		site.must(b.Ack(t.Context(), []*backend.Delivery{d, site.reserve(b, "low")}))
	}
}
