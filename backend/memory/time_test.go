package memory_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/memory"
)

// wait lets d of the bubble's time pass.
func wait(d time.Duration) { time.Sleep(d) }

func TestJobDueInADayIsHandedOutExactlyThen(t *testing.T) {
	delays := []time.Duration{
		1, time.Millisecond, time.Millisecond + 1, 63 * time.Millisecond, 64 * time.Millisecond, 65 * time.Millisecond,
		4096*time.Millisecond - 1, 24 * time.Hour, 24*time.Hour + 1, 365 * 24 * time.Hour, 100 * 365 * 24 * time.Hour,
	}
	for _, delay := range delays {
		t.Run(delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := memory.New()
				wait(12345 * time.Microsecond)
				pushed := time.Now()
				pushMessage(t, m, backend.Message{ID: "1", Delay: delay})
				ds, err := m.Reserve(t.Context(), []string{"q"}, 1, lease)
				must(t, err)
				if late := time.Since(pushed) - delay; late < 0 || late >= 2*time.Millisecond {
					t.Errorf("handed out %v after it was due", late)
				}
				if ds[0].Delay != 0 {
					t.Errorf("delivered with a delay of %v", ds[0].Delay)
				}
			})
		})
	}
}

func TestPeekTellsWhenAJobIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		for _, hours := range []int{3, 1, 2} {
			pushMessage(t, m, backend.Message{ID: strconv.Itoa(hours), Delay: time.Duration(hours) * time.Hour})
		}
		entries, err := m.Peek(t.Context(), "q", backend.Scheduled, 1, 9)
		must(t, err)
		for i, e := range entries {
			if want := time.Now().Add(time.Duration(i+2) * time.Hour); e.ID != strconv.Itoa(i+2) || !e.DueAt.Equal(want) || e.State != backend.Scheduled {
				t.Errorf("entry %d is %s, due at %v, want %v", i, e.ID, e.DueAt, want)
			}
		}
	})
}

func TestLeaseEndsWhenItSaysAndIsExtendedFromNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		push(t, m, "1")
		ds, err := m.Reserve(t.Context(), []string{"q"}, 1, time.Hour)
		must(t, err)
		wait(time.Hour - 1)
		must(t, m.Extend(t.Context(), ds, time.Hour))
		wait(time.Hour - 1)
		must(t, m.Extend(t.Context(), ds, 10*time.Second)) // shorter is possible too
		extended := time.Now()
		again, err := m.Reserve(t.Context(), []string{"q"}, 1, time.Hour)
		must(t, err)
		if late := time.Since(extended) - 10*time.Second; late < 0 || late >= 2*time.Millisecond {
			t.Errorf("delivered again %v after the lease ended", late)
		}
		if again[0].Attempt != 2 || again[0].Deliveries != 2 {
			t.Errorf("delivered again as %+v", again[0])
		}
		if err := m.Ack(t.Context(), ds); !errors.Is(err, backend.ErrLeaseLost) {
			t.Errorf("late ack: %v, want ErrLeaseLost", err)
		}
		must(t, m.Ack(t.Context(), again))
	})
}

// While a Reserve waits, many jobs come due at random times, in no order. It
// is handed each at its time.
func TestManyTimesAreKeptWhileAReserveWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		random := rand.New(rand.NewPCG(1, 2))
		var due []time.Duration
		start := time.Now()
		for i := range 2000 {
			delay := time.Duration(random.Int64N(int64(1) << random.IntN(50)))
			due = append(due, delay)
			pushMessage(t, m, backend.Message{ID: strconv.Itoa(i), Delay: delay})
		}
		slices.Sort(due)
		for len(due) > 0 {
			ds, err := m.Reserve(t.Context(), []string{"q"}, 3, lease)
			must(t, err)
			must(t, m.Ack(t.Context(), ds))
			for range ds {
				if late := time.Since(start) - due[0]; late < 0 || late >= 2*time.Millisecond {
					t.Fatalf("a job came %v after it was due", late)
				}
				due = due[1:]
			}
		}
		wantStats(t, m, 0, 0, 0, 0)
	})
}

func TestReserveEndsWithItsContextOrTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		_, err := m.Reserve(ctx, []string{"q"}, 1, lease)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Hour {
			t.Errorf("Reserve ended after %v: %v", time.Since(start), err)
		}
		time.AfterFunc(time.Hour, func() { m.Close() })
		if _, err = m.Reserve(t.Context(), []string{"q"}, 1, lease); !errors.Is(err, backend.ErrClosed) {
			t.Errorf("Reserve of a connection that closes: %v", err)
		}
	})
}

func TestIdleEndsWhenNothingIsReadyOrReserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		must(t, m.Idle(t.Context(), "q", "other"))
		push(t, m, "1", "2")
		pushMessage(t, m, backend.Message{ID: "later", Delay: time.Hour})
		pushMessage(t, m, backend.Message{ID: "elsewhere", Queue: "other"})
		start := time.Now()
		go func() {
			wait(time.Second)
			ds := wantNext(t, m, "1 2")
			wait(time.Second)
			must(t, m.Ack(t.Context(), ds[:1]))
			wait(time.Second)
			bury(t, m, ds[1])
		}()
		must(t, m.Idle(t.Context(), "q"))
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("idle after %v, want 3s", got)
		}
		go func() {
			wait(time.Second)
			must(t, m.Pause(t.Context(), "other"))
		}()
		must(t, m.Idle(t.Context(), "other"))
		if got := time.Since(start); got != 4*time.Second {
			t.Errorf("idle by the pause after %v, want 4s", got)
		}
	})
}

func TestIdleEndsWithItsContextOrTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		push(t, m, "1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := m.Idle(ctx, "q"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Idle past its context: %v", err)
		}
		time.AfterFunc(time.Hour, func() { m.Close() })
		if err := m.Idle(t.Context(), "q"); !errors.Is(err, backend.ErrClosed) {
			t.Errorf("Idle of a connection that closes: %v", err)
		}
	})
}
