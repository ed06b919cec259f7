package backend_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

// typical is the message of a job as most are: 200 bytes of arguments, an ID,
// a time, one header.
func typical() *backend.Message {
	args, err := json.Marshal(map[string]string{"to": "ann@example.org", "text": strings.Repeat("x", 168)})
	if err != nil {
		panic(err)
	}
	return &backend.Message{
		ID:          "01JD7Q4Z5M8X9W2V3T6R1KYNPC",
		Kind:        "send_email",
		Args:        args,
		Attempt:     1,
		MaxAttempts: 5,
		EnqueuedAt:  time.Date(2026, 11, 21, 10, 15, 0, 123456789, time.UTC),
		Header:      map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
}

func BenchmarkAppendEnvelope(b *testing.B) {
	m := typical()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = backend.AppendEnvelope(buf[:0], m); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeEnvelope(b *testing.B) {
	foreign := []byte(`{"job":"send_email","data":` + string(typical().Args) + `}`)
	full, err := backend.AppendEnvelope(nil, typical())
	if err != nil {
		b.Fatal(err)
	}
	for name, raw := range map[string][]byte{"full": full, "minimal": foreign} {
		b.Run("envelope="+name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := backend.DecodeEnvelope(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
