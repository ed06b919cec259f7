package queuetest_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the package when a goroutine outlives its tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a testing.TB that keeps what a test would fail with.
type recorder struct {
	testing.TB // of the test that looks at it; nil in an example

	mu       sync.Mutex
	failures []string // guarded by mu
	cleanups []func() // guarded by mu
	logged   syncBuffer
}

func (r *recorder) Helper()           {}
func (r *recorder) Output() io.Writer { return &r.logged }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// end does what the testing package does when a test is over.
func (r *recorder) end() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}

// expect checks that there was one failure, with this text, and forgets it.
func (r *recorder) expect(t *testing.T, want string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := strings.Join(r.failures, "\n"); got != strings.TrimSpace(want) {
		t.Errorf("the failure is\n%s\nwant\n%s", got, strings.TrimSpace(want))
	}
	r.failures = nil
}

// expectMention checks that there was one failure, which mentions each text.
func (r *recorder) expectMention(t *testing.T, texts ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) != 1 {
		t.Fatalf("there were %d failures: %q", len(r.failures), r.failures)
	}
	for _, text := range texts {
		if !strings.Contains(r.failures[0], text) {
			t.Errorf("the failure does not mention %q:\n%s", text, r.failures[0])
		}
	}
	r.failures = nil
}

// syncBuffer is a buffer for many goroutines.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer // guarded by mu
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
