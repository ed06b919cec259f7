package beanstalkd_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

const garbage = "O:8:\"stdClass\":1:{\xff}\r\n"

// buryGarbage puts bytes that are no job, and has a queue bury them.
func buryGarbage(t *testing.T, address string, client *beanstalk.Conn) *queue.Queue {
	t.Helper()
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "job", queue.HandlerFunc[int](func(context.Context, *queue.Job[int]) error { return nil }))
	q := startQueue(t, address, mux)
	put(t, client, garbage, foreignPriority, foreignTTR)
	put(t, client, `{"job":"job","data":1}`, foreignPriority, foreignTTR)
	settledCounts(t, client, faults.Patience, counts{buried: 1})
	return q
}

func TestGarbageIsBuriedAndComesBackAsTheSameBytes(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	q := buryGarbage(t, at("lease=30s", server), client)
	entries := faults.Dead(t, q.Backend())
	if len(entries) != 1 || string(entries[0].Raw) != garbage || !errors.Is(entries[0].Malformed, queue.ErrMalformed) || entries[0].Failure == nil || entries[0].Failure.Error == "" {
		t.Fatalf("buried: %+v; want the bytes as they are, and why", entries)
	}
	if err := q.Close(); err != nil { // or it would be buried again
		t.Fatal(err)
	}
	b := faults.Open(t, at("lease=30s", server))
	set, _ := backend.As[backend.DeadSet](b)
	if n, err := set.Requeue(t.Context(), "default", entries[0].Key); n != 1 || err != nil {
		t.Fatalf("Requeue: %d, %v", n, err)
	}
	_, body, err := client.Reserve(faults.Recovery)
	if err != nil || string(body) != garbage {
		t.Errorf("a plain client reserves %q, %v; want the bytes as they were", body, err)
	}
	expectCounts(t, client, counts{reserved: 1})
}

func TestGarbageThatAPlainClientKicksIsDeliveredAsTheSameBytes(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	q := buryGarbage(t, at("lease=30s", server), client)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	kick(t, client)
	b := faults.Open(t, at("lease=30s", server))
	for range 2 {
		d := faults.Reserve(t, b, 30*time.Second, faults.Patience)
		if !errors.Is(d.Malformed, queue.ErrMalformed) || !bytes.Equal(d.Raw, []byte(garbage)) || d.Deliveries != 1 {
			t.Errorf("the job is %q with %v, delivery %d; want the bytes as they were, delivered once", d.Raw, d.Malformed, d.Deliveries)
		}
		// Once more, for what was buried from what had been buried.
		if err := faults.Bury(t.Context(), b, d); err != nil {
			t.Fatal(err)
		}
		if entries := faults.Dead(t, b); len(entries) != 1 || string(entries[0].Raw) != garbage {
			t.Errorf("buried: %+v; want the bytes as they are", entries)
		}
		kick(t, client)
	}
}

// kick makes the buried jobs of the queue "default" ready.
func kick(t *testing.T, client *beanstalk.Conn) {
	t.Helper()
	if n, err := beanstalk.NewTube(client, "default").Kick(100); n != 1 || err != nil {
		t.Fatalf("kick: %d, %v; want 1", n, err)
	}
}

