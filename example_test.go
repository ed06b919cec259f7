package queue_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/retry"
)

// Welcome is what a job of kind "send_welcome" needs to know.
type Welcome struct {
	To string `json:"to"`
}

// A whole program: it registers a handler, enqueues a job and runs it.
func Example() {
	// A service ends this context on SIGTERM; see os/signal.NotifyContext.
	ctx, stop := context.WithCancel(context.Background())

	queue.RegisterFunc("send_welcome", func(ctx context.Context, job *queue.Job[Welcome]) error {
		fmt.Println("sending to", job.Args.To)
		stop() // this program has no more to do
		return nil
	})

	q, err := queue.Open(ctx, "memory://", queue.Logger(nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer q.Close()
	if _, err := q.Enqueue(ctx, "send_welcome", Welcome{To: "ada@example.com"}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("drained:", q.Run(ctx))
	// Output:
	// sending to ada@example.com
	// drained: <nil>
}

// open returns a queue in memory, with handlers of its own, for the examples.
func open(options ...queue.OpenOption) (*queue.Queue, *queue.Mux) {
	mux := new(queue.Mux)
	options = append([]queue.OpenOption{queue.Handlers(mux), queue.Logger(nil), queue.Workers(1)}, options...)
	q, err := queue.Open(context.Background(), "memory://", options...)
	if err != nil {
		panic(err)
	}
	return q, mux
}

// WelcomeHandler is a handler with what it needs to do its jobs.
type WelcomeHandler struct{ from string }

func (h *WelcomeHandler) Handle(ctx context.Context, job *queue.Job[Welcome]) error {
	fmt.Println(h.from, "welcomes", job.Args.To)
	return nil
}

// The type of the arguments is that of the handler.
func ExampleRegister() {
	kind := queue.Register("welcome", &WelcomeHandler{from: "Gofer"}, queue.MaxAttempts(5), queue.On("email"))
	fmt.Println(kind.Name())
	// Output: welcome
}

func ExampleRegisterFunc() {
	type Thumbnail struct{ Image, Size string }

	queue.RegisterFunc("make_thumbnail", func(ctx context.Context, job *queue.Job[Thumbnail]) error {
		fmt.Println("scaling", job.Args.Image, "to", job.Args.Size)
		return nil
	}, queue.Timeout(time.Minute), queue.Retry(retry.Exponential(time.Second, time.Hour)))

	// Arguments of another type are refused where the job is enqueued.
	q, err := queue.Open(context.Background(), "memory://")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer q.Close()
	_, err = q.Enqueue(context.Background(), "make_thumbnail", "cat.jpg")
	fmt.Println(errors.Is(err, queue.ErrInvalidArgs))
	// Output: true
}

// A web service that only enqueues defines its kinds once, and is checked by
// the compiler.
func ExampleDefine() {
	var welcome = queue.Define[Welcome]("send_welcome", queue.On("email"), queue.Retry(retry.Fixed(time.Minute).Max(5)))

	q, err := queue.Open(context.Background(), "memory://")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer q.Close()
	id, err := welcome.Enqueue(context.Background(), q, Welcome{To: "ada@example.com"}, queue.In(time.Hour))
	fmt.Println(len(id), err)
	// Output: 32 <nil>
}

func ExampleKind_Enqueue() {
	q, mux := open()
	defer q.Close()
	ctx, stop := context.WithCancel(context.Background())
	welcome := queue.RegisterOn(mux, "send_welcome", queue.HandlerFunc[Welcome](func(ctx context.Context, job *queue.Job[Welcome]) error {
		fmt.Println("welcome,", job.Args.To, job.Header["lang"])
		stop()
		return nil
	}))

	// welcome.Enqueue(ctx, q, "ada") would not compile.
	if _, err := welcome.Enqueue(ctx, q, Welcome{To: "ada"}, queue.Header("lang", "en")); err != nil {
		fmt.Println(err)
	}
	q.Run(ctx)
	// Output: welcome, ada en
}

// Many jobs go to the broker in one batch, and each can have options of its
// own.
func ExampleQueue_EnqueueMany() {
	q, mux := open()
	defer q.Close()
	ctx, stop := context.WithCancel(context.Background())
	queue.RegisterOn(mux, "send_welcome", &WelcomeHandler{from: "Gofer"})
	queue.RegisterOn(mux, "goodbye", queue.HandlerFunc[string](func(ctx context.Context, job *queue.Job[string]) error {
		fmt.Println("goodbye,", job.Args)
		stop()
		return nil
	}))

	ids, err := q.EnqueueMany(ctx,
		queue.Request{Kind: "goodbye", Args: "all", Options: []queue.Option{queue.Priority(-1)}},
		queue.Request{Kind: "send_welcome", Args: Welcome{To: "ada"}},
		queue.Request{Kind: "send_welcome", Args: Welcome{To: "grace"}},
	)
	fmt.Println(len(ids), err)
	q.Run(ctx)
	// Output:
	// 3 <nil>
	// Gofer welcomes ada
	// Gofer welcomes grace
	// goodbye, all
}

// A handler that knows better than the retry policy when to come back.
func ExampleRetryIn() {
	q, mux := open()
	defer q.Close()
	ctx, stop := context.WithCancel(context.Background())
	queue.RegisterOn(mux, "fetch", queue.HandlerFunc[string](func(ctx context.Context, job *queue.Job[string]) error {
		fmt.Println("attempt", job.Attempt)
		if job.Attempt == 1 { // the server answers 429, with Retry-After
			return queue.RetryIn(time.Millisecond, errors.New("too many requests"))
		}
		stop()
		return nil
	}))

	if _, err := q.Enqueue(ctx, "fetch", "https://example.com"); err != nil {
		fmt.Println(err)
	}
	q.Run(ctx)
	// Output:
	// attempt 1
	// attempt 2
}

// Some errors are not worth a retry. The job goes to the dead set, and a hook
// tells somebody.
func ExampleBury() {
	ctx, stop := context.WithCancel(context.Background())
	q, mux := open(queue.Hooks{
		OnBury: func(_ context.Context, job *queue.Job[queue.Raw], err error) {
			fmt.Println("buried", job.Kind, string(job.Args), "because of:", err)
			stop()
		},
	})
	defer q.Close()
	queue.RegisterOn(mux, "charge", queue.HandlerFunc[int](func(ctx context.Context, job *queue.Job[int]) error {
		return queue.Bury(errors.New("card declined"))
	}))

	if _, err := q.Enqueue(ctx, "charge", 42); err != nil {
		fmt.Println(err)
	}
	q.Run(ctx)
	// Output: buried charge 42 because of: card declined
}

// Nothing has failed, it is only too early: a snooze spends no attempt.
func ExampleSnooze() {
	q, mux := open()
	defer q.Close()
	ctx, stop := context.WithCancel(context.Background())
	polls := 0
	queue.RegisterOn(mux, "await_payment", queue.HandlerFunc[string](func(ctx context.Context, job *queue.Job[string]) error {
		polls++
		fmt.Println("poll", polls, "in attempt", job.Attempt)
		if polls < 3 {
			return queue.Snooze(time.Millisecond)
		}
		stop()
		return nil
	}))

	if _, err := q.Enqueue(ctx, "await_payment", "order 7"); err != nil {
		fmt.Println(err)
	}
	q.Run(ctx)
	// Output:
	// poll 1 in attempt 1
	// poll 2 in attempt 1
	// poll 3 in attempt 1
}

// A middleware sees every job before its arguments are decoded, and the error
// of its handler, to which it can give a verdict.
func ExampleMiddleware() {
	errGone := errors.New("account is gone")
	classify := func(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
		return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
			err := next.Handle(ctx, job)
			if errors.Is(err, errGone) {
				fmt.Println("no need any more:", err)
				return queue.Cancel(err)
			}
			return err
		})
	}
	q, mux := open(queue.Use(classify))
	defer q.Close()
	ctx, stop := context.WithCancel(context.Background())
	queue.RegisterOn(mux, "send_welcome", queue.HandlerFunc[Welcome](func(ctx context.Context, job *queue.Job[Welcome]) error {
		stop()
		return fmt.Errorf("mail to %s: %w", job.Args.To, errGone)
	}))

	if _, err := q.Enqueue(ctx, "send_welcome", Welcome{To: "ada"}); err != nil {
		fmt.Println(err)
	}
	q.Run(ctx)
	// Output: no need any more: mail to ada: account is gone
}

// Hooks can refuse jobs, and add to their headers what the worker shall know.
func ExampleHooks() {
	type requestID struct{}
	ctx, stop := context.WithCancel(context.WithValue(context.Background(), requestID{}, "r-1"))
	q, mux := open(queue.Hooks{
		BeforeEnqueue: func(ctx context.Context, job *queue.Job[queue.Raw]) error {
			if string(job.Args) == `""` {
				return errors.New("nobody to greet")
			}
			job.Header = map[string]string{"request-id": ctx.Value(requestID{}).(string)}
			return nil
		},
		AfterPerform: func(ctx context.Context, job *queue.Job[queue.Raw]) {
			fmt.Println("done for request", job.Header["request-id"])
			stop()
		},
	})
	defer q.Close()
	queue.RegisterOn(mux, "greet", queue.HandlerFunc[string](func(ctx context.Context, job *queue.Job[string]) error {
		fmt.Println("hello,", job.Args)
		return nil
	}))

	_, err := q.Enqueue(ctx, "greet", "")
	fmt.Println(errors.Is(err, queue.ErrVetoed), err)
	if _, err := q.Enqueue(ctx, "greet", "ada"); err != nil {
		fmt.Println(err)
	}
	q.Run(ctx)
	// Output:
	// true queue: vetoed by a hook: nobody to greet
	// hello, ada
	// done for request r-1
}

// Who enqueues a tracked job can follow it, and wait for its result.
func ExampleTrack() {
	q, mux := open()
	defer q.Close() // ends Run, too
	double := queue.RegisterOn(mux, "double", queue.HandlerFunc[int](func(ctx context.Context, job *queue.Job[int]) error {
		job.Progress(1, 1)
		return job.SetResult(2 * job.Args)
	}))
	ctx := context.Background()
	go q.Run(ctx)

	id, err := double.Enqueue(ctx, q, 21, queue.Track())
	if err != nil {
		fmt.Println(err)
		return
	}
	status, err := q.Wait(ctx, id)
	fmt.Println(status.State, string(status.Result), err)
	// Output: done 42 <nil>
}

// A unique job is refused while one like it waits or runs.
func ExampleUnique() {
	q, mux := open()
	defer q.Close()
	ctx, stop := context.WithCancel(context.Background())
	refresh := queue.RegisterOn(mux, "refresh_cache", queue.HandlerFunc[string](func(ctx context.Context, job *queue.Job[string]) error {
		fmt.Println("refreshing", job.Args)
		stop()
		return nil
	}), queue.Unique(time.Hour))

	first, err := refresh.Enqueue(ctx, q, "prices")
	fmt.Println(err)
	other, err := refresh.Enqueue(ctx, q, "prices")
	fmt.Println(errors.Is(err, queue.ErrDuplicate), other == first)
	q.Run(ctx)
	// Output:
	// <nil>
	// true true
	// refreshing prices
}
