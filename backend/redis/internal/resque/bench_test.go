package resque_test

import (
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// typical is the message of a job as most are on their second attempt; its
// payload has 300 bytes.
func typical() *backend.Message {
	return &backend.Message{
		ID:          "01JD7Q4Z5M8X9W2V3T6R1KYNPC",
		Kind:        "send_email",
		Args:        []byte(`{"to":"ann@example.org","text":"Dear Ann, the report that you have asked for is ready.\n"}`),
		Attempt:     1,
		MaxAttempts: 5,
		EnqueuedAt:  time.Date(2026, 11, 21, 1, 26, 41, 82353123, time.UTC),
		Header:      map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
}

func BenchmarkAppendPayload(b *testing.B) {
	m := typical()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = resque.AppendPayload(buf[:0], m, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodePayload(b *testing.B) {
	full, err := resque.AppendPayload(nil, typical(), 1)
	if err != nil {
		b.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"full": full,
		"php":  []byte(`{"class":"EchoJob","args":[{"k":"\u00e9"}],"id":"0af7651916cd43dd8448eb211c80319c","prefix":"","queue_time":1795225601.082353}`),
		"ruby": []byte(`{"class":"EchoJob","args":[1,"two",{"k":null}]}`),
	} {
		b.Run("payload="+name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := resque.DecodePayload(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendFailed(b *testing.B) {
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = resque.AppendFailed(buf[:0], &ours); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeFailed(b *testing.B) {
	raw := golden(b, "failed_go")
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resque.DecodeFailed(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFailedQueue(b *testing.B) {
	raw := golden(b, "failed_go")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := resque.FailedQueue(raw); !ok {
			b.Fatal("no queue")
		}
	}
}
