package queuetest_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
	"github.com/goferhq/queue/queuetest"
)

// withSomeJobs returns a queue in which three emails wait.
func withSomeJobs(t *testing.T, r *recorder) *queuetest.Queue {
	t.Helper()
	q := queuetest.New(r, queue.Handlers(new(queue.Mux)))
	t.Cleanup(r.end)
	enqueue(t, q, "send_email", email{To: "a@b.c"})
	enqueue(t, q, "send_email", email{To: "d@e.f"}, queue.On("bulk"), queue.Header("tenant", "7"))
	enqueue(t, q, "send_email", email{To: "g@h.i"}, queue.In(time.Hour))
	enqueue(t, q, "resize", map[string]int{"width": 100})
	return q
}

func TestAssertEnqueuedFindsJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		q := withSomeJobs(t, r)
		for _, args := range []any{
			nil,
			email{To: "a@b.c"},
			&email{To: "a@b.c"},
			map[string]string{"To": "a@b.c"},
			queue.Raw(`{ "To": "a@b.c" }`),
		} {
			queuetest.AssertEnqueued(r, q, "send_email", args)
		}
		queuetest.AssertEnqueued(r, q, "send_email", nil, queuetest.Times(3))
		queuetest.AssertEnqueued(r, q, "nothing", nil, queuetest.Times(0))
		queuetest.AssertEnqueued(r, q, "send_email", nil, queuetest.On("bulk"), queuetest.Header("tenant", "7"), queuetest.Times(1))
		queuetest.AssertEnqueued(r, q, "send_email", email{To: "g@h.i"}, queuetest.DueIn(time.Hour, time.Hour))
		queuetest.AssertEnqueued(r, q, "send_email", nil, queuetest.DueIn(0, 0), queuetest.Times(2))
		queuetest.AssertEnqueued(r, q, "send_email", nil, queuetest.Where(func(e email) bool {
			return strings.HasPrefix(e.To, "d@")
		}))
		r.expect(t, "")
	})
}

func TestRefuteEnqueuedPassesWhereNoJobMatches(t *testing.T) {
	r := &recorder{TB: t}
	q := withSomeJobs(t, r)
	queuetest.RefuteEnqueued(r, q, "nothing", nil)
	queuetest.RefuteEnqueued(r, q, "send_email", email{To: "x@y.z"})
	queuetest.RefuteEnqueued(r, q, "send_email", email{To: "a@b.c"}, queuetest.On("bulk"))
	queuetest.RefuteEnqueued(r, q, "send_email", nil, queuetest.Header("tenant", "8"), queuetest.Times(3))
	queuetest.RefuteEnqueued(r, q, "send_email", nil, queuetest.Where(func([]int) bool { return true }))
	r.expect(t, "")
}

func TestAFailureShowsWhatIsWaitingAndWhyItIsNotIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		q := withSomeJobs(t, r)
		queuetest.AssertEnqueued(r, q, "send_email", email{To: "g@h.i"}, queuetest.On("bulk"), queuetest.DueIn(0, time.Minute))
		r.expect(t, `
queuetest: no job of kind "send_email", with args {"To":"g@h.i"}, on queue "bulk", due in 0s to 1m0s is waiting; these are:
  KIND        QUEUE    DUE        ATTEMPT  ARGS            HEADER    DIFFERS IN
  send_email  bulk     now        0        {"To":"d@e.f"}  tenant=7  args
  send_email  default  now        0        {"To":"a@b.c"}            args
  send_email  default  in 1h0m0s  0        {"To":"g@h.i"}            queue
  resize      default  now        0        {"width":100}             kind`)

		queuetest.AssertEnqueued(r, q, "resize", nil, queuetest.Where(func(s string) bool { return true }))
		r.expectMention(t, "where the condition holds", "cannot unmarshal object")

		queuetest.AssertEnqueued(r, q, "resize", nil, queuetest.Times(2))
		r.expectMention(t, `queuetest: 1 job of kind "resize" is waiting, want 2; these are:`)

		queuetest.RefuteEnqueued(r, q, "send_email", nil, queuetest.On("default"))
		r.expectMention(t, `queuetest: 2 jobs of kind "send_email", on queue "default" are waiting, want 0; these are:`)
	})
}

