package redis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

// failed puts entries into the list failed.
func (s *resqueSite) failed(entries ...string) {
	s.t.Helper()
	values := make([]any, len(entries))
	for i, entry := range entries {
		values[i] = entry
	}
	s.must(s.client.RPush(context.Background(), s.prefix+"failed", values...).Err())
}

// dead returns the dead jobs of a queue, and checks that the count agrees.
func (s *resqueSite) dead(b interface {
	backend.Lister
	backend.Inspector
}, queue string) []*backend.Entry {
	s.t.Helper()
	entries, err := b.Peek(context.Background(), queue, backend.Dead, 0, 10_000)
	s.must(err)
	stats, err := b.Stats(context.Background(), queue)
	s.must(err)
	if stats.Dead != int64(len(entries)) {
		s.t.Errorf("Stats counts %d dead jobs of %s, Peek shows %d", stats.Dead, queue, len(entries))
	}
	return entries
}

const workerID = "vm:17146:high,default"

var failedAt = time.Date(2026, 11, 21, 1, 28, 33, 0, time.UTC)

func TestEntriesOfRubyAndPHPAreShown(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	site.failed(
		rubyFailed(`{"class":"A","args":[1,"two",{"k":null}]}`, "boom é", workerID, "default", failedAt),
		phpFailed(`{"class":"B","args":[{"k":"\u00e9"}],"id":"0af7651916cd43dd8448eb211c80319c","prefix":"","queue_time":1795225601.082353}`, "[7] boom", workerID, "default", failedAt),
		phpFailed(`{"class":"C","args":[null],"id":"1af7651916cd43dd8448eb211c80319c","queue_time":1795225601.0823}`, "boom", workerID, "default", failedAt),
		`{"failed_at":"2026/11/21 01:28:33 UTC","payload":{"class":"D","args":[]},"exception":"Resque::PruneDeadWorkerDirtyExit","error":"gone","backtrace":null,"worker":"`+workerID+`","queue":"default"}`,
	)
	entries := site.dead(b, "default")
	if len(entries) != 4 {
		t.Fatalf("%d entries are shown, want 4", len(entries))
	}
	for i, want := range []struct{ kind, args, id, problem, failure string }{
		{"A", `[1,"two",{"k":null}]`, "", "boom é", "ArgumentError"},
		{"B", `{"k":"\u00e9"}`, "0af7651916cd43dd8448eb211c80319c", "[7] boom", "RuntimeException"},
		{"C", `null`, "1af7651916cd43dd8448eb211c80319c", "boom", "RuntimeException"},
		{"D", `[]`, "", "gone", "Resque::PruneDeadWorkerDirtyExit"},
	} {
		e := entries[i]
		if e.Kind != want.kind || string(e.Args) != want.args || e.ID != want.id || e.Malformed != nil || e.Queue != "default" || e.State != backend.Dead {
			t.Errorf("entry %d is %+v", i, e)
		}
		if f := e.Failure; f.Error != want.problem || f.Type != want.failure || !f.At.Equal(failedAt) || f.Worker != "vm:17146" {
			t.Errorf("entry %d failed by %+v", i, f)
		}
	}
}

func TestARetryInResqueWebIsAFirstAttempt(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	attempts := make(chan int, 10)
	queue.RegisterFuncOn(mux, "Fragile", func(_ context.Context, job *queue.Job[email]) error {
		attempts <- job.Attempt
		if job.Args.To != "ann" {
			t.Errorf("the handler was given %+v", job.Args)
		}
		return errors.New("boom")
	}, queue.Retry(retry.Never()))
	q := site.queue(mux)
	b := site.backend()
	site.run(q)
	_, err := q.Enqueue(t.Context(), "Fragile", email{"ann"}, queue.Header("a", "b"))
	site.must(err)
	site.eventually(10*time.Second, "it is buried", func() bool { return len(site.list("failed")) == 1 })

	// What resque-web does: mark the entry, then push what it knows of it.
	entry := retriedInResqueWeb(site.list("failed")[0], time.Now())
	site.must(site.client.LSet(t.Context(), site.prefix+"failed", 0, entry).Err())
	site.ruby("default", "Fragile", `[{"to":"ann"}]`)
	site.eventually(10*time.Second, "it is buried again", func() bool { return len(site.list("failed")) == 2 })
	if first, second := <-attempts, <-attempts; first != 1 || second != 1 {
		t.Errorf("the attempts were %d and %d, want 1 and 1", first, second)
	}
	site.expectResqueCanRead()

	entries := site.dead(b, "default")
	if len(entries) != 2 || entries[0].Failure.Error != "boom" || entries[0].Header["a"] != "b" || entries[0].Attempt != 1 {
		t.Fatalf("the dead jobs are %+v", entries)
	}
	if n, err := b.Delete(t.Context(), "default", entries[0].Key); n != 1 || err != nil {
		t.Errorf("Delete of the entry that was retried returned %d, %v", n, err)
	}
	if left := site.list("failed"); len(left) != 1 || strings.Contains(left[0], "retried_at") {
		t.Errorf("failed still has %q", left)
	}
}