func TestABuriedJobThatAPlainClientKicksStartsAnew(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	address := at("lease=30s", server)
	b := faults.Open(t, address)
	m := faults.Message("a")
	m.Attempt = 4
	m.Header = map[string]string{"trace": "t1"}
	if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
		t.Fatal(err)
	}
	d := faults.Reserve(t, b, 30*time.Second, faults.Patience)
	if err := faults.Bury(t.Context(), b, d); err != nil {
		t.Fatal(err)
	}
	if entries := faults.Dead(t, b); len(entries) != 1 || entries[0].Attempt != 5 || entries[0].Failure == nil {
		t.Errorf("buried: %+v; want the job in its fifth attempt, and why", entries)
	}
	kick(t, client)
	expectCounts(t, client, counts{ready: 1})
	d = faults.Reserve(t, b, 30*time.Second, faults.Patience)
	if d.ID != "a" || d.Attempt != 1 || d.Deliveries != 1 || d.Header["trace"] != "t1" || d.Extra != nil {
		t.Errorf("after the kick the job is %+v; want its first attempt", d)
	}
	// It is a job as any other: it goes on to be counted, retried and buried.
	if err := b.Release(t.Context(), []*backend.Delivery{d}, 0); err != nil {
		t.Fatal(err)
	}
	d = faults.Reserve(t, b, 30*time.Second, faults.Patience)
	if d.Attempt != 1 || d.Deliveries != 1 {
		t.Errorf("after a Release the job is in attempt %d, delivery %d; want 1 and 1", d.Attempt, d.Deliveries)
	}
	b.Close() // which loses it
	b = faults.Open(t, address)
	d = faults.Reserve(t, b, 30*time.Second, faults.Patience)
	if d.Attempt != 2 || d.Deliveries != 2 {
		t.Errorf("after a loss the job is in attempt %d, delivery %d; want 2 and 2", d.Attempt, d.Deliveries)
	}
	m = &d.Message
	if err := b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: m}}); err != nil {
		t.Fatal(err)
	}
	d = faults.Reserve(t, b, 30*time.Second, faults.Patience)
	if d.Attempt != 3 || d.Deliveries != 1 {
		t.Errorf("after a Retry the job is in attempt %d, delivery %d; want 3 and 1", d.Attempt, d.Deliveries)
	}
	ack(t, b, d)
}

// A beanstalkd that restarts does not know any more how often a job was buried
// and kicked.
func TestABuriedJobThatWasKickedBeforeTheServerRestartedRuns(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"job":"job","data":1}`, garbage} {
		t.Run(body[:5], func(t *testing.T) {
			t.Parallel()
			server, client := server(t)
			b := faults.Open(t, at("lease=30s", server))
			put(t, client, body, foreignPriority, foreignTTR)
			if err := faults.Bury(t.Context(), b, faults.Reserve(t, b, 30*time.Second, faults.Patience)); err != nil {
				t.Fatal(err)
			}
			kick(t, client)
			server.Kill()
			server.Restart()
			d := faults.Reserve(t, b, 30*time.Second, faults.Patience)
			if (d.Malformed != nil) != (body == garbage) || d.Deliveries != 1 {
				t.Errorf("the job is %+v; want its first delivery", d)
			}
			ack(t, b, d)
		})
	}
}

func TestABuriedJobIsStillDeadAfterARestartAndCanBeRequeued(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	address := at("lease=30s", server)
	b := faults.Open(t, address)
	faults.Push(t, b, "1", "2", "3")
	for _, d := range faults.ReserveMany(t, b, 3, 30*time.Second, faults.Patience) {
		if err := faults.Bury(t.Context(), b, d); err != nil {
			t.Fatal(err)
		}
	}
	server.Kill()
	server.Restart()
	b = faults.Open(t, address)
	var ids, keys []string
	for _, e := range faults.Dead(t, b) {
		if e.Failure == nil || e.Attempt != 1 || e.State != backend.Dead {
			t.Errorf("buried: %+v", e)
		}
		ids, keys = append(ids, e.ID), append(keys, e.Key)
	}
	if want := []string{"1", "2", "3"}; !slices.Equal(ids, want) {
		t.Fatalf("buried: %v, want %v", ids, want)
	}
	set, _ := backend.As[backend.DeadSet](b)
	if n, err := set.Requeue(t.Context(), "default", keys[0], keys[2]); n != 2 || err != nil {
		t.Errorf("Requeue: %d, %v; want 2", n, err)
	}
	if n, err := set.Delete(t.Context(), "default", keys...); n != 1 || err != nil {
		t.Errorf("Delete: %d, %v; want 1, which is all that is still dead", n, err)
	}
	for _, d := range faults.ReserveMany(t, b, 2, 30*time.Second, faults.Patience) {
		if d.Attempt != 1 || d.Deliveries != 1 || d.ID == "2" {
			t.Errorf("requeued: %+v", d)
		}
		ack(t, b, d)
	}
	expectCounts(t, server.Client(), counts{})
}
