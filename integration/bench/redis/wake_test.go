package redis_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/redis/go-redis/v9/push"

	"github.com/goferhq/queue/integration/bench"
)

// A waker is a way to learn, without asking again and again, that a job has
// come. The driver has the first; here is what it was chosen among. None of
// them is in the way of a job that is lost when its connection breaks, as a
// blocking pop of the queue is.
type waker struct {
	name string

	// wait returns when a job may have come, with redis.Nil when it has waited
	// for long, and with another error when the connection has ended.
	wait func(ctx context.Context, l *waitingLine) error

	// prepare is called once for each connection. It may be nil.
	prepare func(ctx context.Context, l *waitingLine) error

	// signal says that a producer has to push an element to the list of
	// wake-up calls beside the job, which Ruby and PHP do not do.
	signal bool
}

// waitLimit is how long one wait in Redis takes at most.
const waitLimit = 30 * time.Second

func wakers() []waker {
	return []waker{
		{name: "landing", wait: func(ctx context.Context, l *waitingLine) error {
			return l.connection.BLMove(ctx, l.key("queue"), l.key("landing"), "LEFT", "RIGHT", waitLimit).Err()
		}},
		{name: "inplace", wait: func(ctx context.Context, l *waitingLine) error {
			return l.connection.BLMove(ctx, l.key("queue"), l.key("queue"), "LEFT", "LEFT", waitLimit).Err()
		}},
		{name: "wakelist", signal: true, wait: func(ctx context.Context, l *waitingLine) error {
			return l.connection.BLPop(ctx, waitLimit, l.key("wake")).Err()
		}},
		{
			name: "tracking",
			prepare: func(ctx context.Context, l *waitingLine) error {
				err := l.connection.Do(ctx, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", l.key("queue")).Err()
				if err != nil {
					return err
				}
				l.ended = make(chan error, 1)
				go func() { // until the connection ends
					// A connection reads notes while it waits for something.
					for {
						err := l.connection.BLPop(ctx, waitLimit, l.key("nothing")).Err()
						if !errors.Is(err, redis.Nil) {
							l.ended <- err
							return
						}
					}
				}()
				return nil
			},
			wait: func(_ context.Context, l *waitingLine) error {
				select {
				case <-l.notes:
					return nil
				case err := <-l.ended:
					return err
				}
			},
		},
	}
}

// waitingLine is a connection that waits.
type waitingLine struct {
	waker      waker
	client     *redis.Client // that has no other connection
	connection *redis.Conn
	notes      chan struct{} // of capacity 1: Redis has sent notes of changes
	ended      chan error    // the connection has, for wakers that watch it
}

// key returns the name of a key that no other waker uses.
func (l *waitingLine) key(name string) string { return l.waker.key(name) }

func (w *waker) key(name string) string { return w.name + ":" + name }

// HandlePushNotification implements push.NotificationHandler.
func (l *waitingLine) HandlePushNotification(context.Context, push.NotificationHandlerContext, []any) error {
	select {
	case l.notes <- struct{}{}:
	default:
	}
	return nil
}

// openLine connects.
func openLine(s *server, w waker) *waitingLine {
	s.tb.Helper()
	l := &waitingLine{waker: w, notes: make(chan struct{}, 1)}
	notes := push.NewProcessor()
	if err := notes.RegisterHandler("invalidate", l, true); err != nil {
		s.tb.Fatal(err)
	}
	l.client = redis.NewClient(&redis.Options{
		Addr: s.address, Protocol: 3, PushNotificationProcessor: notes,
		MaxRetries:               -1, // the end of the connection is that of the wait
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	ctx := context.Background()
	l.connection = l.client.Conn()
	err := l.connection.Ping(ctx).Err()
	if err == nil && w.prepare != nil {
		err = w.prepare(ctx, l)
	}
	if err != nil {
		s.tb.Fatal(err)
	}
	return l
}

// wakeReserve lends one job, as a driver's script would: what has landed goes
// back to the head of the queue first. KEYS: queue, landing, running, leases.
// ARGV: token, lease in milliseconds.
var wakeReserve = redis.NewScript(`
while redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', 'LEFT') do end
local payload = redis.call('LPOP', KEYS[1])
if not payload then return false end
local t = redis.call('TIME')
redis.call('HSET', KEYS[3], ARGV[1], payload)
redis.call('ZADD', KEYS[4], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2], ARGV[1])
return payload
`)

// waiting is one worker that waits for jobs and reserves them.
type waiting struct {
	server   *server
	waker    waker
	line     *waitingLine
	producer *redis.Client
	reserved chan wokenBy
	ended    atomic.Bool
	running  sync.WaitGroup
}

// wokenBy is a job that was reserved.
type wokenBy struct {
	payload string
	at      time.Time
}

func startWaiting(s *server, w waker) *waiting {
	s.tb.Helper()
	one := &waiting{server: s, waker: w, line: openLine(s, w), producer: s.client(0), reserved: make(chan wokenBy, 1)}
	one.running.Go(one.work)
	return one
}

func (w *waiting) work() {
	defer close(w.reserved)
	ctx := context.Background()
	client := w.server.client(0)
	keys := []string{w.waker.key("queue"), w.waker.key("landing"), w.waker.key("running"), w.waker.key("leases")}
	for {
		if err := w.waker.wait(ctx, w.line); err != nil && !errors.Is(err, redis.Nil) {
			if !w.ended.Load() {
				w.server.tb.Errorf("%s: %v", w.waker.name, err)
			}
			return
		}
		payload, err := wakeReserve.Run(ctx, client, keys, "token", waitLimit.Milliseconds()).Text()
		switch {
		case err == nil:
			w.reserved <- wokenBy{payload, time.Now()}
		case !errors.Is(err, redis.Nil):
			w.server.tb.Errorf("%s: %v", w.waker.name, err)
			return
		}
	}
}

// push pushes a job and returns how long it took until that was reserved.
func (w *waiting) push() time.Duration {
	w.server.tb.Helper()
	time.Sleep(2 * time.Millisecond) // until the worker waits again
	began := time.Now()
	if err := pushFor(w.producer, w.waker, foreignPayload(0)); err != nil {
		w.server.tb.Fatal(err)
	}
	select {
	case by := <-w.reserved:
		return by.at.Sub(began)
	case <-time.After(waitLimit):
		w.server.tb.Fatalf("%s: a job was not reserved after %v", w.waker.name, waitLimit)
		return 0
	}
}

// end breaks the connection that waits. Nobody may be in push.
func (w *waiting) end() {
	w.ended.Store(true)
	w.line.client.Close()
	w.running.Wait()
}

// pushFor pushes a job in the way that a waker needs.
func pushFor(client *redis.Client, w waker, payload string) error {
	ctx := context.Background()
	if !w.signal {
		return client.RPush(ctx, w.key("queue"), payload).Err()
	}
	_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.RPush(ctx, w.key("queue"), payload)
		pipe.RPush(ctx, w.key("wake"), 1)
		return nil
	})
	return err
}

// BenchmarkWake compares ways to wait: how long it takes from a push on another
// connection until the job is reserved.
func BenchmarkWake(b *testing.B) {
	const pushes = 500
	s := startServer(b)
	var workers []*waiting
	for _, w := range wakers() {
		workers = append(workers, startWaiting(s, w))
	}
	latencies := make([][]float64, len(workers))
	for b.Loop() {
		for range pushes {
			for i, worker := range workers {
				latencies[i] = append(latencies[i], bench.Milliseconds(worker.push()))
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, worker := range workers {
		worker.end()
		b.ReportMetric(bench.Percentile(latencies[i], 50), worker.waker.name+"-p50-ms")
		b.ReportMetric(bench.Percentile(latencies[i], 99), worker.waker.name+"-p99-ms")
	}
}

// BenchmarkWoken counts the connections, of a hundred that wait, which are
// woken by one push.
func BenchmarkWoken(b *testing.B) {
	const connections = 100
	s := startServer(b)
	bench.Once(b, func() {
		for _, w := range wakers() {
			b.ReportMetric(float64(countWoken(s, w, connections)), w.name+"-woken")
		}
	})
}

func countWoken(s *server, w waker, connections int) int64 {
	s.tb.Helper()
	var woken atomic.Int64
	var running sync.WaitGroup
	var lines []*waitingLine
	for range connections {
		l := openLine(s, w)
		lines = append(lines, l)
		running.Go(func() {
			if w.wait(context.Background(), l) == nil {
				woken.Add(1)
			}
		})
	}
	for deadline := time.Now().Add(waitLimit / 2); s.info("clients", "blocked_clients") < int64(connections); {
		if time.Now().After(deadline) {
			s.tb.Fatalf("%s: not all of %d connections wait", w.name, connections)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := pushFor(s.client(0), w, foreignPayload(0)); err != nil {
		s.tb.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // for all who are to be woken
	count := woken.Load()
	for _, l := range lines {
		l.client.Close()
	}
	running.Wait()
	return count
}
