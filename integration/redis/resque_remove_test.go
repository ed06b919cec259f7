package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis"
)

func TestJobsOfEveryoneAreRemovedByKindIDAndArguments(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	fill := func() (phpID string) {
		t.Helper()
		_, err := b.Purge(t.Context(), "default")
		site.must(err)
		site.ruby("default", "A", `[1,"two"]`)
		site.ruby("default", "A", `[{"k":1,"m":[2]}]`)
		site.ruby("default", "B", `[{"m":[2.0],"k":1,"more":null}]`)
		site.raw("default", `{"class":"B","args":[7],"id":12}`, "hello \xff there", `[1]`)
		phpID = site.php("default", "A", `{"k":"\u00e9"}`)
		var messages []*backend.Message
		for n := range 4 {
			messages = append(messages, &backend.Message{
				ID: fmt.Sprint("ours-", n), Kind: "A", Queue: "default", Args: fmt.Appendf(nil, `{"n":%d}`, n), Delay: time.Duration(n%2) * time.Hour,
			})
		}
		site.must(b.Push(t.Context(), messages))
		return phpID
	}
	id := fill()
	for _, c := range []struct {
		name    string
		filters []backend.Filter
		removed int
	}{
		{"the id of PHP", []backend.Filter{{ID: id}}, 1},
		{"the id of one that is scheduled", []backend.Filter{{ID: "ours-1"}}, 1},
		{"an id and another kind", []backend.Filter{{ID: "ours-1", Kind: "B"}}, 0},
		{"a kind", []backend.Filter{{Kind: "A"}}, 7},
		{"a kind and arguments", []backend.Filter{{Kind: "A", Args: json.RawMessage(`{"k":1}`)}}, 1},
		{"arguments of any kind", []backend.Filter{{Args: json.RawMessage(`{"k":1,"m":[2]}`)}}, 2},
		{"a list of arguments", []backend.Filter{{Args: json.RawMessage(`[1, "two"]`)}}, 1},
		{"text in another spelling", []backend.Filter{{Args: json.RawMessage(`{"k":"é"}`)}}, 1},
		{"several at once, which overlap", []backend.Filter{{ID: "ours-0"}, {ID: "ours-3"}, {Kind: "B"}, {Kind: "B", Args: json.RawMessage(`7`)}}, 4},
		{"nothing", []backend.Filter{{ID: "nobody"}}, 0},
	} {
		newID := fill()
		for i := range c.filters {
			if c.filters[i].ID == id {
				c.filters[i].ID = newID
			}
		}
		if n, err := b.Remove(t.Context(), "default", c.filters...); n != c.removed || err != nil {
			t.Errorf("%s: Remove returned %d, %v, want %d", c.name, n, err, c.removed)
		}
		stats, err := b.Stats(t.Context(), "default")
		if site.must(err); stats.Ready+stats.Scheduled != int64(11-c.removed) {
			t.Errorf("%s: %+v is left, want %d", c.name, stats, 11-c.removed)
		}
	}
	fill()
	if n, err := b.Purge(t.Context(), "default"); n != 11 || err != nil {
		t.Errorf("Purge returned %d, %v, want 11", n, err)
	}
	site.expectResqueCanRead()
}

// busyLine is a queue in which others take from the head and push at the tail for
// as long as a test does something to it.
type busyLine struct {
	pushed [2]atomic.Int64 // of the kinds Keep and Drop
	ran    [2]atomic.Int64
	stop   atomic.Bool
	done   sync.WaitGroup
}

var busyKinds = [2]string{"Keep", "Drop"}

const inALine = 20_000

// keepBusy fills a queue and begins. Half of the jobs are ours, a quarter of
// them scheduled; the others are those of Ruby, of which many are equal.
func (s *resqueSite) keepBusy(b *redis.Backend) *busyLine {
	s.t.Helper()
	line := new(busyLine)
	var batch []*backend.Message
	var raw []string
	for n := range inALine {
		kind := n / 3 % 2
		line.pushed[kind].Add(1)
		if n%2 == 0 {
			raw = append(raw, fmt.Sprintf(`{"class":%q,"args":[%d]}`, busyKinds[kind], n%14))
			continue
		}
		m := &backend.Message{ID: fmt.Sprint(n), Kind: busyKinds[kind], Queue: "default", Args: []byte("1")}
		if n%8 == 1 {
			m.Delay = 2*time.Second + time.Duration(n)*time.Millisecond/10
		}
		batch = append(batch, m)
	}
	s.must(b.Push(context.Background(), batch))
	s.raw("default", raw...)
	line.done.Go(func() { line.push(s) })
	for range 2 {
		line.done.Go(func() { line.take(s, s.backend()) })
	}
	s.t.Cleanup(func() {
		line.stop.Store(true)
		line.done.Wait()
	})
	return line
}

func (l *busyLine) push(s *resqueSite) {
	for n := 0; !l.stop.Load(); n++ {
		kind := n / 2 % 2
		l.pushed[kind].Add(1)
		s.ruby("default", busyKinds[kind], fmt.Sprintf("[%d]", n%7))
		time.Sleep(time.Millisecond)
	}
}

func (l *busyLine) take(s *resqueSite, b backend.Backend) {
	ctx := context.Background()
	for n := 0; !l.stop.Load(); n++ {
		deliveries, err := b.Reserve(ctx, []string{"default"}, 1+n%20, time.Minute)
		if err != nil {
			s.t.Error(err)
			return
		}
		if n%5 == 0 { // some come back to the head
			err = b.Release(ctx, deliveries, 0)
		} else if err = b.Ack(ctx, deliveries); err == nil {
			for _, d := range deliveries {
				l.ran[indexOf(d.Kind)].Add(1)
			}
		}
		if err != nil {
			s.t.Error(err)
		}
		time.Sleep(500 * time.Microsecond)
	}
}

