package beanstalkd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goferhq/queue"
)

// workerVariable makes a process of this test program a worker: it holds the
// JSON of a workerSettings.
const workerVariable = "GOFER_TEST_WORKER"

// workerSettings are those of a worker process.
type workerSettings struct {
	URL       string
	Chronicle chronicle
	Workers   int
	Prefetch  int
	Lease     time.Duration
}

// testsAtOnce is how many tests share this machine. Most of them wait, for
// leases and for servers that start, so that there can be more than processors.
const testsAtOnce = "8"

func TestMain(m *testing.M) {
	settings := os.Getenv(workerVariable)
	if settings == "" {
		flag.Parse()
		if err := flag.Set("test.parallel", testsAtOnce); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	if err := work(settings); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work is what a worker process does until it is told to end.
func work(text string) error {
	var settings workerSettings
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return err
	}
	write := settings.Chronicle.write
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "note", queue.HandlerFunc[duration](func(ctx context.Context, job *queue.Job[duration]) error {
		if err := write(event{What: "began", ID: job.ID, Attempt: job.Attempt}); err != nil {
			return err
		}
		select {
		case <-time.After(job.Args.Takes):
			return write(event{What: "ended", ID: job.ID, Attempt: job.Attempt})
		case <-ctx.Done():
			// It ends as if nothing had happened: the ack has to be refused.
			return write(event{What: "cancelled", ID: job.ID, Attempt: job.Attempt, Cause: context.Cause(ctx).Error()})
		}
	}))
	queue.RegisterOn(mux, "crash", queue.HandlerFunc[duration](func(ctx context.Context, job *queue.Job[duration]) error {
		if err := write(event{What: "began", ID: job.ID, Attempt: job.Attempt}); err != nil {
			return err
		}
		time.Sleep(job.Args.Takes)
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	q, err := queue.Open(ctx, settings.URL, queue.Handlers(mux), queue.Workers(settings.Workers),
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

// duration are the arguments of a job: how long its handler takes.
type duration struct{ Takes time.Duration }

// workerProcess is a worker in a process of its own.
type workerProcess struct {
	t       testing.TB
	command *exec.Cmd
	output  *bytes.Buffer // complete when ended is closed
	ended   chan struct{}
	once    sync.Once
	status  error // set before ended is closed
}

// startWorker starts a worker process, which the test kills at its end.
func startWorker(t testing.TB, settings workerSettings) *workerProcess {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	w := &workerProcess{t: t, output: new(bytes.Buffer), ended: make(chan struct{})}
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
		w.kill()
		if t.Failed() {
			text := w.output.String()
			t.Logf("worker %d wrote:\n%s", w.pid(), text[max(0, len(text)-2000):])
		}
	})
	return w
}

func (w *workerProcess) pid() int { return w.command.Process.Pid }

// kill ends the process as kill -9 does.
func (w *workerProcess) kill() {
	w.once.Do(func() { w.command.Process.Kill() })
	<-w.ended
}

// freeze stops the process, and thaw lets it go on.
func (w *workerProcess) freeze() { w.signal(syscall.SIGSTOP) }
func (w *workerProcess) thaw()   { w.signal(syscall.SIGCONT) }

func (w *workerProcess) signal(s os.Signal) {
	w.t.Helper()
	if err := w.command.Process.Signal(s); err != nil {
		w.t.Fatalf("worker %d: %v: %v", w.pid(), s, err)
	}
}

// end asks the process to end, and fails the test unless it does so cleanly.
func (w *workerProcess) end() {
	w.t.Helper()
	w.signal(syscall.SIGTERM)
	select {
	case <-w.ended:
		if w.status != nil {
			w.t.Errorf("worker %d ended with %v", w.pid(), w.status)
		}
	case <-time.After(patience):
		w.t.Errorf("worker %d does not end", w.pid())
	}
}

// chronicle is the path of a file in which workers write what happens. It
// keeps what a process has written that is killed then.
type chronicle string

// event is an entry of the chronicle.
type event struct {
	What    string // began, ended or cancelled
	ID      string
	Attempt int
	PID     int
	Cause   string `json:",omitempty"` // of a cancellation
}

// newChronicle returns an empty one.
func newChronicle(t testing.TB) chronicle {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chronicle")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return chronicle(path)
}

// write adds an event, behind all that other processes have written.
func (c chronicle) write(e event) error {
	e.PID = os.Getpid()
	entry, err := json.Marshal(e)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(string(c), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(append(entry, '\n'))
	return errors.Join(err, file.Close())
}

// events returns the chronicle from the beginning, or that of one job.
func (c chronicle) events(t testing.TB, of ...string) []event {
	t.Helper()
	text, err := os.ReadFile(string(c))
	if err != nil {
		t.Fatal(err)
	}
	var all []event
	for line := range bytes.Lines(text) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if len(of) == 0 || e.ID == of[0] {
			all = append(all, e)
		}
	}
	return all
}

// await waits until something has happened to a job.
func (c chronicle) await(t testing.TB, limit time.Duration, what, id string, attempt int) event {
	t.Helper()
	var found event
	eventually(t, limit, func() error {
		of := c.events(t, id)
		for _, e := range of {
			if e.What == what && e.Attempt == attempt {
				found = e
				return nil
			}
		}
		return fmt.Errorf("attempt %d of job %s has not %s; what has happened: %+v", attempt, id, what, of)
	})
	return found
}

// expectEnded fails the test unless the last thing that happened to a job is
// that it ended.
func expectEnded(t testing.TB, of []event, id string) {
	t.Helper()
	if len(of) == 0 || of[len(of)-1].What != "ended" {
		t.Errorf("job %s did not complete: %+v", id, of)
	}
}

// openQueue opens a queue for a producer.
func openQueue(t testing.TB, address string) *queue.Queue {
	t.Helper()
	q, err := queue.Open(t.Context(), address, queue.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// enqueue enqueues a job for a worker process, whose handler takes some time.
func enqueue(t testing.TB, q *queue.Queue, kind, id string, takes time.Duration) {
	t.Helper()
	if _, err := q.Enqueue(t.Context(), kind, duration{takes}, queue.ID(id)); err != nil {
		t.Fatal(err)
	}
}
