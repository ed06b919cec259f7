// Package queue runs background jobs inside a Go service, on the broker that
// the service already has.
//
//	type Email struct{ To string }
//
//	queue.RegisterFunc("send_email", func(ctx context.Context, job *queue.Job[Email]) error {
//		return send(ctx, job.Args.To)
//	})
//	q, err := queue.Open(ctx, os.Getenv("QUEUE_URL")) // such as redis://localhost
//	id, err := q.Enqueue(ctx, "send_email", Email{To: "a@b.c"}, queue.In(time.Hour))
//	err = q.Run(ctx) // a pool of goroutines, drained when ctx ends
//
// The same program moves between brokers by its URL, and its handlers are
// tested on the one in memory, with package queuetest. Each driver registers
// the schemes of its URLs when its package is imported, as with database/sql:
//
//	memory://                  always there
//	redis:// and its like      import _ "github.com/goferhq/queue/backend/redis"
//	beanstalkd://              import _ "github.com/goferhq/queue/backend/beanstalkd"
//	amqp:// and amqps://       import _ "github.com/goferhq/queue/backend/rabbitmq"
//	all of them                import _ "github.com/goferhq/queue/backend/all"
//
// # Words
//
// A kind ties arguments to a handler: "send_email". A queue is a named line of
// jobs in the broker: "email.bulk". An attempt is one run of the handler. A
// lease is how long the broker hides a job that was reserved for this process
// from all others; it is extended for as long as the handler runs. What ends
// an attempt:
//
//	the handler returns       the job
//	nil                       is done
//	an error                  runs again later, as its retry policy says, or is buried
//	RetryIn(d, err)           runs again after d
//	Snooze(d)                 runs again after d, and the attempt does not count
//	Bury(err)                 goes to the dead set, where a person can look at it
//	Cancel(err)               is dropped
//
// # Guarantees
//
// A job whose Enqueue returned nil runs at least once: a process or a broker
// that dies delays it by a lease and does not lose it, as far as the broker
// keeps what it has acknowledged. An attempt counts when it begins, so that a
// job that kills its process is buried after a few tries. A worker that has
// lost its lease is told by its context, and what it says of the job is
// refused. Bytes that are no job, and jobs of a kind that nobody knows, end in
// the dead set as they are.
//
// At least once means that a handler can run twice, when its process dies or
// the broker is lost between the end of the handler and the settlement. Make
// handlers idempotent.
//
// # Middleware
//
// Between the worker and the handler stands a chain of [Middleware], which
// logs, tracks, retries, limits and recovers; Use adds to it and UseOnly
// replaces it. The default, from the outside to the inside: Logging, Tracking,
// the Hooks that come after an attempt, MaxAttemptsOf(25),
// Retries(retry.Default()), Timeouts(0), Recover, BeforePerform, those of Use,
// the handler.
package queue
