package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/retry"
)

// ticket is the argument of the jobs that several libraries compete for.
type ticket struct {
	N int `json:"n"`
}

// ledger counts how often each job was done, and by whom.
type ledger struct {
	mu   sync.Mutex // guards all below
	done map[int]int
	by   map[string]int
}

func (l *ledger) write(who string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done, l.by = make(map[int]int), make(map[string]int)
	}
	l.done[n]++
	l.by[who]++
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done)
}

// workers returns how many have done something.
func (l *ledger) workers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.by)
}

// expectOnce reports the jobs that were done never or twice.
func (l *ledger) expectOnce(t testing.TB, jobs int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range jobs {
		if l.done[n] != 1 {
			t.Errorf("job %d was done %d times", n, l.done[n])
		}
	}
	if len(l.done) != jobs {
		t.Errorf("%d jobs were done, want %d", len(l.done), jobs)
	}
}

// failsForGood is which of the jobs fail for good, wherever they run.
func failsForGood(n int) bool { return n%40 == 0 }

// seen tells who comes for the first time.
type seen struct{ numbers sync.Map }

func (s *seen) first(n int) bool {
	_, known := s.numbers.LoadOrStore(n, true)
	return !known
}

func TestWorkersOfThreeLibrariesShareQueuesAndEachJobIsDoneOnce(t *testing.T) {
	t.Parallel()
	const least, most = 700, 50_000 // jobs of each of three producers
	site := newResqueSite(t)
	var book ledger
	var released seen
	ours := func(who string) *queue.Queue {
		mux := new(queue.Mux)
		queue.RegisterFuncOn(mux, "Ticket", func(_ context.Context, job *queue.Job[ticket]) error {
			switch n := job.Args.N; {
			case failsForGood(n):
				book.write(who, n)
				return queue.Bury(fmt.Errorf("job %d fails", n))
			case n%7 == 0 && job.Attempt == 1: // the others are given what was here before
				return errors.New("once more")
			case n%11 == 0 && released.first(n):
				return queue.Snooze(0)
			default:
				book.write(who, n)
				return nil
			}
		}, queue.Retry(retry.Fixed(5*time.Millisecond)))
		return site.queue(mux, queue.Queues("high", "low"), queue.Workers(4))
	}
	theirs := func(who string) func(string, json.RawMessage) error {
		return func(class string, args json.RawMessage) error {
			var one ticket
			list := []*ticket{&one}
			target := any(&list)
			if args[0] != '[' {
				target = &one
			}
			if err := json.Unmarshal(args, target); err != nil || class != "Ticket" {
				t.Errorf("%s was given %s of class %s: %v", who, args, class, err)
			}
			book.write(who, one.N)
			time.Sleep(time.Millisecond)
			if failsForGood(one.N) {
				return fmt.Errorf("job %d fails", one.N)
			}
			return nil
		}
	}
	first, second := ours("ours 1"), ours("ours 2")
	site.run(first)
	site.run(second)
	popping := []*popper{
		site.rubyWorker(1001, theirs("Ruby 1"), "high", "low"),
		site.rubyWorker(1002, theirs("Ruby 2"), "high", "low"),
		site.phpWorker(1003, theirs("PHP"), "high", "low"),
	}

	var producing sync.WaitGroup
	var jobs atomic.Int64
	queues := []string{"high", "low"}
	for _, enqueue := range []func(n int){
		func(n int) { site.ruby(queues[n%2], "Ticket", fmt.Sprintf(`[{"n":%d}]`, n)) },
		func(n int) { site.php(queues[n%2], "Ticket", fmt.Sprintf(`{"n":%d}`, n)) },
		func(n int) {
			if _, err := first.Enqueue(context.Background(), "Ticket", ticket{n}, queue.On(queues[n%2])); err != nil {
				t.Error(err)
			}
		},
	} {
		producing.Go(func() {
			for i := 0; i < least || i < most && book.workers() < 5; i++ { // until everybody has had some
				enqueue(int(jobs.Add(1) - 1))
			}
		})
	}
	producing.Wait()
	total := int(jobs.Load())
	site.eventually(30*time.Second, "all jobs done", func() bool { return book.count() == total })
	site.expectResqueCanRead() // while all of them are registered
	for _, w := range popping {
		w.end()
	}
	for _, q := range []*queue.Queue{first, second} {
		site.must(q.Close())
	}

	book.expectOnce(t, total)
	if book.workers() < 5 {
		t.Errorf("somebody did nothing: %v", book.by)
	}
	var dead int
	for n := range total {
		if failsForGood(n) {
			dead++
		}
	}
	if entries := site.dead(site.backend(), "high"); len(entries) != dead { // all of them have even numbers
		t.Errorf("%d jobs are dead, want %d", len(entries), dead)
	}
	if processed, failed := site.number("stat:processed"), site.number("stat:failed"); processed != int64(total) || failed != int64(dead) {
		t.Errorf("stat:processed is %d and stat:failed %d, want %d and %d", processed, failed, total, dead)
	}
	for _, name := range queues {
		if left := site.list("queue:" + name); len(left) > 0 {
			t.Errorf("%s still has %q", name, left)
		}
	}
	site.expectResqueCanRead()
}
