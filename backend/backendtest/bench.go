package backendtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
)

// bench is what a case works on: the broker, a queue that is its own, and a
// record of what was done. Its methods end the case when they fail, as those
// of testing.T do, so that a case reads as the steps that it takes.
type bench struct {
	Harness
	A     *conn  // the first connection
	queue string // where messages go unless a case says otherwise
	ctx   context.Context
	began time.Time
	name  string // unique to this run of the case

	mu       sync.Mutex // guards all below
	err      error      // the first failure
	steps    []*step
	opened   []*conn
	messages int // made so far
}

func newBench(ctx context.Context, h Harness) *bench {
	b := &bench{Harness: h, ctx: ctx, began: time.Now(), name: strings.ToLower(rand.Text()[:10])}
	b.queue = b.queueNamed("jobs")
	return b
}

// queueNamed returns the name of a queue that belongs to this case only.
func (b *bench) queueNamed(label string) string { return "bt-" + b.name + "-" + label }

// open opens another connection to the broker.
func (b *bench) open() *conn {
	b.mu.Lock()
	c := &conn{bench: b, name: string(rune('A' + len(b.opened)%26))}
	b.opened = append(b.opened, c)
	b.mu.Unlock()
	s := c.begin("Open", "")
	opened, err := b.Open(b.ctx)
	s.end(outcome(err))
	if err != nil {
		b.fail("the harness could not open the broker: %v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.Backend = opened
	return c
}

// close closes the connections. It is no part of the check and does not wait
// for a Close that hangs: the cases that look at Close do.
func (b *bench) close() {
	var opened []backend.Backend
	b.mu.Lock()
	for _, c := range b.opened {
		if c.Backend != nil {
			opened = append(opened, c.Backend)
		}
	}
	b.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.recover()
		for _, c := range opened {
			c.Close()
		}
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
	}
}

// fail ends the case, or at least the goroutine that calls it.
func (b *bench) fail(format string, args ...any) {
	b.record(fmt.Errorf(format, args...))
	runtime.Goexit()
}

// skip ends the case without a verdict.
func (b *bench) skip(format string, args ...any) {
	b.fail("%w: %s", ErrSkipped, fmt.Sprintf(format, args...))
}

// record keeps the first failure.
func (b *bench) record(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

func (b *bench) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// step is a call as the record shows it.
type step struct {
	bench   *bench
	at      time.Duration
	what    string
	outcome string
}

func (b *bench) begin(what string) *step {
	s := &step{bench: b, at: time.Since(b.began), what: what, outcome: "has not returned"}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.steps = append(b.steps, s)
	return s
}

func (s *step) end(outcome string) {
	s.bench.mu.Lock()
	defer s.bench.mu.Unlock()
	s.outcome = outcome
}

// trace returns the latest steps, one a line.
func (b *bench) trace() string {
	const most = 16
	b.mu.Lock()
	defer b.mu.Unlock()
	var text strings.Builder
	steps := b.steps
	if skipped := len(steps) - most; skipped > 0 {
		fmt.Fprintf(&text, "\t(%d steps)\n", skipped)
		steps = steps[skipped:]
	}
	for _, s := range steps {
		fmt.Fprintf(&text, "\t%6v  %s: %s\n", s.at.Round(time.Millisecond), s.what, s.outcome)
	}
	return text.String()
}

// spawn runs f in a goroutine. The function that it returns waits for f, and
// ends the case when that has failed.
func (b *bench) spawn(f func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.recover()
		f()
	}()
	return func() {
		<-done
		if b.failure() != nil {
			runtime.Goexit()
		}
	}
}

// together runs f n times at once and waits for all of them.
func (b *bench) together(n int, f func(i int)) {
	start := make(chan struct{})
	var waits []func()
	for i := range n {
		waits = append(waits, b.spawn(func() {
			<-start
			f(i)
		}))
	}
	close(start)
	for _, wait := range waits {
		wait()
	}
}

// sleep waits for d.
func (b *bench) sleep(d time.Duration) {
	s := b.begin(fmt.Sprintf("wait %v", d))
	select {
	case <-time.After(d):
		s.end("done")
	case <-b.ctx.Done():
		b.fail("the case has taken longer than %v", b.caseTimeout())
	}
}

// patience is how long to wait for what must come, before giving up on it.
func (b *bench) patience() time.Duration { return 10*time.Second + b.Slack }

// prompt is how long a call may take that has nothing to wait for.
func (b *bench) prompt() time.Duration { return 500*time.Millisecond + b.Slack }

// quiet is how long to wait for what must not come. It is shorter than a
// lease, so that none ends meanwhile.
func (b *bench) quiet() time.Duration { return min(100*time.Millisecond+b.Slack, b.Lease/3) }

// expiry is how long after a Reserve its lease has surely ended.
func (b *bench) expiry() time.Duration { return b.Lease + b.Slack }

// delays returns a delay of n steps, each as short as the broker allows and
// long enough to be told from the next on a busy machine.
func (b *bench) delays(n int) time.Duration { return time.Duration(n) * b.step() }

func (h Harness) step() time.Duration { return max(h.DelayUnit, h.Slack/2, 20*time.Millisecond) }

// longLease is for cases that look at something else than leases.
func (b *bench) longLease() time.Duration {
	lease := 10 * b.Lease
	if longest := backend.LimitsOf(b.A.Backend).MaxLease; longest > 0 {
		lease = min(lease, longest)
	}
	return lease
}

// message returns a new message for the queue of the case.
func (b *bench) message() *backend.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages++
	return &backend.Message{
		ID:         fmt.Sprintf("%s-%d", b.name, b.messages),
		Kind:       "backendtest",
		Queue:      b.queue,
		Args:       fmt.Appendf(nil, `{"n":%d}`, b.messages),
		EnqueuedAt: time.Now(),
	}
}

// messagesFor returns n new messages for a queue.
func (b *bench) messagesFor(queue string, n int) []*backend.Message {
	var made []*backend.Message
	for range n {
		m := b.message()
		m.Queue = queue
		made = append(made, m)
	}
	return made
}

// full returns a message that has a value in every field.
func (b *bench) full() *backend.Message {
	m := b.message()
	m.Args = []byte(`{ "big": 12345678901234567890, "float": 1.0, "list": [], "empty": {}, "text": "é\u00e9 \u0000 </p>" }`)
	m.Attempt = 2
	m.MaxAttempts = 7
	m.Priority = backend.LimitsOf(b.A.Backend).MaxPriority
	m.EnqueuedAt = time.Date(2026, 11, 21, 10, 15, 30, 123456789, time.UTC)
	m.Header = map[string]string{"trace": "00-4bf92f", "empty": "", "grüße": "größer \"als\"\n"}
	m.Extra = map[string]json.RawMessage{
		"x_number": json.RawMessage(`12345678901234567890.10`),
		"x_object": json.RawMessage(`{ "b" : [ 1 , {} ] }`),
		"x_null":   json.RawMessage(`null`),
	}
	return m
}
