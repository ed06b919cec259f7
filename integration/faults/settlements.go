package faults

import (
	"context"
	"time"

	"github.com/goferhq/queue/backend"
)

// Settlement is a way to settle a job, or to keep it.
type Settlement struct {
	Name   string
	Settle func(context.Context, backend.Backend, *backend.Delivery) error
}

// Settlements are all of them, for a test that asks each of a driver which has
// lost the job, or the way to the server.
func Settlements() []Settlement {
	return []Settlement{
		{"Ack", func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
			return b.Ack(ctx, []*backend.Delivery{d})
		}},
		{"Retry", func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
			m := d.Message
			return b.Retry(ctx, []backend.Replacement{{Delivery: d, Message: &m}})
		}},
		{"Retry later", func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
			m := d.Message
			m.Delay = time.Hour
			return b.Retry(ctx, []backend.Replacement{{Delivery: d, Message: &m}})
		}},
		{"Release", func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
			return b.Release(ctx, []*backend.Delivery{d}, 0)
		}},
		{"Bury", Bury},
		{"Extend", func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
			extender, _ := backend.As[backend.Extender](b)
			return extender.Extend(ctx, []*backend.Delivery{d}, 30*time.Second)
		}},
	}
}

// Bury buries a job, as it was delivered.
func Bury(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
	burial := backend.Burial{Delivery: d, Failure: Failure()}
	if d.Malformed == nil {
		m := d.Message
		burial.Message = &m
	}
	return b.Bury(ctx, []backend.Burial{burial})
}

// Failure is why the tests bury jobs.
func Failure() backend.Failure {
	return backend.Failure{At: time.Now(), Error: "no luck"}
}