func TestAFailureOnAnEmptyQueueSaysSo(t *testing.T) {
	r := &recorder{TB: t}
	q := queuetest.New(r)
	defer r.end()
	queuetest.AssertEnqueued(r, q, "send_email", email{To: "a@b.c"})
	r.expect(t, `queuetest: no job of kind "send_email", with args {"To":"a@b.c"} is waiting; nothing is`)
}

func TestAFailureStaysReadable(t *testing.T) {
	r := &recorder{TB: t}
	q := queuetest.New(r, queue.Handlers(new(queue.Mux)))
	defer r.end()
	for range 30 {
		enqueue(t, q, "send_email", email{To: strings.Repeat("ä", 1000)})
	}
	queuetest.AssertEnqueued(r, q, "odd\nkind", 2)
	r.expectMention(t, `"odd\nkind"`, `ä…`, "and 10 more")
}

func TestAFailureShowsWhatIsNoJob(t *testing.T) {
	r := &recorder{TB: t}
	q := queuetest.New(r)
	defer r.end()
	broker, _ := backend.As[*memory.Backend](q.Backend())
	if err := broker.PutRaw(t.Context(), "foreign", []byte("\x00\xff")); err != nil {
		t.Fatal(err)
	}
	queuetest.AssertEnqueued(r, q, "send_email", nil)
	r.expectMention(t, `(malformed)  foreign  now  0        "\x00\xff"`)
}

func TestArgsThatHaveNoJSONFailTheTest(t *testing.T) {
	r := &recorder{TB: t}
	q := queuetest.New(r)
	defer r.end()
	queuetest.AssertEnqueued(r, q, "send_email", func() {})
	r.expectMention(t, `the wanted args of "send_email" have no JSON`)
}

func TestRunningAndDoneJobsAreNotWaiting(t *testing.T) {
	var q *queuetest.Queue
	q = queuetest.New(t, queue.Handlers(handle("send_email", func(context.Context, *queue.Job[email]) error {
		queuetest.RefuteEnqueued(t, q, "send_email", nil)
		return nil
	})))
	enqueue(t, q, "send_email", email{})
	expectCounts(t, q.Drain(t.Context()), 1, 0, 0, 0, 0)
	queuetest.RefuteEnqueued(t, q, "send_email", nil)
}

func TestEnqueuedReturnsJobsInOrderAndLeavesThem(t *testing.T) {
	r := &recorder{TB: t}
	q := withSomeJobs(t, r)
	for range 2 {
		jobs := queuetest.Enqueued[email](r, q, "send_email")
		if len(jobs) != 3 {
			t.Fatalf("%d jobs are enqueued, want 3", len(jobs))
		}
		if jobs[0].Queue != "bulk" || jobs[0].Header["tenant"] != "7" || jobs[1].Args.To != "a@b.c" || jobs[2].Args.To != "g@h.i" {
			t.Errorf("the jobs are %+v, %+v, %+v", jobs[0], jobs[1], jobs[2])
		}
	}
	if jobs := queuetest.Enqueued[email](r, q, "send_email", queuetest.DueIn(time.Minute, time.Hour)); len(jobs) != 1 {
		t.Errorf("%d jobs are scheduled, want 1", len(jobs))
	}
	r.expect(t, "")
}

func TestEnqueuedFailsTheTestForArgsOfAnotherType(t *testing.T) {
	r := &recorder{TB: t}
	q := withSomeJobs(t, r)
	if jobs := queuetest.Enqueued[string](r, q, "resize"); len(jobs) != 0 {
		t.Errorf("it returned %v", jobs)
	}
	r.expectMention(t, `the args of a "resize" job do not decode into a string`)
}
