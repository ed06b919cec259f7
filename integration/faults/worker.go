package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// workerVariable makes a process of a test program a worker: it holds the JSON
// of a WorkerSettings.
const workerVariable = "GOFER_TEST_WORKER"

// WorkerSettings are those of a worker process.
type WorkerSettings struct {
	URL       string // of the broker, or of the [Proxy] before it
	Chronicle Chronicle
	Workers   int
	Prefetch  int
	Lease     time.Duration
}

// BecomeWorker makes the process a worker if [StartWorker] has started it, and
// does not return then. TestMain calls it before anything else. The test
// package imports the driver.
func BecomeWorker() {
	settings := os.Getenv(workerVariable)
	if settings == "" {
		return
	}
	if err := work(settings); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// work is what a worker process does until it is told to end.
func work(text string) error {
	var settings WorkerSettings
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	q, err := queue.Open(ctx, settings.URL, queue.Handlers(handlers(settings.Chronicle)), queue.Workers(settings.Workers),
		queue.Prefetch(settings.Prefetch), queue.Lease(settings.Lease), queue.Shutdown(10*time.Second),
		queue.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return err
	}
	if err := q.Run(ctx); err != nil {
		return err
	}
	return q.Close()
}

// Worker is a worker in a process of its own.
type Worker struct {
	t       testing.TB
	command *exec.Cmd
	output  *bytes.Buffer // complete when ended is closed
	ended   chan struct{}
	once    sync.Once
	status  error // set before ended is closed
}

// StartWorker starts a worker process, which is killed when the test ends. What
// it has written is shown if the test has failed.
func StartWorker(t testing.TB, settings WorkerSettings) *Worker {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	w := &Worker{t: t, output: new(bytes.Buffer), ended: make(chan struct{})}
	w.command = exec.Command(os.Args[0])
	w.command.Env = append(os.Environ(), workerVariable+"="+string(text))
	w.command.Stdout, w.command.Stderr = w.output, w.output
	if err := w.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w.status = w.command.Wait()
		close(w.ended)
	}()
	t.Cleanup(func() {
		w.Kill()
		if t.Failed() {
			text := w.output.String()
			t.Logf("worker %d wrote:\n%s", w.PID(), text[max(0, len(text)-2000):])
		}
	})
	return w
}

// PID returns the ID of the process, which is that of its events too.
func (w *Worker) PID() int { return w.command.Process.Pid }

// Kill ends the process as kill -9 does.
func (w *Worker) Kill() {
	w.once.Do(func() { w.command.Process.Kill() })
	<-w.ended
}

// Freeze stops the process, which keeps its connections.
func (w *Worker) Freeze() { w.signal(syscall.SIGSTOP) }

// Thaw lets a process go on that was frozen.
func (w *Worker) Thaw() { w.signal(syscall.SIGCONT) }

func (w *Worker) signal(s os.Signal) {
	w.t.Helper()
	if err := w.command.Process.Signal(s); err != nil {
		w.t.Fatalf("worker %d: %v: %v", w.PID(), s, err)
	}
}

// End asks the process to end, and fails the test unless it does so cleanly.
func (w *Worker) End() {
	w.t.Helper()
	w.signal(syscall.SIGTERM)
	select {
	case <-w.ended:
		if w.status != nil {
			w.t.Errorf("worker %d ended with %v", w.PID(), w.status)
		}
	case <-time.After(Patience):
		w.t.Errorf("worker %d does not end", w.PID())
	}
}
