package beanstalkd

import (
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/beanstalkd/internal/wire"
)

// candidate is a job that was taken and is not delivered yet.
type candidate struct {
	id      uint64
	body    stored
	tube    string // "" when the server has to be asked
	asked   bool
	stats   jobStats
	missing bool // the server does not know it any more
}

// deliver makes deliveries of the jobs that were taken.
func (a *asking) deliver() []*backend.Delivery {
	if len(a.candidates) == 0 {
		return nil
	}
	c := a.consumer
	if a.unknown > 0 {
		if a.err = c.ask(a.candidates, a.unknown); a.err != nil {
			return nil
		}
	}
	deliveries := make([]*backend.Delivery, 0, len(a.candidates))
	receipts := make([]*receipt, 0, len(a.candidates))
	for i := range a.candidates {
		one := &a.candidates[i]
		switch {
		case one.missing:
		case one.body.isUnfinished(one.stats.pri):
			c.conn.Start(appendBury(nil, one.id, one.body.priority), 1, 0)
		default:
			d, r := a.delivery(one)
			deliveries, receipts = append(deliveries, d), append(receipts, r)
		}
	}
	c.server.backend.keep(receipts...)
	return deliveries
}

// ask asks the server about those of candidates that it is to be asked about.
// When it fails, so has the connection, and what it has taken goes back.
func (c *consumer) ask(candidates []candidate, n int) error {
	request := make([]byte, 0, n*24)
	for i := range candidates {
		if candidates[i].asked {
			request = appendCommand(request, "stats-job", candidates[i].id)
		}
	}
	call := c.conn.Start(request, n, 0)
	<-call.Done
	if call.Err != nil {
		return call.Err
	}
	replies := call.Replies
	for i := range candidates {
		one := &candidates[i]
		if !one.asked {
			continue
		}
		reply := replies[0]
		replies = replies[1:]
		switch reply.Word {
		case wire.OK:
			one.stats = parseJobStats(reply.Body)
			one.tube = one.stats.tube
			one.missing = one.stats.state != backend.Reserved
		case wire.NotFound:
			one.missing = true
		default:
			c.conn.Close()
			return c.server.refused(reply)
		}
	}
	return nil
}

// delivery makes a delivery of a job, which the consumer then holds.
func (a *asking) delivery(one *candidate) (*backend.Delivery, *receipt) {
	c := a.consumer
	d := &backend.Delivery{Message: one.body.message, Deliveries: 1, Raw: one.body.raw, Malformed: one.body.malformed}
	d.Queue = one.tube
	r := &receipt{consumer: c, id: one.id, tube: one.tube, raw: one.body.raw, ttr: time.Duration(one.body.lease) * time.Second}
	r.priority = priorityOf(&d.Message)
	if one.asked {
		s := one.stats
		d.Deliveries = max(1, s.reserves-s.releases-s.buries)
		r.priority = s.pri
		r.ttr = time.Duration(s.ttr) * time.Second
		if one.body.lease == 0 && d.Malformed == nil {
			d.Priority = int(int64(defaultPriority) - int64(s.pri))
		}
	}
	if d.Malformed == nil {
		d.Attempt += d.Deliveries
		if d.ID == "" {
			d.ID = foreignID(c.server.address, one.id)
		}
	}
	from := a.sent
	if a.waits {
		from = a.call.Began
	}
	r.until = from.Add(r.ttr)
	// What is left of the TTR is rounded down: less than one second short of it
	// the replies have come in time.
	if left := time.Duration(one.stats.timeLeft) * time.Second; one.asked && left+time.Second < r.ttr {
		if at := time.Now().Add(left); at.Before(r.until) {
			r.until = at
		}
	}
	r.latest = a.answered.Add(r.ttr)
	r.leaseEnd = from.Add(a.lease)
	d.Receipt = r
	c.hold(r)
	return d, r
}
