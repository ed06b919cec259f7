package redis

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/redis/internal/resque"
)

// worker is this process as Resque and other workers of this library see it:
// registered while it reserves, with a heartbeat and a sample of what it does.
//
// Its id, HOST-go-INSTANCE:PID:QUEUES, differs in its host from those of Ruby
// and PHP workers on this machine: they remove workers of their own host whose
// process they do not know.
type worker struct {
	// writing is held while the keys of this worker are written, so that those
	// of an id that it no longer has do not come back.
	writing sync.Mutex

	mu      sync.Mutex // guards all below
	queues  []string   // that it has reserved from
	lease   time.Duration
	started time.Time
	ahead   time.Duration // of the server's clock before ours
	beaten  time.Time     // when the heartbeat was last written
	shown   bool          // Redis has a sample of what it does
	latest  *backend.Delivery

	id atomic.Pointer[string] // nil before it is registered
}

// heartbeat is how often Resque's workers write theirs, less some time for
// one that is missed.
const heartbeat = 15 * time.Second

// name returns the id, or "" before the worker is registered.
func (w *worker) name() string {
	if id := w.id.Load(); id != nil {
		return *id
	}
	return ""
}

// display returns an id for a failure, also where nothing was reserved.
func (w *worker) display(b *Backend, queue string) string {
	if id := w.name(); id != "" {
		return id
	}
	return resque.WorkerID(b.host, os.Getpid(), []string{queue}, b.instance)
}

// enter registers the worker when it begins to reserve, and again when it
// does so from other queues.
func (w *worker) enter(ctx context.Context, b *Backend, queues []string, lease time.Duration) error {
	w.mu.Lock()
	known := w.id.Load() != nil && lease >= w.lease
	for _, queue := range queues {
		known = known && slices.Contains(w.queues, queue)
	}
	if known {
		w.mu.Unlock()
		return nil
	}
	for _, queue := range queues {
		if !slices.Contains(w.queues, queue) {
			w.queues = append(w.queues, queue)
		}
	}
	if w.lease == 0 || lease < w.lease {
		w.lease = lease
	}
	if w.started.IsZero() {
		w.started = time.Now()
	}
	w.mu.Unlock()
	_, err := await(ctx, b, func() (struct{}, error) {
		err := w.register(b)
		if err == nil {
			b.clock.start()
		}
		return struct{}{}, err
	}, nil)
	return err
}

// register makes the worker known, also when it was taken for dead.
func (w *worker) register(b *Backend) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	shown := w.queues
	const most = 20 // of the queues; the id is a key, and a line on a page
	if len(shown) > most {
		shown = shown[:most]
	}
	id := resque.WorkerID(b.host, os.Getpid(), shown, b.instance)
	started, now := w.started.Add(w.ahead), time.Now().Add(w.ahead)
	w.mu.Unlock()
	_, life := w.beat()
	at, err := b.run(registerScript, b.instance, life.Milliseconds(), id, w.name(), resque.Started(started), resque.Heartbeat(now))
	if err != nil {
		return fmt.Errorf("register worker: %w", err)
	}
	w.saw(at.(int64))
	w.id.Store(&id)
	return w.note(b)
}

// note tells which queues this worker listens to and by which connections,
// which a worker that was taken for dead has to do again.
func (w *worker) note(b *Backend) error {
	queues := b.waiting.queuesNoted()
	if len(queues) == 0 {
		return nil
	}
	return b.onNode(func(node *goredis.Client) error {
		ctx := context.Background()
		pipe := node.Pipeline()
		pipe.SAdd(ctx, b.prefix+"gofer:landings:"+b.instance, queues...)
		pipe.HSet(ctx, b.prefix+"gofer:worker:"+b.instance, "connections", b.waiting.connections())
		_, err := pipe.Exec(ctx)
		return err
	})
}

// beat returns how often this worker shows that it is alive, and after which
// time without that it is not.
func (w *worker) beat() (every, life time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	every = min(max(w.lease/3, shortestBeat), longestBeat)
	return every, max(w.lease, every) + 3*every/2
}

// saw notes the server's clock.
func (w *worker) saw(now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead = time.Until(time.UnixMilli(now)).Round(time.Millisecond)
}

// sample notes one of the jobs that this worker has.
func (w *worker) sample(deliveries []*backend.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest = deliveries[len(deliveries)-1]
}

// report writes the heartbeat and the sample, each beat of the clock that they
// are due.
func (w *worker) report(b *Backend, registered bool) error {
	if !registered {
		if err := w.register(b); err != nil {
			return err
		}
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	writes, beats := w.writes(b)
	if len(writes) == 0 {
		return nil
	}
	err := b.onNode(func(node *goredis.Client) error {
		_, err := node.Pipelined(context.Background(), func(pipe goredis.Pipeliner) error {
			for _, write := range writes {
				write(pipe)
			}
			return nil
		})
		return err
	})
	if err == nil && beats {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.beaten = time.Now()
	}
	return err
}

// writes returns what there is to report just now, and whether the heartbeat
// is part of it.
func (w *worker) writes(b *Backend) (writes []func(goredis.Pipeliner), beats bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, id, ctx := time.Now(), w.name(), context.Background()
	if beats = now.Sub(w.beaten) > heartbeat; beats {
		text := resque.Heartbeat(now.Add(w.ahead))
		writes = append(writes, func(pipe goredis.Pipeliner) {
			pipe.HSet(ctx, b.prefix+"workers:heartbeat", id, text)
		})
	}
	running := w.latest != nil && w.latest.Malformed == nil && !w.latest.Receipt.(*receipt).settled.Load()
	switch key := b.prefix + "worker:" + id; {
	case running:
		r := w.latest.Receipt.(*receipt)
		working := resque.AppendWorking(nil, r.queue, r.at.Add(w.ahead), w.latest.Raw)
		writes = append(writes, func(pipe goredis.Pipeliner) { pipe.Set(ctx, key, working, 0) })
		w.shown = true
	case w.shown:
		writes = append(writes, func(pipe goredis.Pipeliner) { pipe.Del(ctx, key) })
		w.shown = false
		fallthrough
	default:
		w.latest = nil
	}
	return writes, beats
}

// haunt is for how long after its death a worker's landing lists may still
// receive a job: one wait.
const haunt = blockTime + 5*time.Second

// bury ends the registration of another worker, which has died.
func (w *worker) bury(b *Backend, instance string) error {
	reply, err := b.run(unregisterScript, instance, haunt.Milliseconds())
	if err != nil {
		return err
	}
	// It may be that it was only stopped. Redis must not hand out jobs to it.
	connections, _ := reply.(string)
	return b.onNode(func(node *goredis.Client) error {
		pipe := node.Pipeline()
		for text := range strings.Lines(connections) {
			id, address, _ := strings.Cut(strings.TrimSpace(text), " ")
			if n, err := strconv.ParseInt(id, 10, 64); err == nil {
				identity{n, address}.kill(pipe)
			}
		}
		pipe.Exec(context.Background()) // a user without the right to do that goes without
		return nil
	})
}

// leave ends the registration of this worker.
func (w *worker) leave(b *Backend) {
	if w.id.Load() == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.writing.Lock()
		defer w.writing.Unlock()
		b.run(unregisterScript, b.instance, 0)
	}()
	select {
	case <-done:
	case <-time.After(farewell):
	}
}
