package queuetest

import (
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

// Queue is a queue on a broker of its own, in memory, with all that a
// [queue.Queue] has. Hand its field Queue to the code under test.
type Queue struct {
	*queue.Queue

	t      testing.TB
	broker *broker

	mu    sync.Mutex
	drain *drain // guarded by mu: in progress, or nil
}

// New returns a queue for the time of a test. It knows the handlers of
// [queue.DefaultMux]; give it a mux of the test's own by [queue.Handlers].
//
// What differs from Open are the defaults: jobs run one after the other and in
// their order, so that a test does the same each time; handlers that still run
// at the end have a second; and what happens is logged to t, which shows it
// when the test fails or runs with -v. All options can change that.
//
// New panics when an option is invalid. The queue is closed when the test is
// over. For testing/synctest call New inside of the bubble.
func New(t testing.TB, options ...queue.OpenOption) *Queue {
	t.Helper()
	log := &logWriter{writer: t.Output()}
	q := &Queue{t: t, broker: &broker{Backend: memory.New()}}
	all := slices.Concat([]queue.OpenOption{
		queue.Workers(1),
		queue.Prefetch(0),
		queue.Shutdown(time.Second),
		queue.Logger(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: withoutTime}))),
	}, options, []queue.OpenOption{
		queue.Hooks{AfterAttempt: q.note},
	})
	var b backend.Backend = q.broker
	if slices.ContainsFunc(options, isDuplicate) {
		b = &duplicator{Backend: b, again: make(map[string]bool)}
	}
	q.Queue = queue.New(b, all...)
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Errorf("queuetest: %v", err)
		}
		log.end()
	})
	return q
}

// broker is the one in memory, whose queues Drain can add to those of a Run.
type broker struct {
	*memory.Backend

	mu   sync.Mutex
	pass *pass // guarded by mu: of the Drain in progress, or nil
}

// Unwrap returns the memory backend, which has every optional interface.
func (b *broker) Unwrap() backend.Backend { return b.Backend }

func (b *broker) setPass(p *pass) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pass = p
}

// logWriter writes to the log of a test until that is over. A handler that
// outlives its test may log later, and the log of a test panics then.
type logWriter struct {
	mu     sync.Mutex
	writer io.Writer // guarded by mu: nil once the test is over
}

func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writer == nil {
		return len(line), nil
	}
	return w.writer.Write(line)
}

func (w *logWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writer = nil
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
