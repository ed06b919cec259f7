package redis_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// What fails for one job of a batch does so for no other, and what cannot be put
// in its new place is not taken from the old one.

func TestAPushToAQueueOfTheWrongTypeFailsAloneInItsBatch(t *testing.T) {
	for name, delay := range map[string]time.Duration{"now": 0, "later": time.Hour} {
		t.Run(name, func(t *testing.T) {
			server, client := server(t)
			b := faults.Open(t, server.URL())
			spoil(t, client, "queue:bad", "gofer:later:bad")
			var messages []*backend.Message
			for i, queue := range []string{"default", "bad", "default"} {
				m := faults.Message(strconv.Itoa(i))
				m.Queue, m.Delay = queue, delay
				messages = append(messages, m)
			}
			err := b.Push(t.Context(), messages)
			for i, bad := range []bool{false, true, false} {
				if failure := backend.ErrorAt(err, i); bad {
					expectWrongType(t, "Push to the bad queue", failure)
				} else if failure != nil {
					t.Errorf("Push of number %d: %v", i, failure)
				}
			}
			want := counts{ready: 2}
			if delay > 0 {
				want = counts{later: 2}
			}
			expectCounts(t, client, want)
		})
	}
}

func TestARetryThatHasNowhereToGoHoldsUpNoOther(t *testing.T) {
	server, client := server(t)
	b := faults.Open(t, server.URL())
	faults.Push(t, b, "1", "2")
	deliveries := []*backend.Delivery{faults.Reserve(t, b, time.Minute, faults.Patience), faults.Reserve(t, b, time.Minute, faults.Patience)}
	spoil(t, client, "queue:bad")
	var replacements []backend.Replacement
	for i, d := range deliveries {
		m := d.Message
		if i == 0 {
			m.Queue = "bad"
		}
		replacements = append(replacements, backend.Replacement{Delivery: d, Message: &m})
	}
	err := b.Retry(t.Context(), replacements)
	expectWrongType(t, "Retry to the bad queue", backend.ErrorAt(err, 0))
	if failure := backend.ErrorAt(err, 1); failure != nil {
		t.Errorf("Retry of its neighbour: %v", failure)
	}
	expectCounts(t, client, counts{ready: 1, reserved: 1})
	if err := b.Ack(t.Context(), deliveries[:1]); err != nil {
		t.Errorf("Ack of the job that stayed: %v", err)
	}
}

func TestADeadJobThatCannotBeRequeuedStaysDead(t *testing.T) {
	server, client := server(t)
	b := faults.Open(t, server.URL())
	faults.Push(t, b, "1")
	d := faults.Reserve(t, b, time.Minute, faults.Patience)
	failure := backend.Failure{At: time.Now(), Error: "boom"}
	if err := b.Bury(t.Context(), []backend.Burial{{Delivery: d, Message: &d.Message, Failure: failure}}); err != nil {
		t.Fatal(err)
	}
	list, _ := backend.As[backend.Lister](b)
	entries, err := list.Peek(t.Context(), "default", backend.Dead, 0, 10)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d dead jobs, %v; want one", len(entries), err)
	}
	spoil(t, client, "queue:default")
	dead, _ := backend.As[backend.DeadSet](b)
	_, err = dead.Requeue(t.Context(), "default", entries[0].Key)
	expectWrongType(t, "Requeue", err)
	if n := client.LLen(t.Context(), "resque:failed").Val(); n != 1 {
		t.Errorf("%d dead jobs are left, want the one", n)
	}
}

func TestADelayedJobOfRubyThatHasNowhereToGoStaysAndHoldsUpNoOther(t *testing.T) {
	server, client := server(t)
	spoil(t, client, "queue:bad")
	second := strconv.FormatInt(time.Now().Add(-time.Minute).Unix(), 10)
	for _, queue := range []string{"bad", "default"} {
		client.RPush(t.Context(), "resque:delayed:"+second, `{"class":"job","args":[{}],"queue":"`+queue+`"}`)
	}
	client.Do(t.Context(), "ZADD", "resque:delayed_queue_schedule", second, second)
	b := faults.Open(t, server.URL())
	faults.Reserve(t, b, time.Minute, faults.Patience)
	if n := client.LLen(t.Context(), "resque:delayed:"+second).Val(); n != 1 {
		t.Errorf("%d delayed jobs are left, want the one for the bad queue", n)
	}
	if n := client.Exists(t.Context(), "resque:resque:resque_scheduler_master_lock").Val(); n != 0 {
		t.Error("the lock of the scheduler was left behind")
	}
	before := statistic(t, client, "total_reads_processed")
	time.Sleep(2 * time.Second) // of a server's time: nothing is to happen in it
	if asked := statistic(t, client, "total_reads_processed") - before; asked > 20 {
		t.Errorf("%d requests in 2 s for a job that cannot be moved, want a few", asked)
	}
}

func TestPushesGoOnAfterManyThatWereInDoubt(t *testing.T) {
	server, client := server(t)
	b := faults.Open(t, server.URL()+"?pool=1&read_timeout=100ms")
	faults.Push(t, b, "first")
	server.Stop()
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		if err := b.Push(ctx, []*backend.Message{faults.Message("again")}); err == nil {
			t.Error("a server that has stopped has taken a job")
		}
		cancel()
	}
	server.Continue()
	faults.Eventually(t, faults.Patience, func() error { return b.Push(t.Context(), []*backend.Message{faults.Message("again")}) })
	for i := range 40 {
		faults.Push(t, b, strconv.Itoa(i))
	}
	awaitQuiet(t, client)
	expectCounts(t, client, counts{ready: 42})
}
