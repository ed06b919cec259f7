package redis

import (
	"context"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// listener waits for one queue.
type listener struct{ waits *line } // nil while it does not wait in Redis

// listen waits for jobs of a queue for as long as somebody here wants one.
func (w *waiting) listen(queue string, l *listener) {
	pause := 50 * time.Millisecond
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.wanted[queue] > 0 && !w.closed && w.listeners[queue] == l {
		w.mu.Unlock()
		on, err := w.line(queue)
		var landed bool
		if err == nil {
			w.mu.Lock()
			l.waits = on
			w.mu.Unlock()
			landed, err = w.move(on, queue)
		}
		w.mu.Lock()
		l.waits = nil
		if on != nil {
			w.hangUp(on, err)
		}
		if err == nil && !landed {
			continue // the time has passed, or nobody wants it any more
		}
		w.landed[queue] = true // after an error it may have
		if !w.wake(queue) {
			w.passOn()
		}
		if err != nil && !w.closed {
			w.mu.Unlock()
			w.backend.pause(pause)
			pause = min(2*pause, time.Second)
			w.mu.Lock()
		}
	}
	if w.listeners[queue] == l {
		delete(w.listeners, queue)
		w.running.Done()
	} // else another has its place
}

// waits returns the connections that wait just now, by their queues.
func (w *waiting) waits() map[string]*line {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make(map[string]*line, len(w.listeners))
	for queue, l := range w.listeners {
		if l.waits != nil {
			all[queue] = l.waits
		}
	}
	return all
}

// overdue is told that there is a job for a connection that waits for one. Unless
// that has just been answered, it is deaf: the network has forgotten it, or its
// server is gone without a word. Another takes its place, which would else be
// empty until the wait has passed.
func (w *waiting) overdue(queue string, on *line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.listeners[queue]
	if l == nil || l.waits != on || w.closed {
		return
	}
	// What was left to wait later has been forgotten too, as like as not.
	for _, idle := range w.idle {
		w.hangUp(idle, errDeaf)
	}
	w.idle = nil
	delete(w.lines, on)
	go w.backend.hangUp(on)
	// The new one is among those that Close waits for in place of the old one.
	l = new(listener)
	w.listeners[queue] = l
	go w.listen(queue, l)
	w.landed[queue] = true
	if !w.wake(queue) {
		w.passOn()
	}
}

// move waits in Redis until a job has landed.
func (w *waiting) move(on *line, queue string) (landed bool, err error) {
	b := w.backend
	err = on.conn.BLMove(context.Background(), b.prefix+"queue:"+queue, b.landing(queue), "LEFT", "RIGHT", blockTime).Err()
	if errors.Is(err, goredis.Nil) {
		return false, nil
	}
	return err == nil, err
}

func (b *Backend) landing(queue string) string {
	return b.prefix + "gofer:landing:" + b.instance + ":" + queue
}

// sweep ends the waits in Redis that are of no use, until there are none.
func (w *waiting) sweep() {
	w.mu.Lock()
	var useless []*line
	left := false
	for queue, l := range w.listeners {
		if w.wanted[queue] == 0 || w.closed {
			left = true
			if l.waits != nil {
				useless = append(useless, l.waits)
			}
		}
	}
	w.mu.Unlock()
	w.backend.unblock(useless)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweeping = left
	if left { // one may have begun to wait just after it was told not to
		time.AfterFunc(linger/2, w.sweep)
	}
}
