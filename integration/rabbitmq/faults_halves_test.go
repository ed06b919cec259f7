package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
	"github.com/goferhq/queue/retry"
)

// Retry and Bury are two methods on two connections: a copy is published, and
// once that is confirmed the original is acked. A process may die before and
// after each of them, and in the middle.
var halves = []struct {
	name        string
	die         func(*faults.Proxy) (done <-chan struct{})
	copies      int  // that are stored
	least       int  // originals that are left
	most        int  //
	unconfirmed bool // the driver cannot say that it has settled the job
}{
	{"before it publishes", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore(basicPublish) }, 0, 1, 1, true},
	{"while it publishes", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore(`"cut"`) }, 0, 1, 1, true},
	{"before it hears of the confirm", func(p *faults.Proxy) <-chan struct{} { return p.CutReplies(basicPublish, 1) }, 1, 1, 1, true},
	{"before it acks", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore(basicAck) }, 1, 1, 1, false},
	{"after it has acked", func(p *faults.Proxy) <-chan struct{} { return p.DieAfter(basicAck) }, 1, 0, 1, false},
}

// settleAndDie has a driver reserve the job "cut", settle it, and die at some
// moment of that. It returns the address of what is left.
func settleAndDie(t *testing.T, die func(*faults.Proxy) <-chan struct{}, unconfirmed bool, settle func(context.Context, backend.Backend, *backend.Delivery) error) (address string) {
	t.Helper()
	address = place(t)
	network := faults.NewProxy(t, address)
	b := faults.Open(t, network.URL())
	faults.Push(t, b, "cut")
	d := faults.Reserve(t, b, time.Minute, faults.Patience)
	done := die(network)
	ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
	defer cancel()
	settled := make(chan error, 1)
	go func() { settled <- settle(ctx, b, d) }()
	faults.AwaitHarm(t, done)
	if err := backend.ErrorAt(<-settled, 0); unconfirmed && (err == nil || errors.Is(err, backend.ErrUnavailable)) {
		t.Errorf("settling a job with a connection that broke: %v; want an error that leaves open what happened", err)
	}
	b.Close()
	plain(t, address).awaitConsumers("default", 0) // and with it the original is back
	return address
}

func TestARetryThatIsCutShortLeavesOneOrTwoAndNeverNone(t *testing.T) {
	t.Parallel()
	for _, half := range halves {
		for _, delay := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprint(half.name, " in ", delay), func(t *testing.T) {
				t.Parallel()
				address := settleAndDie(t, half.die, half.unconfirmed, func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
					m := d.Message
					m.Attempt, m.Delay = 7, delay
					return b.Retry(ctx, []backend.Replacement{{Delivery: d, Message: &m}})
				})
				b := faults.Open(t, address)
				deliveries := faults.ReserveMany(t, b, half.copies+half.least, time.Minute, faults.Patience)
				if half.most > half.least {
					more, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
					defer cancel()
					last, _ := b.Reserve(more, []string{"default"}, 10, time.Minute)
					deliveries = append(deliveries, last...)
				}
				copies, originals := 0, 0
				for _, d := range deliveries {
					switch {
					case d.ID != "cut" || d.Malformed != nil:
						t.Errorf("a job is %+v", d)
					case d.Attempt == 2 && d.Deliveries == 2:
						originals++
					case d.Attempt == 7+d.Deliveries && d.Deliveries <= 2: // the process that died may have fetched it
						copies++
					default:
						t.Errorf("a job has attempt %d and deliveries %d", d.Attempt, d.Deliveries)
					}
				}
				if copies != half.copies || originals < half.least || originals > half.most {
					t.Errorf("there are %d copies and %d originals, want %d and %d to %d", copies, originals, half.copies, half.least, half.most)
				}
				ack(t, b, deliveries...)
				expectNothing(t, b, "default")
				watch(t, address).awaitEmpty()
			})
		}
	}
}

func TestABurialThatIsCutShortLeavesOneOrTwoAndNeverNone(t *testing.T) {
	t.Parallel()
	for _, half := range halves {
		t.Run(half.name, func(t *testing.T) {
			t.Parallel()
			address := settleAndDie(t, half.die, half.unconfirmed, faults.Bury)
			b := faults.Open(t, address)
			if n := len(faults.Dead(t, b)); n != half.copies {
				t.Errorf("%d jobs are dead, want %d", n, half.copies)
			}
			server := plain(t, address)
			originals, _, err := server.look("default")
			if err != nil || originals < half.least || originals > half.most {
				t.Errorf("there are %d originals, %v; want %d to %d", originals, err, half.least, half.most)
			}
			for range originals { // who comes upon it does it again
				d := faults.Reserve(t, b, time.Minute, faults.Patience)
				if d.ID != "cut" || d.Attempt != 2 || d.Deliveries != 2 {
					t.Errorf("the original is %s, attempt %d, delivery %d", d.ID, d.Attempt, d.Deliveries)
				}
				bury(t, b, d)
			}
			dead := faults.Dead(t, b)
			if len(dead) != half.copies+originals {
				t.Errorf("%d jobs are dead in the end, want %d", len(dead), half.copies+originals)
			}
			keys := make(map[string]bool)
			for _, e := range dead {
				keys[e.Key] = true
				if e.ID != "cut" || e.Failure == nil || e.Failure.Error != faults.Failure().Error {
					t.Errorf("the dead set has %+v", e)
				}
			}
			if len(keys) != len(dead) {
				t.Errorf("the keys of %d dead jobs are %v", len(dead), keys)
			}
			expectNothing(t, b, "default")
		})
	}
}

// A worker that lives on settles again what it could not settle. What it had in
// hand when its connection broke may run once more: the original and the copy.
func TestAWorkerWhoseRetryIsCutShortRunsTheJobAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		harm func(*faults.Proxy) <-chan struct{}
	}{
		{"before it is published", func(p *faults.Proxy) <-chan struct{} { return p.Refuse(basicPublish, 1) }},
		{"before it is confirmed", func(p *faults.Proxy) <-chan struct{} { return p.CutReplies(basicPublish, 1) }},
		{"before it is acked", func(p *faults.Proxy) <-chan struct{} { return p.Refuse(basicAck, 1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := place(t)
			network := faults.NewProxy(t, address)
			runs := make(chan int, 100)
			mux := new(queue.Mux)
			queue.RegisterOn(mux, faults.Note, queue.HandlerFunc[queue.Raw](func(_ context.Context, job *queue.Job[queue.Raw]) error {
				runs <- job.Attempt
				if job.Attempt == 1 {
					return errors.New("no luck")
				}
				return nil
			}), queue.Retry(retry.Fixed(0)))
			startQueue(t, network.URL(), mux)
			server := watch(t, address)
			server.awaitIdle(1)
			harmed := c.harm(network)
			faults.Enqueue(t, faults.OpenQueue(t, address), faults.Note, "cut", 0)
			faults.AwaitHarm(t, harmed)
			server.awaitIdle(1)
			close(runs)
			attempts := []int{}
			for attempt := range runs {
				attempts = append(attempts, attempt)
			}
			if n := len(attempts); n < 2 || n > 4 {
				t.Errorf("the job has run as attempts %v, want two to four", attempts)
			}
		})
	}
}
