package beanstalkd

import (
	"context"
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

// deliver makes deliveries of the jobs that c has taken from queues.
func (c *consumer) deliver(ctx context.Context, t taken, queues []string, lease time.Duration) ([]*backend.Delivery, error) {
	if len(t.jobs) == 0 {
		return nil, nil
	}
	candidates := make([]candidate, len(t.jobs))
	asked := 0
	for i, job := range t.jobs {
		one := &candidates[i]
		one.id, one.body, one.tube = job.ID, decodeBody(job.Body), queues[0]
		one.asked = len(queues) > 1 || one.body.lease == 0 || one.body.failure != nil || job.ID <= t.newAbove
		if one.asked {
			asked++
		}
	}
	if asked > 0 {
		if err := c.ask(ctx, candidates, asked); err != nil {
			return nil, c.server.explain(ctx, err)
		}
	}
	deliveries := make([]*backend.Delivery, 0, len(candidates))
	receipts := make([]*receipt, 0, len(candidates))
	for i := range candidates {
		one := &candidates[i]
		switch {
		case one.missing:
		case one.body.isUnfinished(one.stats.pri):
			c.conn.Start(appendBury(nil, one.id, one.body.priority), 1, 0)
		default:
			d, r := c.delivery(one, t, lease)
			deliveries, receipts = append(deliveries, d), append(receipts, r)
		}
	}
	c.server.backend.keep(receipts...)
	return deliveries, nil
}

// ask asks the server about those of candidates that are to be asked about.
func (c *consumer) ask(ctx context.Context, candidates []candidate, n int) error {
	request := make([]byte, 0, n*24)
	for i := range candidates {
		if candidates[i].asked {
			request = appendCommand(request, "stats-job", candidates[i].id)
		}
	}
	call := c.conn.Start(request, n, 0)
	c.await(ctx, call, false)
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
		case wire.NotFound:
			one.missing = true
		default:
			c.conn.Close() // what it has taken goes back
			return c.server.refused(reply)
		}
	}
	return nil
}

// delivery makes a delivery of a job, which c then holds.
func (c *consumer) delivery(one *candidate, t taken, lease time.Duration) (*backend.Delivery, *receipt) {
	d := &backend.Delivery{Message: one.body.message, Deliveries: 1, Raw: one.body.raw, Malformed: one.body.malformed}
	d.Queue = one.tube
	r := &receipt{consumer: c, id: one.id, raw: one.body.raw, ttr: time.Duration(one.body.lease) * time.Second}
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
	from := t.asked
	if t.waited {
		from = t.answered
	}
	r.until = from.Add(r.ttr)
	if left := time.Duration(one.stats.timeLeft+1) * time.Second; one.asked && left < r.ttr {
		// The process was held up before it read the reply.
		if at := time.Now().Add(left); at.Before(r.until) {
			r.until = at
		}
	}
	r.latest = t.answered.Add(r.ttr)
	r.leaseEnd = from.Add(lease)
	d.Receipt = r
	c.hold(r)
	return d, r
}
