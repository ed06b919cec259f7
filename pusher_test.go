package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
)

// gate is a broker that lets a test answer each Push.
type gate struct {
	*fakeBroker
	pushes chan *push // unbuffered
}

// push is a Push in flight.
type push struct {
	ctx    context.Context
	args   string // of all messages
	answer chan error
}

// inGate runs f in a bubble, with a queue on a gate that takes batches of up
// to most.
func inGate(t *testing.T, most int, f func(t *testing.T, g *gate, enqueue func(ctx context.Context, args ...int) <-chan error)) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		g := &gate{pushes: make(chan *push)}
		g.fakeBroker = &fakeBroker{
			Backend: w.broker.Connect(),
			limits:  func(l *backend.Limits) { l.MaxBatch = most },
			push:    g.hold,
		}
		q := w.open(g)
		// enqueue begins an EnqueueMany, and waits until it is in the gate or
		// behind another.
		enqueue := func(ctx context.Context, args ...int) <-chan error {
			result := make(chan error, 1)
			go func() {
				_, err := queue.Define[int]("greet").EnqueueMany(ctx, q, args)
				result <- err
			}()
			synctest.Wait()
			return result
		}
		f(t, g, enqueue)
	})
}

func (g *gate) hold(ctx context.Context, messages []*backend.Message) error {
	var args []string
	for _, m := range messages {
		args = append(args, string(m.Args))
	}
	p := &push{ctx, strings.Join(args, " "), make(chan error)}
	g.pushes <- p
	select {
	case err := <-p.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next returns the Push that is in flight, which must be of these args.
func (g *gate) next(t *testing.T, args string) *push {
	t.Helper()
	synctest.Wait()
	select {
	case p := <-g.pushes:
		if p.args != args {
			t.Errorf("the broker got %s, want %s", p.args, args)
		}
		return p
	default:
		t.Fatalf("the broker got nothing, want %s", args)
		return nil
	}
}

// expectQuiet fails the test when a Push is in flight that was not answered.
func (g *gate) expectQuiet(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case p := <-g.pushes:
		t.Errorf("the broker got %s, want nothing", p.args)
	default:
	}
}

// expectResult fails the test unless the Enqueue has ended like this.
func expectResult(t *testing.T, result <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-result:
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("Enqueue returned %v, want %v", err, want)
		}
	default:
		t.Errorf("Enqueue has not returned, want %v", want)
	}
}

func expectWaiting(t *testing.T, result <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-result:
		t.Errorf("Enqueue returned %v before the broker had the job", err)
	default:
	}
}

type ctxKey struct{}

func TestALoneEnqueueGoesAtOnceWithItsOwnContext(t *testing.T) {
	inGate(t, 0, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), ctxKey{}, "mine"), time.Minute)
		defer cancel()
		result := enqueue(ctx, 1)
		p := g.next(t, "1")
		deadline, ok := p.ctx.Deadline()
		if !ok || time.Until(deadline) != time.Minute || p.ctx.Value(ctxKey{}) != "mine" {
			t.Errorf("the broker got another context than the caller's")
		}
		expectWaiting(t, result)
		p.answer <- nil
		expectResult(t, result, nil)
		g.expectQuiet(t)
	})
}

func TestEnqueuesGatherWhileOneIsInFlightAndGoAsOneBatch(t *testing.T) {
	inGate(t, 0, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		first := enqueue(t.Context(), 1)
		p := g.next(t, "1")
		second, third, fourth := enqueue(t.Context(), 2), enqueue(t.Context(), 3, 4), enqueue(t.Context(), 5)
		g.expectQuiet(t)
		p.answer <- nil
		expectResult(t, first, nil)
		p = g.next(t, "2 3 4 5")
		fifth := enqueue(t.Context(), 6)
		p.answer <- nil
		for _, result := range []<-chan error{second, third, fourth} {
			expectResult(t, result, nil)
		}
		g.next(t, "6").answer <- nil
		expectResult(t, fifth, nil)
		g.expectQuiet(t)
		// And when all is quiet again, a lone call goes at once.
		sixth := enqueue(t.Context(), 7)
		g.next(t, "7").answer <- nil
		expectResult(t, sixth, nil)
	})
}

