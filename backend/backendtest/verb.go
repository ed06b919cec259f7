package backendtest

import (
	"time"

	"github.com/goferhq/queue/backend"
)

// verb settles deliveries, or extends their leases.
type verb struct {
	name string
	do   func(c *conn, deliveries []*backend.Delivery) error
}

var (
	ack = verb{"Ack", func(c *conn, deliveries []*backend.Delivery) error {
		return c.Ack(c.bench.ctx, deliveries)
	}}
	retrying = verb{"Retry", func(c *conn, deliveries []*backend.Delivery) error {
		var replacements []backend.Replacement
		for _, d := range deliveries {
			m := d.Message
			replacements = append(replacements, backend.Replacement{Delivery: d, Message: &m})
		}
		return c.Retry(c.bench.ctx, replacements)
	}}
	releasing = verb{"Release", func(c *conn, deliveries []*backend.Delivery) error {
		return c.Release(c.bench.ctx, deliveries, 0)
	}}
	burying = verb{"Bury", func(c *conn, deliveries []*backend.Delivery) error {
		var burials []backend.Burial
		for _, d := range deliveries {
			burials = append(burials, burial(d))
		}
		return c.Bury(c.bench.ctx, burials)
	}}
	extending = verb{"Extend", func(c *conn, deliveries []*backend.Delivery) error {
		extender, _ := backend.As[backend.Extender](c.Backend)
		return extender.Extend(c.bench.ctx, deliveries, c.bench.Lease)
	}}
	settling = []verb{ack, retrying, releasing, burying}
	verbs    = append(settling[:len(settling):len(settling)], extending)
)

// needs returns what a case that uses v needs, beside what it names.
func (v verb) needs(more ...Capability) []Capability {
	if v.name == extending.name {
		more = append(more, Extender)
	}
	return more
}

// burial returns how d is buried by a case that does not care.
func burial(d *backend.Delivery) backend.Burial {
	buried := backend.Burial{Delivery: d, Failure: backend.Failure{At: time.Now(), Error: "buried by " + d.ID}}
	if d.Malformed == nil {
		m := d.Message
		buried.Message = &m
	}
	return buried
}
