package unittest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/queuetest"
)

// outbox is a Mailer that keeps what it is given.
type outbox struct {
	mails []string
	err   error // of the next Send
}

func (o *outbox) Send(_ context.Context, to, text string) error {
	if err := o.err; err != nil {
		o.err = nil
		return err
	}
	o.mails = append(o.mails, to+": "+text)
	return nil
}

func (o *outbox) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(o.mails, want) {
		t.Errorf("sent %q, want %q", o.mails, want)
	}
}

// newMembers returns the service on a queue for tests.
func newMembers(t *testing.T, options ...queue.OpenOption) (*Members, *outbox, *queuetest.Queue) {
	mux, mails := new(queue.Mux), new(outbox)
	q := queuetest.New(t, append(options, queue.Handlers(mux))...)
	m := &Members{Queue: q.Queue, Mailer: mails}
	m.Register(mux)
	return m, mails, q
}

func signUp(t *testing.T, m *Members, address string) {
	t.Helper()
	if err := m.SignUp(t.Context(), address); err != nil {
		t.Fatal(err)
	}
}

// What does a call enqueue?
func TestSignUpEnqueuesAWelcomeAndAReminder(t *testing.T) {
	m, _, q := newMembers(t)
	signUp(t, m, "a@b.c")
	queuetest.AssertEnqueued(t, q, WelcomeKind, Mail{"a@b.c"}, queuetest.DueIn(0, 0))
	queuetest.AssertEnqueued(t, q, RemindKind, Mail{"a@b.c"}, queuetest.DueIn(23*time.Hour, 24*time.Hour))
}

// What does the handler do, without a queue around it?
func TestAMailboxThatDoesNotExistIsNotTriedAgain(t *testing.T) {
	m := &Members{Mailer: &outbox{err: ErrNoMailbox}}
	err := queuetest.Perform(t.Context(), queue.HandlerFunc[Mail](m.welcome), Mail{"nobody@b.c"})
	if verdict, _ := queue.VerdictOf(err); verdict != queue.Buried || !errors.Is(err, ErrNoMailbox) {
		t.Errorf("the handler returned %v", err)
	}
}

// Does it all work together, with retries?
func TestTheWelcomeIsSentWhenTheMailServerIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, mails, q := newMembers(t)
		mails.err = errors.New("connection refused")
		signUp(t, m, "a@b.c")
		if r := q.Drain(t.Context()); r.Retried != 1 {
			t.Errorf("want one retry: %v", r)
		}
		mails.expect(t)

		time.Sleep(time.Minute)
		if err := q.Drain(t.Context()).Err(); err != nil {
			t.Error(err)
		}
		mails.expect(t, "a@b.c: Welcome!")
	})
}

// What happens tomorrow?
func TestOnlyThoseWhoStayAwayAreReminded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, mails, q := newMembers(t)
		signUp(t, m, "away@b.c")
		signUp(t, m, "back@b.c")
		q.Drain(t.Context())
		m.Visit("back@b.c")

		time.Sleep(24 * time.Hour)
		if r := q.Drain(t.Context()); r.Done != 1 || r.Cancelled != 1 {
			t.Errorf("want one reminder and one cancellation: %v", r)
		}
		mails.expect(t, "away@b.c: Welcome!", "back@b.c: Welcome!", "away@b.c: We miss you.")
	})
}

// Does it matter when a job runs twice?
func TestNobodyIsWelcomedTwice(t *testing.T) {
	m, mails, q := newMembers(t, queuetest.Duplicate())
	signUp(t, m, "a@b.c")
	if r := q.Drain(t.Context()); r.Done != 2 {
		t.Errorf("want the welcome to run twice: %v", r)
	}
	mails.expect(t, "a@b.c: Welcome!")
}