func TestADeadJobThatIsRequeuedStartsAnew(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	attempts := make(chan int, 10)
	queue.RegisterFuncOn(mux, "Fragile", func(_ context.Context, job *queue.Job[email]) error {
		attempts <- job.Attempt
		return errors.New("boom")
	}, queue.Retry(retry.Fixed(0)))
	q := site.queue(mux)
	b := site.backend()
	site.run(q)
	id, err := q.Enqueue(t.Context(), "Fragile", email{"ann"}, queue.MaxAttempts(2))
	site.must(err)
	for round := range 2 {
		site.eventually(10*time.Second, "it is buried", func() bool { return len(site.list("failed")) == 1 })
		if first, second := <-attempts, <-attempts; first != 1 || second != 2 {
			t.Errorf("round %d: the attempts were %d and %d, want 1 and 2", round, first, second)
		}
		entries := site.dead(b, "default")
		if entries[0].ID != id || entries[0].Attempt != 2 || entries[0].MaxAttempts != 2 {
			t.Errorf("round %d: the dead job is %+v", round, entries[0])
		}
		n, err := b.Requeue(t.Context(), "default", entries[0].Key)
		if n != 1 || err != nil {
			t.Fatalf("Requeue returned %d, %v", n, err)
		}
	}
}

func TestWhatRubyAndPHPWroteIsRequeuedAsTheyWroteIt(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	for _, payload := range []string{
		`{"class":"A","args":[]}`,
		`{"class":"A","args":[1,"two",{"k":null}]}`,
		`{"class":"A","args":["é"]}`,
		`{"class":"A","args":[[1,2]]}`,
		`{"class":"A","args":[[]]}`,
		`{"class":"A","args":[{}]}`,
		`{"class":"A","args":[12345678901234567,1.50,"\u00e9\/"]}`,
		`{"class":"A","args":[{"k":"\u00e9\/"}],"id":"0af7651916cd43dd8448eb211c80319c","prefix":"mail"}`,
		`{"class":"A","args":[1],"locale":"de","meta":{"a":[ ]}}`,
	} {
		for _, web := range []bool{false, true} {
			entry := rubyFailed(payload, "boom", workerID, "default", failedAt)
			if web {
				entry = retriedInResqueWeb(entry, failedAt)
			}
			site.failed(entry)
			entries := site.dead(b, "default")
			if n, err := b.Requeue(t.Context(), "default", entries[0].Key); n != 1 || err != nil {
				t.Fatalf("Requeue of %s returned %d, %v", payload, n, err)
			}
			popped, err := site.client.LPop(t.Context(), site.prefix+"queue:default").Result()
			if site.must(err); popped != payload {
				t.Errorf("what Ruby pops is %s, want %s", popped, payload)
			}
		}
	}
	// PHP's queue_time is kept in value, with all the digits that this library has.
	site.failed(phpFailed(phpPayload("A", "7", phpID()), "boom", workerID, "default", failedAt))
	before := site.dead(b, "default")[0]
	_, err := b.Requeue(t.Context(), "default", before.Key)
	site.must(err)
	d := site.reserve(b, "default")
	if !d.EnqueuedAt.Equal(before.EnqueuedAt) || d.EnqueuedAt.IsZero() || d.ID != before.ID || string(d.Args) != "7" {
		t.Errorf("PHP's job came back as %+v, was %+v", d.Message, before.Message)
	}
	if members := site.members("queues"); !slices.Contains(members, "default") {
		t.Errorf("queues is %q after Requeue", members)
	}
}