func TestASecondCallIsMadeBesideTheFirstForABatchThatIsWorthIt(t *testing.T) {
	inGate(t, 0, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		lone := enqueue(t.Context(), 0)
		first := g.next(t, "0")
		var results []<-chan error
		var batch []string
		for i := 1; i <= 15; i++ {
			results, batch = append(results, enqueue(t.Context(), i)), append(batch, strconv.Itoa(i))
		}
		g.expectQuiet(t)
		results, batch = append(results, enqueue(t.Context(), 16)), append(batch, "16")
		second := g.next(t, strings.Join(batch, " "))
		// Nor is a third made, however many wait.
		batch = nil
		for i := 100; i < 140; i++ {
			results, batch = append(results, enqueue(t.Context(), i)), append(batch, strconv.Itoa(i))
		}
		g.expectQuiet(t)
		second.answer <- nil
		third := g.next(t, strings.Join(batch, " "))
		third.answer <- nil
		for _, result := range results {
			expectResult(t, result, nil)
		}
		expectWaiting(t, lone)
		first.answer <- nil
		expectResult(t, lone, nil)
		g.expectQuiet(t)
	})
}

func TestABatchIsNoLargerThanTheBrokerTakes(t *testing.T) {
	inGate(t, 3, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		var results []<-chan error
		for _, args := range [][]int{{1}, {2}, {3, 4}, {5, 6}, {7, 8, 9, 10}, {11}} {
			results = append(results, enqueue(t.Context(), args...))
		}
		// A call is never split: its jobs stay in one batch. One that is
		// larger than the limit is split by the driver.
		for _, batch := range []string{"1", "2 3 4", "5 6", "7 8 9 10", "11"} {
			g.next(t, batch).answer <- nil
		}
		for _, result := range results {
			expectResult(t, result, nil)
		}
	})
}

func TestACallerWhoGivesUpWhileWaitingStoresNothing(t *testing.T) {
	inGate(t, 0, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		first := enqueue(t.Context(), 1)
		p := g.next(t, "1")
		ctx, cancel := context.WithCancel(t.Context())
		second, third := enqueue(ctx, 2), enqueue(t.Context(), 3)
		cancel()
		synctest.Wait()
		err := <-second
		if !errors.Is(err, context.Canceled) || errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("got %v, want that of the context, and not that the broker is unavailable", err)
		}
		p.answer <- nil
		g.next(t, "3").answer <- nil
		expectResult(t, first, nil)
		expectResult(t, third, nil)
	})
}

func TestACallerWhoGivesUpInFlightDoesNotDisturbTheOthers(t *testing.T) {
	inGate(t, 0, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		first := enqueue(t.Context(), 1)
		p := g.next(t, "1")
		ctx, cancel := context.WithCancel(t.Context())
		second, third := enqueue(ctx, 2), enqueue(t.Context(), 3)
		p.answer <- nil
		p = g.next(t, "2 3")
		cancel()
		synctest.Wait()
		err := <-second
		if !errors.Is(err, context.Canceled) || errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("got %v, want that of the context alone: the job may be stored", err)
		}
		if p.ctx.Err() != nil {
			t.Error("the batch ended with one of its callers")
		}
		expectWaiting(t, third)
		p.answer <- nil
		expectResult(t, first, nil)
		expectResult(t, third, nil)
	})
}

