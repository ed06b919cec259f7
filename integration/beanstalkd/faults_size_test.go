package beanstalkd_test

import (
	"bytes"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// A beanstalkd takes bodies of up to max-job-size, and then loses those of the
// last two sizes when it reads its binlog, and all that was written after them.
func TestBodiesOfWhichTheBinlogWouldLoseItsRestAreTooLarge(t *testing.T) {
	t.Parallel()
	for _, size := range []int{65535, 20000} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			server, client := server(t, "-z", strconv.Itoa(size))
			address := at("lease=30s", server)
			b := faults.Open(t, address)
			for _, tooLarge := range []int{size - 1, size, size + 1} {
				m := sized(t, b, client, "too-large", tooLarge)
				err := b.Push(t.Context(), []*backend.Message{faults.Message("before"), m, faults.Message("after")})
				if !errors.Is(backend.ErrorAt(err, 1), backend.ErrTooLarge) || backend.ErrorAt(err, 0) != nil || backend.ErrorAt(err, 2) != nil {
					t.Errorf("Push of %d bytes between two others: %v; want %v", tooLarge, err, backend.ErrTooLarge)
				}
			}
			largest := sized(t, b, client, "largest", size-2)
			if err := b.Push(t.Context(), []*backend.Message{faults.Message("left"), largest, faults.Message("right")}); err != nil {
				t.Fatalf("Push of %d bytes: %v", size-2, err)
			}

			// It can be retried, and buried though there is no room for why.
			again := sized(t, b, client, "retried", size-2)
			if err := b.Push(t.Context(), []*backend.Message{again, sized(t, b, client, "buried", size-2), faults.Message("last")}); err != nil {
				t.Fatal(err)
			}
			var rest []*backend.Delivery
			for _, d := range faults.ReserveMany(t, b, 12, 30*time.Second, faults.Patience) {
				var err error
				switch d.ID {
				case "retried":
					// Attempt becomes a digit of the body, for which there is no room.
					m := d.Message
					m.Attempt = 0
					err = b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &m}})
				case "buried":
					err = faults.Bury(t.Context(), b, d)
				default:
					rest = append(rest, d)
				}
				if err != nil {
					t.Errorf("job %s: %v", d.ID, err)
				}
			}
			if err := b.Release(t.Context(), rest, 0); err != nil {
				t.Fatal(err)
			}
			b.Close()

			server.Kill()
			server.Restart()
			expectCounts(t, server.Client(), counts{ready: 11, buried: 1})
			b = faults.Open(t, address)
			for _, d := range faults.ReserveMany(t, b, 11, 30*time.Second, faults.Patience) {
				want := faults.Message(d.ID).Args
				switch d.ID {
				case "largest":
					want = largest.Args
				case "retried":
					want = again.Args
				}
				if !bytes.Equal(d.Args, want) {
					t.Errorf("job %s has %d bytes of args, which are not those it was pushed with", d.ID, len(d.Args))
				}
				ack(t, b, d)
			}
			if entries := faults.Dead(t, b); len(entries) != 1 || entries[0].ID != "buried" {
				t.Errorf("the dead set has %+v, want the job that was buried", entries)
			}
			set, _ := backend.As[backend.DeadSet](b)
			if n, err := set.Requeue(t.Context(), "default", faults.Dead(t, b)[0].Key); n != 1 || err != nil {
				t.Errorf("Requeue: %d, %v", n, err)
			}
			ack(t, b, faults.Reserve(t, b, 30*time.Second, faults.Patience))
		})
	}
}

// sized returns a job whose body has as many bytes.
func sized(t *testing.T, b backend.Backend, client *beanstalk.Conn, id string, size int) *backend.Message {
	t.Helper()
	m := faults.Message(id)
	m.Queue = "measure"
	if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
		t.Fatal(err)
	}
	tube := beanstalk.NewTube(client, "measure")
	number, body, err := tube.PeekReady()
	if err == nil {
		err = client.Delete(number)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.Queue = "default"
	m.Args = []byte(`"` + string(bytes.Repeat([]byte("x"), size-len(body)+len(m.Args)-2)) + `"`)
	return m
}

// What others put may be as large as the server takes, and no envelope.
func TestAForeignBodyOfTheLargestSizeIsBuriedAsItIs(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	b := faults.Open(t, at("lease=30s", server))
	for _, size := range []int{65533, 65534, 65535} {
		raw := bytes.Repeat([]byte("x"), size)
		if _, err := beanstalk.NewTube(client, "default").Put(raw, foreignPriority, 0, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		d := faults.Reserve(t, b, 30*time.Second, faults.Patience)
		if !errors.Is(d.Malformed, backend.ErrMalformed) || !bytes.Equal(d.Raw, raw) {
			t.Errorf("%d bytes were delivered as %d with %v", size, len(d.Raw), d.Malformed)
		}
		if err := faults.Bury(t.Context(), b, d); err != nil {
			t.Fatalf("Bury of %d bytes: %v", size, err)
		}
		entries := faults.Dead(t, b)
		if len(entries) != 1 || !bytes.Equal(entries[0].Raw, raw) {
			t.Fatalf("the dead set has %d entries, want the %d bytes", len(entries), size)
		}
		set, _ := backend.As[backend.DeadSet](b)
		if n, err := set.Requeue(t.Context(), "default", entries[0].Key); n != 1 || err != nil {
			t.Errorf("Requeue of %d bytes: %d, %v", size, n, err)
		}
		d = faults.Reserve(t, b, 30*time.Second, faults.Patience)
		if !bytes.Equal(d.Raw, raw) {
			t.Errorf("after Requeue there are %d bytes, want the %d that were put", len(d.Raw), size)
		}
		ack(t, b, d)
	}
	expectCounts(t, client, counts{})
}
