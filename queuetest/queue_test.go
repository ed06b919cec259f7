package queuetest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/queuetest"
)

type email struct {
	To      string
	Subject string `json:",omitempty"`
}

// handle returns a mux on which f handles the emails of a kind.
func handle(kind string, f func(context.Context, *queue.Job[email]) error, options ...queue.Option) *queue.Mux {
	mux := new(queue.Mux)
	queue.RegisterOn(mux, kind, queue.HandlerFunc[email](f), options...)
	return mux
}

func enqueue(t *testing.T, q *queuetest.Queue, kind string, args any, options ...queue.Option) string {
	t.Helper()
	id, err := q.Enqueue(t.Context(), kind, args, options...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestTheQueueIsClosedWhenTheTestIsOver(t *testing.T) {
	r := &recorder{TB: t}
	q := queuetest.New(r)
	r.end()
	if _, err := q.Enqueue(t.Context(), "send_email", email{}); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Enqueue after the test returned %v, want ErrClosed", err)
	}
	r.expect(t, "")
}

func TestARunInProgressEndsWithTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		q := queuetest.New(r)
		ended := make(chan error, 1)
		go func() { ended <- q.Run(context.Background()) }()
		synctest.Wait()
		r.end()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func TestTwoQueuesShareNothing(t *testing.T) {
	one, other := queuetest.New(t), queuetest.New(t)
	enqueue(t, one, "send_email", email{To: "a@b.c"})
	queuetest.RefuteEnqueued(t, other, "send_email", nil)
}

func TestTheLogGoesToTheTest(t *testing.T) {
	r := &recorder{TB: t}
	q := queuetest.New(r, queue.Handlers(handle("send_email", func(context.Context, *queue.Job[email]) error {
		return queue.Bury(errors.New("no such mailbox"))
	})))
	defer r.end()
	enqueue(t, q, "send_email", email{})
	q.Drain(t.Context())
	if got := r.logged.String(); !strings.Contains(got, "no such mailbox") || strings.Contains(got, "time=") {
		t.Errorf("logged %q, want the burial without the time", got)
	}
}

func TestAHandlerThatOutlivesItsTestLogsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		release := make(chan struct{})
		q := queuetest.New(r, queue.Handlers(handle("stubborn", func(context.Context, *queue.Job[email]) error {
			<-release
			return nil
		})))
		enqueue(t, q, "stubborn", email{})
		go q.Run(context.Background())
		synctest.Wait()
		r.end()
		before := r.logged.String()
		close(release)
		synctest.Wait()
		if after := r.logged.String(); after != before {
			t.Errorf("logged after the test: %q", strings.TrimPrefix(after, before))
		}
	})
}

func TestOptionsOfTheUserWin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meet := make(chan struct{})
		q := queuetest.New(t, queue.Workers(2), queue.Handlers(handle("meet", func(ctx context.Context, job *queue.Job[email]) error {
			select { // needs another worker at the same time
			case meet <- struct{}{}:
			case <-meet:
			}
			return nil
		})))
		enqueue(t, q, "meet", email{To: "a"})
		enqueue(t, q, "meet", email{To: "b"})
		if r := q.Drain(t.Context()); r.Done != 2 {
			t.Error(r)
		}
	})
}

func TestTheMemoryBackendIsWithinReach(t *testing.T) {
	for _, q := range []*queuetest.Queue{queuetest.New(t), queuetest.New(t, queuetest.Duplicate())} {
		if _, ok := backend.As[*memory.Backend](q.Backend()); !ok {
			t.Error("backend.As does not find the memory backend")
		}
		if _, ok := backend.As[backend.DeadSet](q.Backend()); !ok {
			t.Error("backend.As does not find the dead set")
		}
	}
}

func TestNewPanicsForAnInvalidOption(t *testing.T) {
	defer func() {
		if v := recover(); v == nil {
			t.Error("Workers(0) was taken")
		}
	}()
	queuetest.New(t, queue.Workers(0))
}
