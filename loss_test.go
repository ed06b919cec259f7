package queue_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// tied is a backend whose broker can take deliveries back, as one does that
// ties them to a connection.
type tied struct {
	backend.Backend

	mu       sync.Mutex
	loans    []*backend.Delivery // guarded by mu: all that Reserve has returned
	lost     map[any]bool        // guarded by mu: by receipt
	asked    int                 // guarded by mu: calls of Lost
	notify   []func()            // guarded by mu: of all NotifyLost, nil after stop
	late     []func()            // guarded by mu: those stopped
	reserved func(ids ...string) // guarded by mu: called before Reserve returns
}

func (c *tied) Unwrap() backend.Backend { return c.Backend }

func (c *tied) Reserve(ctx context.Context, queues []string, max int, lease time.Duration) ([]*backend.Delivery, error) {
	deliveries, err := c.Backend.Reserve(ctx, queues, max, lease)
	c.mu.Lock()
	c.loans = append(c.loans, deliveries...)
	reserved := c.reserved
	c.mu.Unlock()
	if reserved != nil {
		reserved(idsOf(deliveries)...)
	}
	return deliveries, err
}

func (c *tied) Lost(d *backend.Delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return c.lost[d.Receipt]
}

func (c *tied) NotifyLost(f func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.notify)
	c.notify = append(c.notify, f)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.notify[i], c.late = nil, append(c.late, f)
	}
}

// takeBack makes the broker take the deliveries of some jobs back, with their
// attempt spent.
func (c *tied) takeBack(t *testing.T, ids ...string) {
	t.Helper()
	c.mu.Lock()
	var replacements []backend.Replacement
	if c.lost == nil {
		c.lost = make(map[any]bool)
	}
	for _, d := range c.loans {
		if slices.Contains(ids, d.ID) && !c.lost[d.Receipt] {
			c.lost[d.Receipt] = true
			replacements = append(replacements, backend.Replacement{Delivery: d, Message: &d.Message})
		}
	}
	notify := slices.Clone(c.notify)
	c.mu.Unlock()
	if err := c.Backend.Retry(context.Background(), replacements); err != nil {
		t.Errorf("to take %v back failed with %v", ids, err)
	}
	for _, f := range notify {
		if f != nil {
			f()
		}
	}
}

// callLate calls what was stopped, as a driver may that was about to.
func (c *tied) callLate() {
	c.mu.Lock()
	late := c.late
	c.mu.Unlock()
	for _, f := range late {
		f()
	}
}

// expectAsked checks how often the driver was asked of a delivery so far.
func (c *tied) expectAsked(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != n {
		t.Errorf("the driver was asked %d times, want %d", c.asked, n)
	}
}

// subscribers returns how many functions wait for a notice, and how many do no
// longer.
func (c *tied) subscribers() (now, before int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.notify) - len(c.late), len(c.late)
}

// newTiedRig returns a rig whose worker hears of losses at once.
func newTiedRig(t *testing.T, options ...queue.OpenOption) (*rig, *tied) {
	r := newRig(t)
	c := &tied{Backend: r.spy}
	r.open(c, options...)
	return r, c
}

// expectLosses checks what the log tells of lost leases: the jobs of each
// record.
func (r *rig) expectLosses(jobs ...int64) {
	r.t.Helper()
	var got []int64
	for _, record := range r.logs.with("leases lost; the jobs will run again") {
		if record.Level != slog.LevelError {
			r.t.Errorf("the loss was logged as %v", record.Level)
		}
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == "jobs" {
				got = append(got, a.Value.Int64())
			}
			return true
		})
	}
	if !slices.Equal(got, jobs) {
		r.t.Errorf("the log tells of losses of %v jobs, want %v", got, jobs)
	}
}

// expectRefused checks how many late settles the log tells of.
func (r *rig) expectRefused(n int) {
	r.t.Helper()
	if got := len(r.logs.with("it will run again")); got != n {
		r.t.Errorf("%d late settles were refused, want %d", got, n)
	}
}