func TestABatchEndsWhenAllItsCallersHaveGivenUp(t *testing.T) {
	inGate(t, 0, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		first := enqueue(t.Context(), 1)
		p := g.next(t, "1")
		ctx2, cancel2 := context.WithCancel(t.Context())
		ctx3, cancel3 := context.WithTimeout(t.Context(), time.Minute)
		defer cancel3()
		second, third := enqueue(ctx2, 2), enqueue(ctx3, 3)
		p.answer <- nil
		expectResult(t, first, nil)
		p = g.next(t, "2 3")
		cancel2()
		pass(time.Minute - 1)
		expectResult(t, second, context.Canceled)
		if p.ctx.Err() != nil {
			t.Error("the batch ended before the last of its callers")
		}
		pass(1)
		expectResult(t, third, context.DeadlineExceeded)
		if p.ctx.Err() == nil {
			t.Error("the batch goes on without any caller")
		}
		// Nothing hangs behind it.
		fourth := enqueue(t.Context(), 4)
		g.next(t, "4").answer <- nil
		expectResult(t, fourth, nil)
	})
}

func TestEachCallerGetsTheErrorOfItsOwnJobs(t *testing.T) {
	inGate(t, 0, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		first := enqueue(t.Context(), 1)
		p := g.next(t, "1")
		second, third, fourth := enqueue(t.Context(), 2), enqueue(t.Context(), 3, 4), enqueue(t.Context(), 5)
		p.answer <- nil
		p = g.next(t, "2 3 4 5")
		p.answer <- backend.NewBatchError([]error{nil, nil, backend.ErrTooLarge, backend.ErrInvalid})
		expectResult(t, first, nil)
		expectResult(t, second, nil)
		synctest.Wait()
		err := <-third
		batch, ok := errors.AsType[*queue.BatchError](err)
		if !ok || len(batch.Errs) != 2 || batch.Errs[0] != nil || !errors.Is(batch.Errs[1], queue.ErrTooLarge) || errors.Is(err, queue.ErrInvalid) {
			t.Errorf("got %v, want a BatchError about the second of two", err)
		}
		expectResult(t, fourth, queue.ErrInvalid)
	})
}

func TestAnErrorOfTheWholeBatchIsThatOfEveryCaller(t *testing.T) {
	inGate(t, 0, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		first := enqueue(t.Context(), 1)
		p := g.next(t, "1")
		second, third := enqueue(t.Context(), 2), enqueue(t.Context(), 3)
		p.answer <- fmt.Errorf("%w: full", backend.ErrUnavailable)
		expectResult(t, first, queue.ErrUnavailable)
		g.next(t, "2 3").answer <- backend.ErrClosed
		expectResult(t, second, queue.ErrClosed)
		expectResult(t, third, queue.ErrClosed)
		g.expectQuiet(t)
	})
}

func TestAnEnqueueBehindOneThatHangsEndsWithItsContext(t *testing.T) {
	inGate(t, 0, func(t *testing.T, g *gate, enqueue func(context.Context, ...int) <-chan error) {
		first := enqueue(t.Context(), 1)
		p := g.next(t, "1") // never answered by the broker
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		second := enqueue(ctx, 2)
		pass(time.Second)
		expectResult(t, second, context.DeadlineExceeded)
		p.answer <- nil
		expectResult(t, first, nil)
		g.expectQuiet(t)
	})
}

func TestManyEnqueuesShareFewRoundTrips(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		inner := w.broker.Connect()
		var trips, inFlight, most atomic.Int32
		q := w.open(&fakeBroker{Backend: inner, push: func(ctx context.Context, messages []*backend.Message) error {
			trips.Add(1)
			most.Store(max(most.Load(), inFlight.Add(1)))
			defer inFlight.Add(-1)
			time.Sleep(time.Millisecond)
			return inner.Push(ctx, messages)
		}})
		const callers = 500
		results := make(chan error, callers)
		for range callers {
			go func() {
				_, err := q.Enqueue(t.Context(), "greet", 1)
				results <- err
			}()
		}
		for range callers {
			must(t, <-results)
		}
		if n := len(w.peek(backend.Ready)); n != callers || trips.Load() > 4 || most.Load() != 2 {
			t.Errorf("%d jobs were stored in %d round trips, at most %d at a time, want %d in no more than 4, 2 at a time", n, trips.Load(), most.Load(), callers)
		}
	})
}
