package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

// orderOf runs jobs, one at a time, that wait in b, urgent, a and c, and then
// one in a queue that comes into being. It returns where they came from.
func orderOf(t *testing.T, names ...string) string {
	var tr trace
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(_ context.Context, job *queue.Job[int]) error {
			tr.add(job.Queue)
			return nil
		})
		for _, name := range []string{"b", "urgent", "a", "c"} {
			w.enqueue("greet", 1, queue.On(name))
		}
		w.run()
		w.enqueue("greet", 1, queue.On("new"))
		synctest.Wait()
		if strings.Contains(w.logs.String(), "WARN") {
			t.Errorf("the log has a warning:\n%s", w.logs)
		}
	}, queue.Queues(names...), queue.Workers(1), queue.Prefetch(0))
	return tr.String()
}

func TestAStarTakesJobsFromEveryQueue(t *testing.T) {
	for names, want := range map[string]string{
		"*":        "a, b, c, urgent, new",
		"urgent *": "urgent, a, b, c, new",
		"c b *":    "c, b, a, urgent, new",
	} {
		if got := orderOf(t, strings.Fields(names)...); got != want {
			t.Errorf("Queues(%s) took jobs from %s, want %s", names, got, want)
		}
	}
}

func TestAStarMayOnlyStandLast(t *testing.T) {
	for _, names := range [][]string{{"*", "a"}, {"*", "*"}, {"a*"}} {
		_, err := queue.Open(t.Context(), "memory://", queue.Queues(names...))
		if !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("Queues(%q): got %v, want ErrInvalid", names, err)
		}
	}
}

func TestABrokerThatCannotTakeFromAllQueuesRefusesAStar(t *testing.T) {
	b := &fakeBroker{Backend: memory.New(), limits: func(l *backend.Limits) { l.AllQueues = false }}
	url := urlOf(b)
	_, err := queue.Open(t.Context(), url, queue.Queues("urgent", "*"))
	if !errors.Is(err, queue.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
	expectText(t, fmt.Sprint(err), `Queues("*")`, "name them")
	expectPanic(t, func() { queue.New(b, queue.Queues("*")) }, "name them")
	q, err := queue.Open(t.Context(), url, queue.Queues("urgent"))
	must(t, err)
	must(t, q.Close())
}

func TestNoJobGoesToAllQueues(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		if _, err := w.queue.Enqueue(t.Context(), "greet", 1, queue.On("*")); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("got %v, want ErrInvalid", err)
		}
	})
}
