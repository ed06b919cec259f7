package queuetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/queuetest"
	"github.com/goferhq/queue/retry"
)

// t stands for the *testing.T of a test, which an example does not have.
var t = new(printer)

// printer is a testing.TB that prints its failures.
type printer struct{ testing.TB }

func (*printer) Helper()                           {}
func (*printer) Cleanup(func())                    {}
func (*printer) Context() context.Context          { return context.Background() }
func (*printer) Output() io.Writer                 { return io.Discard }
func (*printer) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

type Welcome struct{ To string }

// Welcomer is a handler that remembers whom it has welcomed.
type Welcomer struct{ welcomed []string }

func (w *Welcomer) Handle(ctx context.Context, job *queue.Job[Welcome]) error {
	if !strings.Contains(job.Args.To, "@") {
		return queue.Bury(errors.New("no address"))
	}
	w.welcomed = append(w.welcomed, job.Args.To)
	return nil
}

// signUp is what an application may have: it enqueues two jobs.
func signUp(ctx context.Context, q *queue.Queue, address string) {
	q.Enqueue(ctx, "welcome", Welcome{To: address})
	q.Enqueue(ctx, "remind", Welcome{To: address}, queue.In(24*time.Hour), queue.On("bulk"))
}

func ExampleNew() {
	welcomer := new(Welcomer)
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "welcome", welcomer)

	q := queuetest.New(t, queue.Handlers(mux)) // queue.DefaultMux without the option
	signUp(t.Context(), q.Queue, "a@b.c")
	q.Drain(t.Context())
	fmt.Println("welcomed", welcomer.welcomed)
	// Output:
	// welcomed [a@b.c]
}

func ExampleAssertEnqueued() {
	q := queuetest.New(t)
	signUp(t.Context(), q.Queue, "a@b.c")

	queuetest.AssertEnqueued(t, q, "welcome", Welcome{To: "a@b.c"}, queuetest.Times(1))
	queuetest.AssertEnqueued(t, q, "remind", nil, queuetest.On("bulk"), queuetest.DueIn(23*time.Hour, 24*time.Hour))

	queuetest.AssertEnqueued(t, q, "welcome", Welcome{To: "x@y.z"}) // fails
	// Output:
	// queuetest: no job of kind "welcome", with args {"To":"x@y.z"} is waiting; these are:
	//   KIND     QUEUE    DUE         ATTEMPT  ARGS            DIFFERS IN
	//   welcome  default  now         0        {"To":"a@b.c"}  args
	//   remind   bulk     in 24h0m0s  0        {"To":"a@b.c"}  kind
}

func ExampleRefuteEnqueued() {
	q := queuetest.New(t)
	signUp(t.Context(), q.Queue, "a@b.c")

	queuetest.RefuteEnqueued(t, q, "welcome", Welcome{To: "x@y.z"})
	queuetest.RefuteEnqueued(t, q, "remind", nil) // fails
	// Output:
	// queuetest: 1 job of kind "remind" is waiting, want 0; these are:
	//   KIND     QUEUE    DUE         ATTEMPT  ARGS            DIFFERS IN
	//   remind   bulk     in 24h0m0s  0        {"To":"a@b.c"}
	//   welcome  default  now         0        {"To":"a@b.c"}  kind
}

func ExampleEnqueued() {
	q := queuetest.New(t)
	signUp(t.Context(), q.Queue, "a@b.c")
	for _, job := range queuetest.Enqueued[Welcome](t, q, "remind") {
		fmt.Println("to remind on queue", job.Queue, "is", job.Args.To)
	}
	// Output:
	// to remind on queue bulk is a@b.c
}

func ExampleWhere() {
	q := queuetest.New(t)
	signUp(t.Context(), q.Queue, "a@b.c")
	queuetest.AssertEnqueued(t, q, "welcome", nil, queuetest.Where(func(w Welcome) bool {
		return strings.HasSuffix(w.To, "@b.c")
	}))
	// Output:
}

func ExampleQueue_Drain() {
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "welcome", new(Welcomer))
	queue.RegisterOn(mux, "count", queue.HandlerFunc[int](func(context.Context, *queue.Job[int]) error {
		return errors.New("the database is down")
	}), queue.Retry(retry.Fixed(time.Minute)))

	q := queuetest.New(t, queue.Handlers(mux))
	signUp(t.Context(), q.Queue, "a@b.c") // the reminder is not due and stays
	signUp(t.Context(), q.Queue, "nobody")
	q.Enqueue(t.Context(), "count", 1)

	report := q.Drain(t.Context())
	fmt.Println(report)
	fmt.Println("the first is", report.Outcomes[0].Verdict)
	// Output:
	// 1 done, 1 retried, 0 released, 1 buried, 0 cancelled
	//   KIND     QUEUE    ATTEMPT  ARGS             OUTCOME
	//   welcome  default  1        {"To":"a@b.c"}   done
	//   welcome  default  1        {"To":"nobody"}  buried: no address
	//   count    default  1        1                retried in 1m0s: the database is down
	// the first is done
}

func ExampleReport_Err() {
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "welcome", new(Welcomer))
	q := queuetest.New(t, queue.Handlers(mux))
	signUp(t.Context(), q.Queue, "nobody")
	if err := q.Drain(t.Context()).Err(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// welcome: no address
}

func ExamplePerform() {
	err := queuetest.Perform(t.Context(), new(Welcomer), Welcome{To: "nobody"})
	verdict, _ := queue.VerdictOf(err)
	fmt.Println(verdict, "because of", errors.Unwrap(err))
	// Output:
	// buried because of no address
}

func ExamplePerformJob() {
	patient := queue.HandlerFunc[Welcome](func(ctx context.Context, job *queue.Job[Welcome]) error {
		if job.Attempt < 3 {
			return errors.New("the mailbox is full")
		}
		return queue.Cancel(errors.New("the mailbox is still full"))
	})
	err := queuetest.PerformJob(t.Context(), patient, &queue.Job[Welcome]{Attempt: 3})
	fmt.Println(err)
	// Output:
	// cancelled: the mailbox is still full
}

func ExampleDuplicate() {
	welcomer := new(Welcomer)
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "welcome", welcomer)

	q := queuetest.New(t, queuetest.Duplicate(), queue.Handlers(mux))
	signUp(t.Context(), q.Queue, "a@b.c")
	q.Drain(t.Context())
	fmt.Println("welcomed", welcomer.welcomed) // so Welcomer is not idempotent
	// Output:
	// welcomed [a@b.c a@b.c]
}
