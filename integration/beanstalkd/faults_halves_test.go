package beanstalkd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// Retry and Bury are several commands to the server: the new job is put, and
// the old one is deleted. A process may die before and after each of them.
var halves = []struct {
	name string
	die  func(p *faults.Proxy) (done <-chan struct{})
}{
	{"before it puts", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore("put ") }},
	{"after it has put", func(p *faults.Proxy) <-chan struct{} { return p.DieAfter("put ") }},
	{"before it takes the copy", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore("reserve-job ") }},
	{"before it buries", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore("bury ") }},
	{"before it deletes", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore("delete ") }},
	{"after it has deleted", func(p *faults.Proxy) <-chan struct{} { return p.DieAfter("delete ") }},
}

// settleAndDie has a driver reserve the job "a", settle it, and die at some
// moment of that.
func settleAndDie(t *testing.T, network *faults.Proxy, die func(*faults.Proxy) <-chan struct{}, settle func(context.Context, backend.Backend, *backend.Delivery) error) {
	t.Helper()
	b := faults.Open(t, network.URL())
	faults.Push(t, b, "a")
	d := faults.Reserve(t, b, 30*time.Second, faults.Patience)
	done := die(network)
	ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
	defer cancel()
	settled := make(chan error, 1)
	go func() { settled <- settle(ctx, b, d) }()
	faults.AwaitHarm(t, done)
	if err := backend.ErrorAt(<-settled, 0); err == nil {
		t.Error("a driver that has died settled the job")
	}
	b.Close()
}

func TestARetryThatIsCutShortLeavesOneOrTwoAndNeverNone(t *testing.T) {
	t.Parallel()
	for _, half := range halves {
		if half.name == "before it takes the copy" || half.name == "before it buries" {
			continue // Retry has no such moment
		}
		t.Run(half.name, func(t *testing.T) {
			t.Parallel()
			server, client := server(t)
			settleAndDie(t, faults.NewProxy(t, at("lease=30s", server)), half.die, func(ctx context.Context, b backend.Backend, d *backend.Delivery) error {
				m := d.Message
				m.Attempt = 7
				return b.Retry(ctx, []backend.Replacement{{Delivery: d, Message: &m}})
			})
			awaitAlone(t, client)
			b := faults.Open(t, at("lease=30s", server))
			deliveries := reserveAll(t, b, client)
			if len(deliveries) < 1 || len(deliveries) > 2 {
				t.Errorf("there are %d jobs, want 1 or 2", len(deliveries))
			}
			retried := 0
			for _, d := range deliveries {
				switch {
				case d.ID != "a" || d.Malformed != nil:
					t.Errorf("a job is %+v", d)
				case d.Attempt == 8 && d.Deliveries == 1:
					retried++
				case d.Attempt == 2 && d.Deliveries == 2:
				default:
					t.Errorf("a job has attempt %d and deliveries %d", d.Attempt, d.Deliveries)
				}
			}
			if stored := half.name != "before it puts"; stored != (retried == 1) {
				t.Errorf("%d jobs are as Retry has put them", retried)
			}
			ack(t, b, deliveries...)
			expectCounts(t, client, counts{})
		})
	}
}

// reserveAll reserves what is ready in the queue "default".
func reserveAll(t *testing.T, b backend.Backend, client *beanstalk.Conn) []*backend.Delivery {
	t.Helper()
	there, err := count(client, "default")
	if err != nil {
		t.Fatal(err)
	}
	return faults.ReserveMany(t, b, there.ready, 30*time.Second, faults.Patience)
}

func TestABurialThatIsCutShortIsFinishedByWhoeverComesUponIt(t *testing.T) {
	t.Parallel()
	for _, half := range halves {
		t.Run(half.name, func(t *testing.T) {
			t.Parallel()
			server, client := server(t)
			settleAndDie(t, faults.NewProxy(t, at("lease=30s", server)), half.die, faults.Bury)
			awaitAlone(t, client)
			before, err := count(client, "default")
			if err != nil {
				t.Fatal(err)
			}
			if n := before.ready + before.delayed + before.buried; n < 1 || n > 2 {
				t.Errorf("the server has %+v, want one job or two", before)
			}
			// What the dead process has put waits for a while before anybody
			// comes upon it. The test does not.
			kickDelayed(t, client)

			b := faults.Open(t, at("lease=30s", server))
			again := 0
			faults.Eventually(t, faults.Patience, func() error {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				deliveries, err := b.Reserve(ctx, []string{"default"}, 1, 30*time.Second)
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					return err
				}
				for _, d := range deliveries {
					again++
					if d.ID != "a" || d.Attempt != 2 {
						t.Errorf("the job is %s in attempt %d, want a in its second", d.ID, d.Attempt)
					}
					if err := faults.Bury(t.Context(), b, d); err != nil {
						return err
					}
				}
				got, err := count(client, "default")
				if want := (counts{buried: before.ready + before.delayed + before.buried}); err == nil && got != want {
					err = fmt.Errorf("the server has %+v, want %+v", got, want)
				}
				return err
			})
			if again > 1 {
				t.Errorf("the job ran %d times again, want at most once", again)
			}
			for _, e := range faults.Dead(t, b) {
				if e.ID != "a" || e.Failure == nil || e.Failure.Error != faults.Failure().Error {
					t.Errorf("the dead set has %+v", e)
				}
			}
		})
	}
}

// awaitAlone waits until the server has noticed that all clients but the test's
// own are gone: nothing that they did is still on its way.
func awaitAlone(t *testing.T, client *beanstalk.Conn) {
	t.Helper()
	faults.Eventually(t, faults.Patience, func() error {
		if n := statistic(t, client, "current-connections"); n != 1 {
			return fmt.Errorf("%d connections are open, want 1", n)
		}
		return nil
	})
}

// kickDelayed makes the delayed jobs of the queue "default" ready.
func kickDelayed(t *testing.T, client *beanstalk.Conn) {
	t.Helper()
	tube := beanstalk.NewTube(client, "default")
	for {
		id, _, err := tube.PeekDelayed()
		if err != nil {
			return // there is none
		}
		if err := client.KickJob(id); err != nil {
			t.Fatal(err)
		}
	}
}