// A lease that the driver tells of and one that Extend finds lost differ in
// nothing but the time.
func TestALostLeaseCountsForNothingHoweverItIsHeardOf(t *testing.T) {
	for _, how := range []string{"told", "told without Extender", "found by Extend"} {
		for outcome, result := range map[string]error{"done": nil, "failed": errNoLuck, "buried": queue.Bury(errNoLuck)} {
			t.Run(how+"/"+outcome, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					seen := new(tally)
					options := []queue.OpenOption{watching(seen), queue.Workers(1), queue.Prefetch(0), queue.Lease(30 * time.Second)}
					r, c := newTiedRig(t, options...)
					late := 10 * time.Second
					switch how {
					case "told":
						late = 0
					case "told without Extender":
						late = 0
						c.Backend = leaseless{r.spy}
						r.open(c, options...)
					default:
						r.open(deaf{c}, options...)
					}
					var ended time.Time
					finish := make(chan bool)
					r.handle("job", func(ctx context.Context, _ *queue.Job[int]) error {
						<-ctx.Done()
						ended = time.Now()
						if cause := context.Cause(ctx); cause != queue.ErrLeaseLost {
							t.Errorf("the context ended with cause %v", cause)
						}
						<-finish
						return result
					})
					id := r.enqueue("job", 0)
					began, running := time.Now(), r.start()
					synctest.Wait()

					c.takeBack(t, id)
					r.expectStats(1, 0, 0, 0)
					time.Sleep(late)
					synctest.Wait()
					if ended.IsZero() || ended.Sub(began) != late {
						t.Errorf("the context ended after %v, want %v", ended.Sub(began), late)
					}
					r.expectLosses(1)

					other := newRigOn(t, r.broker)
					proceed := make(chan bool)
					other.handle("job", func(_ context.Context, job *queue.Job[int]) error {
						if job.Attempt != 2 {
							t.Errorf("the next holder has attempt %d", job.Attempt)
						}
						<-proceed
						return nil
					})
					elsewhere := other.start()
					synctest.Wait()
					close(finish)
					synctest.Wait()
					r.expectStats(0, 0, 1, 0)
					r.expectRefused(1)
					seen.expect(t, nil)
					close(proceed)
					synctest.Wait()
					r.expectStats(0, 0, 0, 0)
					running.mustStop()
					elsewhere.mustStop()
				})
			})
		}
	}
}

// deaf hides that a tied backend tells of losses.
type deaf struct{ backend.Backend }

func (d deaf) Unwrap() backend.Backend { return d.Backend.(*tied).Backend }

func TestATakenBackJobLeavesTheOthersAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t, queue.Workers(5), queue.Prefetch(0))
		seen := new(tally)
		r.handle("long", func(ctx context.Context, job *queue.Job[int]) error {
			select {
			case <-time.After(time.Hour):
				seen.add("done")
				return nil
			case <-ctx.Done():
				seen.add("ended")
				if job.Args != 1 && job.Args != 3 {
					t.Errorf("job %d ended by %v", job.Args, context.Cause(ctx))
				}
				return ctx.Err()
			}
		})
		ids := r.enqueueAll("long", 5)
		running := r.start()
		synctest.Wait()
		c.takeBack(t, ids[1], ids[3])
		synctest.Wait()
		r.expectLosses(2)
		seen.expect(t, map[string]int{"ended": 2})
		time.Sleep(2 * time.Hour)
		r.expectLosses(2)
		seen.expect(t, map[string]int{"ended": 2, "done": 5})
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestAPrefetchedJobThatIsTakenBackIsNotBegun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t, queue.Workers(1), queue.Prefetch(3))
		attempts := make(map[int]int)
		finish := make(chan bool)
		r.handle("job", func(_ context.Context, job *queue.Job[int]) error {
			attempts[job.Args] = job.Attempt
			<-finish
			return nil
		})
		ids := r.enqueueAll("job", 4)
		running := r.start()
		synctest.Wait()
		c.takeBack(t, ids[1], ids[2])
		c.takeBack(t) // tells of nothing new
		r.expectLosses(2)
		close(finish)
		synctest.Wait()
		if want := map[int]int{0: 1, 1: 2, 2: 2, 3: 1}; !maps.Equal(attempts, want) {
			t.Errorf("by job, these attempts ran: %v, want %v", attempts, want)
		}
		r.expectLosses(2)
		r.expectRefused(2)
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestAJobThatIsTakenBackWhileReserveReturnsIsNotBegun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t, queue.Workers(1), queue.Prefetch(3))
		attempts := make(map[int]int)
		r.handle("job", func(_ context.Context, job *queue.Job[int]) error {
			attempts[job.Args] = job.Attempt
			return nil
		})
		ids := r.enqueueAll("job", 4)
		var once sync.Once
		c.reserved = func(...string) { once.Do(func() { c.takeBack(t, ids[0], ids[2]) }) }
		running := r.start()
		synctest.Wait()
		if want := map[int]int{0: 2, 1: 1, 2: 2, 3: 1}; !maps.Equal(attempts, want) {
			t.Errorf("by job, these attempts ran: %v, want %v", attempts, want)
		}
		r.expectLosses(2)
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestALossThatExtendFindsTooIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t, queue.Workers(1), queue.Prefetch(0), queue.Lease(30*time.Second))
		finish := make(chan bool)
		r.handle("job", func(context.Context, *queue.Job[int]) error { <-finish; return nil })
		id := r.enqueue("job", 0)
		open := r.spy.gate("Extend")
		running := r.start()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if n := len(r.spy.of("Extend")); n != 1 {
			t.Fatalf("%d calls extend the lease, want 1", n)
		}
		c.takeBack(t, id)
		open()
		synctest.Wait()
		r.expectLosses(1)
		time.Sleep(time.Minute)
		close(finish)
		synctest.Wait()
		r.expectLosses(1)
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestAJobThatIsTakenBackWhileItIsSettledIsRefusedAndNoMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t, queue.Workers(1), queue.Prefetch(0))
		runs := new(tally)
		r.handle("job", func(context.Context, *queue.Job[int]) error { runs.add("run"); return nil })
		id := r.enqueue("job", 0)
		open := r.spy.gate("Ack")
		running := r.start()
		synctest.Wait()
		c.takeBack(t, id)
		synctest.Wait()
		r.expectLosses()
		open()
		synctest.Wait()
		r.expectLosses()
		r.expectRefused(1)
		runs.expect(t, map[string]int{"run": 2})
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestTheSettleOfWhatWasTakenBackIsNotTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t)
		c.Backend = leaseless{r.spy} // by whose lease it would end otherwise
		r.open(c, queue.Workers(1), queue.Prefetch(0))
		next := make(chan bool)
		r.handle("job", func(ctx context.Context, job *queue.Job[int]) error {
			select {
			case <-ctx.Done():
			case <-next:
			}
			return nil
		})
		id := r.enqueue("job", 0)
		running := r.start()
		synctest.Wait()
		r.spy.fail("Ack", queue.ErrUnavailable)
		c.takeBack(t, id)
		time.Sleep(time.Minute)
		if n := len(r.spy.of("Ack")); n != 1 {
			t.Errorf("there were %d acks of what was taken back, want 1", n)
		}
		r.expectRefused(1)
		r.spy.before(nil)
		close(next)
		synctest.Wait()
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}