func TestTheDeadOfAQueueAreFoundAmongThoseOfOthers(t *testing.T) {
	t.Parallel()
	const entries = 5000
	site := newResqueSite(t)
	b := site.backend()
	queues := []string{"default", "mail/urgent", "mail", "urgent", "a.b:c/d"}
	count := make(map[string]int)
	var batch []string
	for n := range entries {
		queue := queues[n%len(queues)]
		count[queue]++
		payload := fmt.Sprintf(`{"class":"Job","args":[%d,"\"queue\":\"default\"}"]}`, n)
		switch n % 7 {
		case 0, 1:
			batch = append(batch, phpFailed(payload, `"queue":"mail`, "vm/a:1:"+queue, queue, failedAt))
		case 2:
			batch = append(batch, retriedInResqueWeb(phpFailed(payload, "boom", workerID, queue, failedAt), failedAt))
		case 3:
			batch = append(batch, retriedInResqueWeb(rubyFailed(payload, "boom", workerID, queue, failedAt), failedAt))
		default:
			batch = append(batch, rubyFailed(payload, "boom", workerID, queue, failedAt))
		}
	}
	for i := range batch { // PHP has escaped what it was given
		batch[i] = strings.Replace(batch[i], `"error":""queue":"mail"`, `"error":"\"queue\":\"mail"`, 1)
	}
	site.failed(batch...)
	for _, queue := range queues {
		got := site.dead(b, queue)
		if len(got) != count[queue] {
			t.Errorf("%d dead jobs are found in %s, want %d", len(got), queue, count[queue])
		}
		last := -1
		for i, e := range got {
			var n int
			if _, err := fmt.Sscanf(string(e.Args), "[%d,", &n); err != nil || n <= last || queues[n%len(queues)] != queue {
				t.Fatalf("entry %d of %s is %+v, behind number %d", i, queue, e, last)
			}
			last = n
		}
		if part, err := b.Peek(t.Context(), queue, backend.Dead, 500, 3); err != nil || len(part) != 3 || part[0].Key != got[500].Key {
			t.Errorf("Peek of three of %s from 500 returned %d, %v", queue, len(part), err)
		}
		keys := []string{got[0].Key, got[500].Key, got[len(got)-1].Key, "no such key"}
		if n, err := b.Requeue(t.Context(), queue, keys...); n != 3 || err != nil {
			t.Errorf("Requeue of three of %s returned %d, %v", queue, n, err)
		}
		if n := len(site.list("queue:" + queue)); n != 3 {
			t.Errorf("%s has %d ready jobs, want 3", queue, n)
		}
		if n, err := b.Delete(t.Context(), queue, keys...); n != 0 || err != nil {
			t.Errorf("Delete of what was requeued returned %d, %v", n, err)
		}
	}
	for _, queue := range queues {
		var keys []string
		for _, e := range site.dead(b, queue) {
			keys = append(keys, e.Key)
		}
		if n, err := b.Delete(t.Context(), queue, keys...); n != count[queue]-3 || err != nil {
			t.Errorf("Delete of all of %s returned %d, %v, want %d", queue, n, err, count[queue]-3)
		}
	}
	if left := site.list("failed"); len(left) > 0 {
		t.Errorf("%d entries are left, the first is %s", len(left), left[0])
	}
}

func TestEveryDeadJobIsFoundWhileOthersAreTakenOut(t *testing.T) {
	t.Parallel()
	const entries = 4000
	site := newResqueSite(t)
	b := site.backend()
	var batch []string
	for n := range entries {
		batch = append(batch, rubyFailed(fmt.Sprintf(`{"class":"Job","args":[%d]}`, n), "boom", workerID, []string{"odd", "even"}[n%2], failedAt))
	}
	site.failed(batch...)
	var done sync.WaitGroup
	for _, queue := range []string{"odd", "even"} {
		var keys []string
		for _, e := range site.dead(b, queue) {
			keys = append(keys, e.Key)
		}
		for half := range slices.Chunk(keys, len(keys)/2) {
			done.Go(func() {
				for some := range slices.Chunk(half, 100) {
					if n, err := b.Requeue(t.Context(), queue, some...); n != len(some) || err != nil {
						t.Errorf("Requeue of %d of %s returned %d, %v", len(some), queue, n, err)
					}
				}
			})
		}
	}
	done.Wait()
	for _, queue := range []string{"odd", "even"} {
		if n := len(site.list("queue:" + queue)); n != entries/2 {
			t.Errorf("%s has %d ready jobs, want %d", queue, n, entries/2)
		}
	}
}

func TestAnEntryWithoutAJobStaysAmongTheDead(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	site.failed(rubyFailed(`null`, "boom", workerID, "default", failedAt))
	entries := site.dead(b, "default")
	if len(entries) != 1 {
		t.Fatalf("the dead jobs are %+v", entries)
	}
	if n, err := b.Requeue(t.Context(), "default", entries[0].Key); n != 0 || err != nil {
		t.Errorf("Requeue returned %d, %v; want 0, since null would end a Ruby worker", n, err)
	}
	if left := site.list("failed"); len(left) != 1 {
		t.Errorf("failed has %q, want the entry", left)
	}
}