func indexOf(kind string) int {
	if kind == busyKinds[0] {
		return 0
	}
	return 1
}

// left ends it and counts what is still there, by kind.
func (l *busyLine) left(s *resqueSite) [2]int64 {
	s.t.Helper()
	l.stop.Store(true)
	ended := make(chan bool)
	go func() {
		l.done.Wait()
		close(ended)
	}()
	for waiting := true; waiting; { // who waits for a job is given one
		select {
		case <-ended:
			waiting = false
		case <-time.After(5 * time.Millisecond):
			l.pushed[0].Add(1)
			s.ruby("default", busyKinds[0], "[]")
		}
	}
	ctx := context.Background()
	var ready, scheduled, running *goredis.StringSliceCmd
	_, err := s.client.TxPipelined(ctx, func(pipe goredis.Pipeliner) error {
		ready = pipe.LRange(ctx, s.prefix+"queue:default", 0, -1)
		scheduled = pipe.ZRange(ctx, s.prefix+"gofer:later:default", 0, -1)
		running = pipe.HVals(ctx, s.prefix+"gofer:running:default")
		return nil
	})
	s.must(err)
	var left [2]int64
	for _, payload := range slices.Concat(ready.Val(), scheduled.Val(), running.Val()) {
		if strings.Contains(payload, `"class":"`+busyKinds[1]) {
			left[1]++
		} else {
			left[0]++
		}
	}
	return left
}

func TestARemovalFromABusyQueueLosesNothingElse(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	line := site.keepBusy(b)
	removed := 0
	for range 4 {
		n, err := b.Remove(t.Context(), "default", backend.Filter{Kind: "Drop"})
		site.must(err)
		removed += n
	}
	left := line.left(site)
	for kind, gone := range []int64{0, int64(removed)} {
		if pushed, ran := line.pushed[kind].Load(), line.ran[kind].Load(); pushed != ran+gone+left[kind] {
			t.Errorf("%s: %d were pushed, %d ran, %d were removed, %d are left", busyKinds[kind], pushed, ran, gone, left[kind])
		}
	}
	if removed < inALine/4 {
		t.Errorf("only %d were removed", removed)
	}
}

// Jobs without an ID may equal each other, and the line moves while it is looked
// through. What matches when Remove begins is removed, or somebody has it.
func TestARemovalOverlooksNothingAmongJobsThatAreEqual(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	var raw []string
	for n := range inALine {
		raw = append(raw, fmt.Sprintf(`{"class":%q,"args":[%d]}`, busyKinds[n%2], n%4))
	}
	site.raw("default", raw...)
	var popped [2]int
	ended, popping := make(chan bool), make(chan bool)
	go func() {
		defer close(popping)
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			default:
			}
			items, err := site.client.LPopCount(context.Background(), site.prefix+"queue:default", 4).Result()
			if err != nil && err != goredis.Nil {
				t.Error(err)
			}
			for _, item := range items {
				popped[indexOf(item[len(`{"class":"`):][:4])]++
			}
			time.Sleep(time.Millisecond)
		}
	}()
	removed, err := b.Remove(t.Context(), "default", backend.Filter{Kind: "Drop"})
	close(ended)
	<-popping
	site.must(err)
	left := site.list("queue:default")
	for _, item := range left {
		if strings.Contains(item, "Drop") {
			t.Fatalf("%s was overlooked; %d were removed", item, removed)
		}
	}
	if keep, drop := len(left)+popped[0], removed+popped[1]; keep != inALine/2 || drop != inALine/2 {
		t.Errorf("there are %d of the jobs that stay and %d of those that go, want %d each", keep, drop, inALine/2)
	}
}

// One call to Redis must not take long however long the line is: nobody else is
// served meanwhile.
func TestARemovalDoesNotKeepRedisBusy(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	site.must(site.client.ConfigSet(t.Context(), "slowlog-log-slower-than", "250000").Err())
	var raw []string
	for n := range 2 * inALine {
		raw = append(raw, fmt.Sprintf(`{"class":%q,"args":[%d]}`, busyKinds[n/inALine], n))
	}
	site.raw("default", raw...)
	if n, err := b.Remove(t.Context(), "default", backend.Filter{Kind: "Drop"}); n != inALine || err != nil {
		t.Errorf("Remove returned %d, %v", n, err)
	}
	slow, err := site.client.SlowLogGet(t.Context(), 100).Result()
	site.must(err)
	for _, call := range slow {
		if call.Args[0] == "evalsha" {
			t.Errorf("a call took Redis %v", call.Duration)
		}
	}
}

func TestAPurgeOfABusyQueueCountsWhatItTakes(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	line := site.keepBusy(b)
	purged := 0
	for range 5 {
		time.Sleep(20 * time.Millisecond)
		n, err := b.Purge(t.Context(), "default")
		site.must(err)
		purged += n
	}
	left := line.left(site)
	pushed := line.pushed[0].Load() + line.pushed[1].Load()
	ran := line.ran[0].Load() + line.ran[1].Load()
	if pushed != ran+int64(purged)+left[0]+left[1] {
		t.Errorf("%d were pushed, %d ran, %d were purged, %d are left", pushed, ran, purged, left)
	}
	if purged < inALine/2 {
		t.Errorf("only %d were purged", purged)
	}
}