func TestAHandlerThatIgnoresThatItsJobWasTakenBackIsReportedAsStuck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t, queue.Workers(1), queue.Prefetch(0), queue.Lease(30*time.Second))
		finish := make(chan bool)
		r.handle("stuck", func(context.Context, *queue.Job[int]) error { <-finish; return nil })
		id := r.enqueue("stuck", 0)
		running := r.start()
		synctest.Wait()
		c.takeBack(t, id)
		time.Sleep(time.Hour)
		if n := len(r.logs.with("stuck")); n != 1 {
			t.Errorf("it was reported %d times", n)
		}
		close(finish)
		running.mustStop()
	})
}

func TestAJobThatIsTakenBackDuringTheDrainEndsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t, queue.Shutdown(time.Hour))
		r.handle("job", func(ctx context.Context, _ *queue.Job[int]) error { <-ctx.Done(); return context.Cause(ctx) })
		id := r.enqueue("job", 0)
		running := r.start()
		synctest.Wait()
		time.AfterFunc(time.Minute, func() { c.takeBack(t, id) })
		if took, err := running.stop(); took != time.Minute || err != nil {
			t.Errorf("Run ended after %v with %v, want a minute", took, err)
		}
		r.expectLosses(1)
		r.expectStats(1, 0, 0, 0)
	})
}

func TestAWorkerHearsOfLossesForAsLongAsItRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t, queue.Workers(1), queue.Prefetch(0), queue.Shutdown(time.Second))
		finish := make(chan bool)
		defer close(finish)
		r.handle("hang", func(context.Context, *queue.Job[int]) error { <-finish; return nil })
		r.handle("noop", func(context.Context, *queue.Job[int]) error { return nil })
		if now, before := c.subscribers(); now+before != 0 {
			t.Error("a queue that does not run listens")
		}
		for i, kind := range []string{"noop", "hang"} {
			id := r.enqueue(kind, 0)
			running := r.start()
			synctest.Wait()
			if now, before := c.subscribers(); now != 1 || before != i {
				t.Errorf("run %d has %d subscriptions, and %d are over", i, now, before)
			}
			r.spy.fail("Release", queue.ErrUnavailable) // what hangs is not given back
			_, err := running.stop()
			if (kind == "hang") != errors.Is(err, queue.ErrDrainTimeout) {
				t.Errorf("the run of %s ended with %v", kind, err)
			}
			if now, _ := c.subscribers(); now != 0 {
				t.Error("a queue that no longer runs listens")
			}
			if kind == "hang" {
				c.takeBack(t, id)
			}
			c.callLate()
		}
		r.expectLosses()
	})
}

func TestTheDriverIsAskedOncePerDeliveryAndAtANotice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, c := newTiedRig(t, queue.Workers(3), queue.Prefetch(7))
		finish := make(chan bool)
		r.handle("job", func(context.Context, *queue.Job[int]) error { <-finish; return nil })
		r.enqueueAll("job", 10)
		running := r.start()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		c.expectAsked(t, 10)
		c.takeBack(t) // none
		c.expectAsked(t, 20)
		close(finish)
		synctest.Wait()
		c.takeBack(t)
		c.expectAsked(t, 20)
		r.expectLosses()
		r.expectStats(0, 0, 0, 0)
		running.mustStop()
	})
}
