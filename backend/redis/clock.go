package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// clock does what time brings, once this backend has begun to reserve: it
// makes jobs ready that are due, takes back those whose lease has ended and
// those that were on their way to a worker that died.
//
// There is one in every worker, and nearly always they all sleep. The one that
// looked last has promised, in gofer:alarm, to be there when the next thing
// happens. The others look whether it has kept its promise a moment later. Who
// brings something that is due earlier than that puts an element into
// gofer:wake, where all wait: Redis wakes one of them, which then promises.
type clock struct {
	backend *Backend
	poked   chan struct{} // of capacity 1
	running sync.WaitGroup

	mu      sync.Mutex // guards all below
	started bool       // or too late to be
	waits   *line      // waits in Redis for somebody to poke us
}

const (
	// shortestBeat and longestBeat bound how often a clock looks without
	// being asked to. The beat is a third of the lease, so that a worker that
	// misses one is not taken for dead.
	shortestBeat = time.Second
	longestBeat  = 5 * time.Second

	// grace and jitter are how late a clock may be before another one takes
	// over: together less than the 2 s that may pass after a lease.
	grace  = 500 * time.Millisecond
	jitter = 500 * time.Millisecond

	// claimLease is how long taking back a job may take.
	claimLease = 5 * time.Second
)

func (c *clock) init(b *Backend) {
	c.backend = b
	c.poked = make(chan struct{}, 1)
}

// start is called whenever the worker registers, and starts the clock once.
func (c *clock) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started {
		return
	}
	c.started = true
	c.running.Add(2)
	go c.run()
	go c.listen()
}

func (c *clock) run() {
	defer c.running.Done()
	b := c.backend
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.poked:
		case <-b.life.Done():
			return
		}
		next, err := c.tick()
		if err != nil {
			next = time.Second
		}
		timer.Reset(next)
	}
}

// tick looks once, and returns after which time to look again.
func (c *clock) tick() (time.Duration, error) {
	b := c.backend
	beat, life := b.worker.beat()
	nonce := b.unique()
	waits := b.waiting.waits()
	args := []any{b.instance, life.Milliseconds(), grace.Milliseconds(), nonce, claimLease.Milliseconds(), maxBatch, maxCall}
	for queue := range waits {
		args = append(args, queue)
	}
	reply, err := b.run(tickScript, args...)
	if err != nil {
		return 0, err
	}
	parts := reply.([]any)
	now, next, mine, promised := parts[0].(int64), parts[1].(int64), parts[2].(int64) == 1, parts[3].(int64)
	dead, registered, foreign := texts(parts[4]), parts[5].(int64) == 1, parts[6].(int64)
	b.worker.saw(now)
	b.waiting.retry()
	for _, queue := range texts(parts[8]) {
		b.waiting.overdue(queue, waits[queue])
	}
	if claimed := loans(parts[9:], nonce); len(claimed) > 0 {
		err = errors.Join(err, b.returnClaimed(claimed, texts(parts[7])))
	}
	for _, instance := range dead {
		err = errors.Join(err, b.worker.bury(b, instance))
	}
	stuck := false
	if foreign >= 0 && foreign <= now {
		moved, failure := b.moveDelayed()
		err = errors.Join(err, failure)
		stuck = !moved
	}
	err = errors.Join(err, b.worker.report(b, registered))
	switch {
	case stuck:
		beat = time.Second // it is still due then
	case next >= 0 && next <= now && mine:
		return 0, err
	case mine:
		beat = min(beat, time.Duration(next-now)*time.Millisecond)
	case promised >= 0:
		late := grace + rand.N(jitter)
		beat = min(beat, max(time.Duration(promised-now)*time.Millisecond, 0)+late)
	}
	return beat, err
}

// listen waits for others to wake this clock, or to tell this worker that
// queues were paused or resumed.
func (c *clock) listen() {
	defer c.running.Done()
	b := c.backend
	own := b.prefix + "gofer:wake:" + b.instance
	for b.life.Err() == nil {
		on, err := b.dial((*goredis.Client).Conn)
		if err != nil {
			b.pause(time.Second)
			continue
		}
		for err == nil && b.life.Err() == nil {
			c.set(on)
			var popped []string
			popped, err = on.conn.BLPop(context.Background(), blockTime, own, b.prefix+"gofer:wake").Result()
			c.set(nil)
			switch {
			case errors.Is(err, goredis.Nil):
				err = nil
			case err == nil && popped[0] == own:
				b.waiting.wakeAll()
			case err == nil:
				select {
				case c.poked <- struct{}{}:
				default:
				}
			}
		}
		on.conn.Close()
		if b.life.Err() == nil {
			b.pause(100 * time.Millisecond)
		}
	}
}

func (c *clock) set(on *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = on
}

// close ends the clock, as far as Redis answers.
func (c *clock) close() {
	c.mu.Lock()
	c.started = true
	c.mu.Unlock()
	done := make(chan struct{})
	go func() {
		c.running.Wait()
		close(done)
	}()
	c.backend.endWait(func() *line {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.waits
	}, done)
}
