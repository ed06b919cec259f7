// Package queuetest tests code that enqueues jobs and code that handles them,
// on a broker in memory: no server, no waiting, nothing left behind.
//
//	func TestSignUpSendsAWelcome(t *testing.T) {
//		q := queuetest.New(t)
//		signUp(t.Context(), q.Queue, "a@b.c")
//
//		queuetest.AssertEnqueued(t, q, "send_email", Email{To: "a@b.c"})
//		if err := q.Drain(t.Context()).Err(); err != nil { // runs everything that is due
//			t.Error(err)
//		}
//	}
//
// A handler alone is tested by [Perform], which calls it with arguments that
// went through JSON, as they do in a broker:
//
//	err := queuetest.Perform(t.Context(), &EmailHandler{mailer}, Email{To: "a@b.c"})
//
// # Time
//
// In a bubble of testing/synctest a job that is due tomorrow is tested in no
// time. Call [New] inside of the bubble, then sleep and drain again:
//
//	synctest.Test(t, func(t *testing.T) {
//		q := queuetest.New(t)
//		signUp(t.Context(), q.Queue, "a@b.c")
//		time.Sleep(24 * time.Hour)
//		q.Drain(t.Context()) // sends the reminder
//	})
//
// # Handlers that run twice
//
// A job runs at least once: now and then a handler runs again for a job that
// it has done. [Duplicate] makes that the rule.
package queuetest
