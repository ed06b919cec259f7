package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// popper is the worker of another library: it pops jobs and then runs them. Of
// what it does in Redis each step is that of the original, in its order.
type popper struct {
	site    *resqueSite
	id      string
	queues  []string
	perform func(class string, args json.RawMessage) error
	done    sync.WaitGroup
	stop    context.CancelFunc
	failed  func(payload, queue string, err error) string // the entry of the list failed
	php     bool
}

// rubyWorker starts what resque work does, with perform in the place of the
// job's class: it is given the whole list of arguments.
func (s *resqueSite) rubyWorker(pid int, perform func(class string, args json.RawMessage) error, queues ...string) *popper {
	w := s.popper(pid, perform, queues)
	w.failed = func(payload, queue string, err error) string {
		return rubyFailed(payload, err.Error(), w.id, queue, time.Now())
	}
	w.start()
	return w
}

// phpWorker starts what php-resque's worker does: perform is given the first
// of the arguments.
func (s *resqueSite) phpWorker(pid int, perform func(class string, args json.RawMessage) error, queues ...string) *popper {
	w := s.popper(pid, perform, queues)
	w.php = true
	w.failed = func(payload, queue string, err error) string {
		return phpFailed(payload, err.Error(), w.id, queue, time.Now())
	}
	w.start()
	return w
}

func (s *resqueSite) popper(pid int, perform func(string, json.RawMessage) error, queues []string) *popper {
	host, err := os.Hostname()
	s.must(err)
	return &popper{
		site:    s,
		id:      fmt.Sprintf("%s:%d:%s", host, pid, strings.Join(queues, ",")),
		queues:  queues,
		perform: perform,
	}
}

func (w *popper) start() {
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.done.Add(1)
	go w.work(ctx)
	w.site.t.Cleanup(w.end)
}

// end is a graceful stop: the job in hand is finished.
func (w *popper) end() {
	w.stop()
	w.done.Wait()
}

func (w *popper) work(life context.Context) {
	defer w.done.Done()
	s, ctx := w.site, context.Background()
	w.prune(ctx)
	w.check(s.client.SAdd(ctx, s.prefix+"workers", w.id).Err())
	w.check(s.client.Set(ctx, s.prefix+"worker:"+w.id+":started", time.Now().Format("2006-01-02 15:04:05 -0700"), 0).Err())
	w.check(s.client.HSet(ctx, s.prefix+"workers:heartbeat", w.id, time.Now().Format(time.RFC3339)).Err())
	for life.Err() == nil {
		if paused, _ := s.client.Get(ctx, s.prefix+"pause-all-workers").Result(); paused == "true" || !w.next(ctx) {
			time.Sleep(2 * time.Millisecond)
		}
	}
	w.check(s.client.SRem(ctx, s.prefix+"workers", w.id).Err())
	w.check(s.client.Del(ctx, s.prefix+"worker:"+w.id, s.prefix+"worker:"+w.id+":started", s.prefix+"stat:processed:"+w.id, s.prefix+"stat:failed:"+w.id).Err())
	w.check(s.client.HDel(ctx, s.prefix+"workers:heartbeat", w.id).Err())
}

// prune is what every worker begins with: it takes each worker apart that is
// registered, and unregisters those of its own host that it does not know.
func (w *popper) prune(ctx context.Context) {
	s := w.site
	own, _, _ := strings.Cut(w.id, ":")
	ids, err := s.client.SMembers(ctx, s.prefix+"workers").Result()
	w.check(err)
	for _, id := range ids {
		w.check(strictWorkerID(id))
		beat, err := s.client.HGet(ctx, s.prefix+"workers:heartbeat", id).Result()
		if err == nil {
			_, err = time.Parse(time.RFC3339, beat)
			w.check(err)
		}
		host, rest, _ := strings.Cut(id, ":")
		pid, _, _ := strings.Cut(rest, ":")
		if n, _ := strconv.Atoi(pid); host == own && n == os.Getpid() {
			s.t.Errorf("worker %s would unregister %s", w.id, id)
		}
	}
}

// next runs the job that is first in the first queue that has one.
func (w *popper) next(ctx context.Context) bool {
	s := w.site
	for _, queue := range w.queues {
		payload, err := s.client.LPop(ctx, s.prefix+"queue:"+queue).Result()
		if err == goredis.Nil {
			continue
		}
		w.check(err)
		if err == nil {
			w.job(ctx, queue, payload)
		}
		return err == nil
	}
	return false
}

func (w *popper) job(ctx context.Context, queue, payload string) {
	s := w.site
	if err := strictPayload(payload); err != nil {
		s.t.Errorf("worker %s would exit: %v", w.id, err)
		return
	}
	at := time.Now().UTC().Format(time.RFC3339)
	w.check(s.client.Set(ctx, s.prefix+"worker:"+w.id, `{"queue":"`+queue+`","run_at":"`+at+`","payload":`+payload+`}`, 0).Err())
	var job struct {
		Class string
		Args  json.RawMessage
	}
	w.check(json.Unmarshal([]byte(payload), &job))
	args := job.Args
	if w.php {
		var list []json.RawMessage
		if w.check(json.Unmarshal(args, &list)); len(list) == 0 {
			s.t.Errorf("worker %s has no arguments to give in %s", w.id, payload)
			return
		}
		args = list[0]
	}
	if failure := w.perform(job.Class, args); failure != nil {
		w.check(s.client.RPush(ctx, s.prefix+"failed", w.failed(payload, queue, failure)).Err())
		w.check(s.client.IncrBy(ctx, s.prefix+"stat:failed", 1).Err())
		w.check(s.client.IncrBy(ctx, s.prefix+"stat:failed:"+w.id, 1).Err())
	}
	w.check(s.client.Del(ctx, s.prefix+"worker:"+w.id).Err())
	w.check(s.client.IncrBy(ctx, s.prefix+"stat:processed", 1).Err())
	w.check(s.client.IncrBy(ctx, s.prefix+"stat:processed:"+w.id, 1).Err())
}

// check reports what must not happen. It can be called from any goroutine.
func (w *popper) check(err error) {
	if err != nil {
		w.site.t.Errorf("worker %s: %v", w.id, err)
	}
}

// rubyFailed is an entry of the list failed as Resque writes it.
func rubyFailed(payload, problem, worker, queue string, at time.Time) string {
	return `{"failed_at":"` + at.UTC().Format("2006/01/02 15:04:05 MST") + `","payload":` + payload +
		`,"exception":"ArgumentError","error":"` + problem + `","backtrace":["/app/job.rb:7:in 'perform'","/app/x.rb:1"]` +
		`,"worker":"` + worker + `","queue":"` + queue + `"}`
}

// phpFailed is one as php-resque writes it, which escapes slashes.
func phpFailed(payload, problem, worker, queue string, at time.Time) string {
	return `{"failed_at":"` + at.UTC().Format("Mon Jan 02 15:04:05 MST 2006") + `","payload":` + payload +
		`,"exception":"RuntimeException","error":"` + problem + `","backtrace":["#0 \/app\/Job.php(7): Job->perform()","#1 {main}"]` +
		`,"worker":"` + strings.ReplaceAll(worker, "/", `\/`) + `","queue":"` + strings.ReplaceAll(queue, "/", `\/`) + `"}`
}

// retriedInResqueWeb is the entry after a person has pressed Retry.
func retriedInResqueWeb(entry string, at time.Time) string {
	return strings.TrimSuffix(entry, "}") + `,"retried_at":"` + at.Format("2006/01/02 15:04:05") + `"}`
}
