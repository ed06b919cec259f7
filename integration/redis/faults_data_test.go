package redis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// A key of another type than the driver's, which somebody has written by
// mistake, is an error for who needs it, and nobody else's loss.

// reserveIn reserves with a limit of time.
func reserveIn(t *testing.T, b backend.Backend, limit, lease time.Duration, queues ...string) ([]*backend.Delivery, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return b.Reserve(ctx, queues, 10, lease)
}

// spoil writes a text where the driver has something else.
func spoil(t *testing.T, client *goredis.Client, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := client.Set(t.Context(), "resque:"+key, "text", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func expectWrongType(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("%s: %v; want an error that says WRONGTYPE", what, err)
	}
}

func TestAQueueOfTheWrongTypeIsAnError(t *testing.T) {
	server, client := server(t)
	b := faults.Open(t, server.URL())
	spoil(t, client, "queue:default")
	expectWrongType(t, "Push", b.Push(t.Context(), []*backend.Message{faults.Message("a")}))
	_, err := reserveIn(t, b, faults.Patience, time.Minute, "default")
	expectWrongType(t, "Reserve", err)
	inspector, _ := backend.As[backend.Inspector](b)
	_, err = inspector.Stats(t.Context(), "default")
	expectWrongType(t, "Stats", err)
	list, _ := backend.As[backend.Lister](b)
	_, err = list.Peek(t.Context(), "default", backend.Ready, 0, 1)
	expectWrongType(t, "Peek", err)
	if err := client.Del(t.Context(), "resque:queue:default").Err(); err != nil {
		t.Fatal(err)
	}
	faults.Push(t, b, "b")
	faults.Reserve(t, b, time.Minute, faults.Patience)
}

func TestAQueueOfTheWrongTypeDisturbsNoOther(t *testing.T) {
	for _, key := range []string{"queue:bad", "gofer:running:bad", "gofer:leases:bad"} {
		t.Run(key, func(t *testing.T) {
			server, client := server(t)
			b := faults.Open(t, server.URL())
			good := faults.Message("good")
			good.Queue = "good"
			bad := faults.Message("bad")
			bad.Queue = "bad"
			if err := b.Push(t.Context(), []*backend.Message{good, bad}); err != nil {
				t.Fatal(err)
			}
			spoil(t, client, key)
			for _, queues := range [][]string{{"good", "bad"}, {"bad", "good"}} {
				deliveries, err := reserveIn(t, b, faults.Patience, time.Minute, queues...)
				if err != nil || len(deliveries) != 1 || deliveries[0].ID != "good" || deliveries[0].Attempt != 1 {
					t.Fatalf("Reserve of %v: %v, %v; want the good job", queues, deliveries, err)
				}
				_, err = reserveIn(t, b, faults.Patience, time.Minute, queues...)
				expectWrongType(t, "Reserve", err)
				if err := b.Release(t.Context(), deliveries, 0); err != nil {
					t.Error(err)
				}
			}
			if key != "queue:bad" && client.LLen(t.Context(), "resque:queue:bad").Val() != 1 {
				t.Error("the bad queue has lost its job")
			}
			if key != "gofer:leases:bad" {
				return
			}
			if n := client.HLen(t.Context(), "resque:gofer:running:bad").Val(); n != 0 {
				t.Errorf("%d jobs of the bad queue are in two places", n)
			}
		})
	}
}

// Scheduled jobs and ended leases are looked after by one script for all
// queues.
func TestAQueueOfTheWrongTypeHoldsUpNoTime(t *testing.T) {
	cases := map[string][]string{
		"ready":   {"queue:bad"},
		"running": {"gofer:running:bad"},
		"leases":  {"gofer:leases:bad"},
		"later":   {"gofer:later:bad"},
	}
	for name, keys := range cases {
		t.Run(name, func(t *testing.T) {
			server, client := server(t)
			b := faults.Open(t, server.URL())
			pushTo := func(queue, id string, delay time.Duration) {
				t.Helper()
				m := faults.Message(id)
				m.Queue, m.Delay = queue, delay
				if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
					t.Fatal(err)
				}
			}
			pushTo("bad", "lost", 0)
			if _, err := reserveIn(t, b, faults.Patience, 300*time.Millisecond, "bad"); err != nil {
				t.Fatal(err)
			}
			pushTo("bad", "delayed", 300*time.Millisecond)
			spoil(t, client, keys...)
			pushTo("good", "lost", 0)
			if _, err := reserveIn(t, b, faults.Patience, 400*time.Millisecond, "good"); err != nil {
				t.Fatal(err)
			}
			pushTo("good", "delayed", 500*time.Millisecond)
			for range 2 {
				deliveries, err := reserveIn(t, b, 10*time.Second, time.Minute, "good")
				if err != nil {
					t.Fatalf("the jobs of another queue are held up: %v", err)
				}
				if err := b.Ack(t.Context(), deliveries); err != nil {
					t.Error(err)
				}
				if len(deliveries) == 2 {
					break
				}
			}
			expectNoHotLoop(t, client)
		})
	}
}

// expectNoHotLoop fails the test when the server is asked all the time.
func expectNoHotLoop(t *testing.T, client *goredis.Client) {
	t.Helper()
	const window, most = time.Second, 30
	before := statistic(t, client, "total_reads_processed")
	time.Sleep(window)
	if n := statistic(t, client, "total_reads_processed") - before; n > most {
		t.Errorf("%d requests within %v, want at most %d", n, window, most)
	}
}
