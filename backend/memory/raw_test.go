package memory_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

func putRaw(t *testing.T, m *memory.Backend, raw string) {
	t.Helper()
	must(t, m.PutRaw(t.Context(), "q", []byte(raw)))
}

func TestForeignEnvelopeIsDeliveredAsTheMessageThatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		const raw = `{"job":"send_email","data":{"to":1},"priority":3,"x":[1 ]}`
		buf := []byte(raw)
		must(t, m.PutRaw(t.Context(), "q", buf))
		clear(buf) // it belongs to the caller again
		d := reserve(t, m, 1)[0]
		if d.ID == "" || d.Kind != "send_email" || d.Queue != "q" || string(d.Args) != `{"to":1}` || d.Attempt != 1 || d.Priority != 3 || string(d.Extra["x"]) != `[1 ]` {
			t.Errorf("delivered %+v", d.Message)
		}
		if string(d.Raw) != raw || d.Malformed != nil {
			t.Errorf("Raw = %q, Malformed = %v", d.Raw, d.Malformed)
		}
	})
}

func TestMalformedBytesAreDeliveredBuriedAndRequeuedAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		for _, raw := range []string{"", "\xff\x00", `{"job":"k"}`, `{"job":"k","data":1,"priority":40000}`} {
			putRaw(t, m, raw)
			for range 2 {
				d := reserve(t, m, 1)[0]
				if string(d.Raw) != raw || !errors.Is(d.Malformed, backend.ErrMalformed) || d.ID != "" || d.Queue != "q" || d.Deliveries != 1 {
					t.Errorf("delivered %+v", d)
				}
				must(t, m.Bury(t.Context(), []backend.Burial{{Delivery: d, Failure: backend.Failure{Error: "bad bytes"}}}))
				dead, err := m.Peek(t.Context(), "q", backend.Dead, 0, 9)
				must(t, err)
				if len(dead) != 1 || string(dead[0].Raw) != raw || dead[0].Malformed == nil || dead[0].ID != "" || dead[0].Failure.Error != "bad bytes" {
					t.Errorf("the dead set holds %+v", dead)
				}
				if n, err := m.Requeue(t.Context(), "q", dead[0].Key); n != 1 || err != nil {
					t.Errorf("Requeue = %d, %v", n, err)
				}
			}
			if n, err := m.Purge(t.Context(), "q"); n != 1 || err != nil {
				t.Errorf("Purge = %d, %v", n, err)
			}
		}
		wantStats(t, m, 0, 0, 0, 0)
	})
}

func TestMalformedBytesAreReleasedAndExpireLikeAnyJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		putRaw(t, m, "bad")
		push(t, m, "1")
		d := reserve(t, m, 1)[0]
		must(t, m.Release(t.Context(), []*backend.Delivery{d}, 0))
		if d := reserve(t, m, 1)[0]; d.Deliveries != 1 || string(d.Raw) != "bad" {
			t.Errorf("after a Release: %+v", d)
		}
		wait(lease)
		if d := reserve(t, m, 1)[0]; d.Deliveries != 2 || string(d.Raw) != "bad" {
			t.Errorf("after its lease: %+v", d)
		}
		wantNext(t, m, "1")
	})
}

// A foreign job that was buried after its attempts is a job like any other: it
// keeps the ID that it was given, and begins anew.
func TestForeignJobIsRequeuedWithItsIDAndNoAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		putRaw(t, m, `{"job":"k","data":1,"attempt":4}`)
		d := reserve(t, m, 1)[0]
		if d.Attempt != 5 {
			t.Errorf("attempt %d, want 5", d.Attempt)
		}
		d.Header = map[string]string{"added": "by the worker"}
		bury(t, m, d)
		dead, err := m.Peek(t.Context(), "q", backend.Dead, 0, 9)
		must(t, err)
		if dead[0].Attempt != 5 || dead[0].ID != d.ID {
			t.Errorf("the dead set holds %+v", dead[0])
		}
		_, err = m.Requeue(t.Context(), "q", dead[0].Key)
		must(t, err)
		again := reserve(t, m, 1)[0]
		if again.ID != d.ID || again.Attempt != 1 || again.Header["added"] == "" || again.Deliveries != 1 {
			t.Errorf("requeued as %+v, want ID %s and attempt 1", again, d.ID)
		}
	})
}

func TestRetryOfAForeignJobReplacesItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		putRaw(t, m, `{"job":"k","data":1}`)
		d := reserve(t, m, 1)[0]
		next := d.Message
		must(t, m.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &next}}))
		again := reserve(t, m, 1)[0]
		if again.ID != d.ID || again.Attempt != 2 || again.Raw != nil || again.Deliveries != 1 {
			t.Errorf("retried as %+v", again)
		}
	})
}
