// Middleware charges some cards to show three ways to have a say in what
// becomes of jobs.
//
//	go run ./examples/middleware
//
// A middleware of one's own stands around every handler, as one of net/http
// does. A retry policy that looks at the error tries again only what may get
// better, and queue.Bury says of one error that it will not. Hooks observe
// what was decided.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/retry"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

type Charge struct {
	Card  string
	Cents int
}

var (
	errDeclined = errors.New("card declined")  // the bank has said no
	errTimeout  = errors.New("bank timed out") // it may answer next time
)

// charge stands for a handler whose service fails in every way.
func charge(ctx context.Context, job *queue.Job[Charge]) error {
	switch {
	case job.Args.Cents <= 0:
		// Nobody can do anything with this job: no policy needs to be asked.
		return queue.Bury(fmt.Errorf("cannot charge %d cents", job.Args.Cents))
	case job.Args.Card == "stolen":
		return fmt.Errorf("charge for %s: %w", tenant(ctx), errDeclined)
	case job.Args.Card == "slow" && job.Attempt < 3:
		return errTimeout
	case job.Args.Card == "bug":
		panic("index out of range")
	}
	return nil
}

// policy classifies errors: of those that match there is no second attempt.
var policy = retry.If(retry.Is(errDeclined), retry.Never(), retry.Fixed(10*time.Millisecond).Max(3))

// tenantKey is the key of the tenant in a context.
type tenantKey struct{}

func tenant(ctx context.Context) string {
	name, _ := ctx.Value(tenantKey{}).(string)
	return name
}

// withTenant is a middleware that hands a header of the job to the handler,
// by its context.
func withTenant(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
	return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
		return next.Handle(context.WithValue(ctx, tenantKey{}, job.Header["tenant"]), job)
	})
}

// timings is a middleware with a state: it measures handlers, by kind.
type timings struct {
	mu    sync.Mutex
	calls map[string]int           // guarded by mu
	took  map[string]time.Duration // guarded by mu
}

func (m *timings) measure(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
	return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
		start := time.Now()
		defer func() { // also when the handler panics
			m.mu.Lock()
			defer m.mu.Unlock()
			m.calls[job.Kind]++
			m.took[job.Kind] += time.Since(start)
		}()
		return next.Handle(ctx, job)
	})
}

// of returns how often a kind has run, and for how long.
func (m *timings) of(kind string) (calls int, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[kind], m.took[kind]
}

// hooks prints what becomes of jobs. They could count, or raise an alarm.
func hooks(out io.Writer) queue.Hooks {
	return queue.Hooks{
		BeforeEnqueue: func(_ context.Context, job *queue.Job[queue.Raw]) error {
			if job.Header["tenant"] == "" {
				return errors.New("a job without a tenant")
			}
			return nil
		},
		AfterPerform: func(_ context.Context, job *queue.Job[queue.Raw]) {
			fmt.Fprintf(out, "done    %s in attempt %d\n", job.Args, job.Attempt)
		},
		OnRetry: func(_ context.Context, job *queue.Job[queue.Raw], err error, delay time.Duration) {
			fmt.Fprintf(out, "retry   %s in %v: %v\n", job.Args, delay, err)
		},
		OnBury: func(_ context.Context, job *queue.Job[queue.Raw], err error) {
			fmt.Fprintf(out, "buried  %s: %v\n", job.Args, err)
		},
	}
}

func run(ctx context.Context, out io.Writer) error {
	mux := new(queue.Mux)
	chargeCard := queue.RegisterOn(mux, "charge_card", queue.HandlerFunc[Charge](charge), queue.Retry(policy), queue.Track())

	measured := timings{calls: make(map[string]int), took: make(map[string]time.Duration)}
	q, err := queue.Open(ctx, "memory://",
		queue.Handlers(mux),
		queue.Workers(1),            // for an output that is the same each time
		queue.Logger(nil),           // the hooks print instead
		queue.Use(withTenant),       // the first is the outermost
		queue.Use(measured.measure), // sees each attempt
		hooks(out),
	)
	if err != nil {
		return err
	}
	defer q.Close()

	if _, err := chargeCard.Enqueue(ctx, q, Charge{"good", 1}); err != nil {
		fmt.Fprintln(out, "refused", err)
	}
	ids, err := chargeCard.EnqueueMany(ctx, q, []Charge{
		{"good", 100},
		{"stolen", 200},
		{"slow", 300},
		{"bug", 400},
		{"good", -500},
	}, queue.Header("tenant", "acme"))
	if err != nil {
		return err
	}

	working, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- q.Run(working) }()
	for _, id := range ids { // they are tracked, so that we can wait for them
		if _, err := q.Wait(ctx, id); err != nil {
			break // ctx has ended, and so does Run
		}
	}
	stop()
	err = <-ran
	calls, took := measured.of("charge_card")
	fmt.Fprintf(out, "charge_card ran %d times, for %v in all\n", calls, took)
	return err
}
