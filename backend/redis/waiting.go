package redis

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
)

// waiting is where the calls of Reserve wait that have found nothing.
//
// For each queue that somebody here waits for, one connection waits in
//
//	BLMOVE queue:NAME gofer:landing:INSTANCE:NAME LEFT RIGHT
//
// which Redis answers as soon as anybody pushes a job, Ruby and PHP included,
// and it answers one of all connections that wait, the one that has waited
// longest. The job is then in the landing list: not with us, where it would be
// lost with this process. Who is woken by it lets the reserve script put it
// back to the head of its queue and take what is due in the order of the
// queues; should this process die in between, another one puts it back.
//
// What else was measured, by integration/bench, was as fast from a plain RPUSH
// until one idle worker had reserved the job, within 15 %. It lost for what it
// does besides, such as the number of connections out of a hundred that one push
// wakes:
//
//   - BLMOVE queue queue LEFT LEFT, which takes nothing, wakes 100: the list
//     still has its job when the first one is served, and so Redis serves all.
//   - BLPOP of a list of wake-up calls wakes 1, but Ruby and PHP make no calls.
//   - Redis' notes of changed keys (CLIENT TRACKING), one connection for all
//     queues, wake 100.
//   - BLPOP or BLMPOP of the queues themselves lose a job whenever a connection
//     breaks at the wrong moment.
//
// A call that has its job comes back for the next one a moment later, so that
// connections are left waiting for that moment. What lands meanwhile is put
// back for others at once.
type waiting struct {
	backend *Backend

	mu        sync.Mutex // guards all below
	waiters   []*waiter  // in the order in which they came
	wanted    map[string]int
	listeners map[string]*listener
	landed    map[string]bool // queues whose landing list may hold a job
	noted     map[string]bool // queues that Redis knows we listen to
	idle      []*line
	lines     map[*line]bool // all of them
	calls     uint64         // of wakeAll
	sweeping  bool           // the timer that ends waits of no use is set
	closed    bool
	running   sync.WaitGroup // listeners
}

// waiter is a call of Reserve.
type waiter struct {
	queues []string
	woken  chan struct{} // closed
	done   bool          // guarded by waiting.mu: woken, or gone
}

const (
	// blockTime is how long one wait in Redis takes at most. It bounds how
	// long Redis may serve a worker that has stopped.
	blockTime = 30 * time.Second

	// linger is how long a connection is left waiting for nobody.
	linger = 50 * time.Millisecond
)

func (w *waiting) init(b *Backend) {
	w.backend = b
	w.wanted = make(map[string]int)
	w.listeners = make(map[string]*listener)
	w.landed = make(map[string]bool)
	w.noted = make(map[string]bool)
	w.lines = make(map[*line]bool)
}

// wait returns nil when it is time to look at the queues again: something has
// come, somebody has called since the queues were looked at, or the time has
// passed.
func (w *waiting) wait(ctx context.Context, looked uint64, queues []string, again time.Duration) error {
	me := &waiter{queues: queues, woken: make(chan struct{})}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return backend.ErrClosed
	}
	if w.calls != looked {
		w.mu.Unlock()
		return nil
	}
	w.waiters = append(w.waiters, me)
	for _, queue := range queues {
		w.wanted[queue]++
		if w.listeners[queue] == nil {
			l := new(listener)
			w.listeners[queue] = l
			w.running.Add(1)
			go w.listen(queue, l)
		}
	}
	w.mu.Unlock()

	var passed <-chan time.Time
	if again > 0 {
		timer := time.NewTimer(again)
		defer timer.Stop()
		passed = timer.C
	}
	var err error
	select {
	case <-me.woken:
		return nil
	case <-passed:
	case <-ctx.Done():
		err = ctx.Err()
	case <-w.backend.life.Done():
		err = backend.ErrClosed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if me.done && err != nil {
		w.passOn() // it was woken, and has no use for it
	}
	w.remove(me)
	return err
}

// remove ends the wait of a waiter. The caller holds mu.
func (w *waiting) remove(one *waiter) {
	if one.done {
		return
	}
	one.done = true
	w.waiters = slices.DeleteFunc(w.waiters, func(other *waiter) bool { return other == one })
	useless := false
	for _, queue := range one.queues {
		if w.wanted[queue]--; w.wanted[queue] == 0 {
			delete(w.wanted, queue)
			useless = useless || w.listeners[queue] != nil
		}
	}
	if useless && !w.sweeping && !w.closed {
		w.sweeping = true
		time.AfterFunc(linger, w.sweep)
	}
}

// called returns how often everybody was called.
func (w *waiting) called() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// wake wakes the first waiter for a queue, and reports whether there is one.
// The caller holds mu.
func (w *waiting) wake(queue string) bool {
	for _, one := range w.waiters {
		if slices.Contains(one.queues, queue) {
			w.remove(one)
			close(one.woken)
			return true
		}
	}
	return false
}

// wakeAll makes every waiter look at the queues: something other than a job
// has changed.
func (w *waiting) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	for len(w.waiters) > 0 {
		one := w.waiters[0]
		w.remove(one)
		close(one.woken)
	}
}

// passOn finds another waiter for what has landed, or puts it back for other
// workers. The caller holds mu.
func (w *waiting) passOn() {
	for queue := range w.landed {
		if w.wake(queue) {
			return // and that one takes all that has landed
		}
	}
	if len(w.landed) > 0 && !w.closed {
		w.running.Add(1)
		go func() {
			defer w.running.Done()
			w.putBack()
		}()
	}
}

// retry passes on what could not be put back before, when Redis did not answer:
// perhaps nobody reserves here any more.
func (w *waiting) retry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.passOn()
}

// putBack returns what has landed to the queues.
func (w *waiting) putBack() {
	landed := w.landedQueues()
	if len(landed) == 0 {
		return
	}
	args := []any{w.backend.instance, len(landed)}
	for _, queue := range landed {
		args = append(args, queue)
	}
	if _, err := w.backend.run(putBackScript, args...); err != nil {
		w.landedAgain(landed)
	}
}

// landedQueues returns the queues whose landing lists may hold a job, and
// leaves it to the caller to see to them.
func (w *waiting) landedQueues() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.landed) == 0 {
		return nil
	}
	var all []string
	for queue := range w.landed {
		all = append(all, queue)
	}
	clear(w.landed)
	return all
}

// mayHaveLanded returns those queues, and the ones that are waited for just now:
// Redis may have answered for several at once, of which we have heard of one.
// Without the others a job of a later queue would overtake one of an earlier.
func (w *waiting) mayHaveLanded() []string {
	all := w.landedQueues()
	w.mu.Lock()
	defer w.mu.Unlock()
	for queue, l := range w.listeners {
		if l.waits != nil && !slices.Contains(all, queue) {
			all = append(all, queue)
		}
	}
	return all
}

// landedAgain gives that task back.
func (w *waiting) landedAgain(queues []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, queue := range queues {
		w.landed[queue] = true
	}
}

// close ends all waits, and reports whether nothing can land here any more. If
// Redis does not answer, it may.
func (w *waiting) close() bool {
	w.mu.Lock()
	w.closed = true
	sweeping := w.sweeping
	w.sweeping = true
	w.mu.Unlock()
	if !sweeping {
		go w.sweep()
	}
	done := make(chan struct{})
	go func() {
		w.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(farewell):
		return false
	}
}

// farewell is how long Close waits for Redis to let go of what waits there,
// and for it to take note of the end.
const farewell = 300 * time.Millisecond
