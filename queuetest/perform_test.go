package queuetest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/queuetest"
)

type leaky struct {
	Public  string
	private string
}

func TestPerformTakesArgsThroughJSON(t *testing.T) {
	err := queuetest.Perform(t.Context(), queue.HandlerFunc[leaky](func(_ context.Context, job *queue.Job[leaky]) error {
		if job.Args.Public != "kept" || job.Args.private != "" {
			t.Errorf("the handler got %+v", job.Args)
		}
		return nil
	}), leaky{Public: "kept", private: "lost"})
	if err != nil {
		t.Error(err)
	}
}

func TestPerformFillsInTheJob(t *testing.T) {
	err := queuetest.Perform(t.Context(), queue.HandlerFunc[int](func(_ context.Context, job *queue.Job[int]) error {
		if job.ID == "" || job.Kind == "" || job.Queue != queue.DefaultQueue || job.Attempt != 1 || time.Since(job.EnqueuedAt) > time.Minute {
			t.Errorf("the handler got %+v", job)
		}
		job.Progress(1, 2)
		return job.SetResult("ignored")
	}), 1)
	if err != nil {
		t.Error(err)
	}
}

func TestPerformJobKeepsWhatIsGiven(t *testing.T) {
	given := queue.Job[int]{
		ID: "id", Kind: "kind", Queue: "q", Args: 5, Attempt: 3, MaxAttempts: 4, Priority: 5,
		EnqueuedAt: time.Unix(1, 0), Header: map[string]string{"a": "b"},
	}
	err := queuetest.PerformJob(t.Context(), queue.HandlerFunc[int](func(_ context.Context, job *queue.Job[int]) error {
		if job.ID != "id" || job.Kind != "kind" || job.Queue != "q" || job.Args != 5 || job.Attempt != 3 || job.MaxAttempts != 4 ||
			job.Priority != 5 || !job.EnqueuedAt.Equal(time.Unix(1, 0)) || job.Header["a"] != "b" {
			t.Errorf("the handler got %+v", job)
		}
		return nil
	}), &given)
	if err != nil {
		t.Error(err)
	}
}

func TestPerformReturnsTheVerdict(t *testing.T) {
	cause := errors.New("busy")
	for want, err := range map[queue.Verdict]error{
		queue.Done:      nil,
		queue.Undecided: cause,
		queue.Retried:   queue.RetryIn(time.Minute, cause),
		queue.Released:  queue.Snooze(time.Minute),
		queue.Buried:    queue.Bury(cause),
		queue.Cancelled: queue.Cancel(cause),
	} {
		got := queuetest.Perform(t.Context(), queue.HandlerFunc[int](func(context.Context, *queue.Job[int]) error { return err }), 1)
		if verdict, _ := queue.VerdictOf(got); verdict != want || got != err {
			t.Errorf("Perform returned %v, a %v, want %v, a %v", got, verdict, err, want)
		}
	}
}

// steps is a handler that notes which of its methods run.
type steps struct {
	ran     []string
	setUp   error
	tearing error
}

func (s *steps) SetUp(context.Context, *queue.Job[int]) error {
	s.ran = append(s.ran, "SetUp")
	return s.setUp
}

func (s *steps) Handle(context.Context, *queue.Job[int]) error {
	s.ran = append(s.ran, "Handle")
	return nil
}

func (s *steps) TearDown(context.Context, *queue.Job[int]) error {
	s.ran = append(s.ran, "TearDown")
	return s.tearing
}

func TestPerformRunsSetUpAndTearDown(t *testing.T) {
	failed := errors.New("no database")
	for _, test := range []struct {
		handler steps
		want    []string
		err     error
	}{
		{steps{}, []string{"SetUp", "Handle", "TearDown"}, nil},
		{steps{setUp: failed}, []string{"SetUp"}, failed},
		{steps{tearing: failed}, []string{"SetUp", "Handle", "TearDown"}, failed},
	} {
		err := queuetest.Perform(t.Context(), &test.handler, 1)
		if !errors.Is(err, test.err) || !slices.Equal(test.handler.ran, test.want) {
			t.Errorf("ran %v and returned %v, want %v and %v", test.handler.ran, err, test.want, test.err)
		}
	}
}

func TestPerformLetsAPanicThrough(t *testing.T) {
	defer func() {
		if v := recover(); v != "boom" {
			t.Errorf("recovered %v", v)
		}
	}()
	queuetest.Perform(t.Context(), queue.HandlerFunc[int](func(context.Context, *queue.Job[int]) error { panic("boom") }), 1)
}

func TestPerformRefusesArgsThatEnqueueWouldRefuse(t *testing.T) {
	err := queuetest.Perform(t.Context(), queue.HandlerFunc[chan int](func(context.Context, *queue.Job[chan int]) error { return nil }), nil)
	if !errors.Is(err, queue.ErrInvalidArgs) {
		t.Errorf("Perform returned %v, want ErrInvalidArgs", err)
	}
}
