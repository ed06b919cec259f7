package memory

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend"
)

func (b *Broker) alarmIsSet() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	// Stop tells whether the timer was running, and so the truth, not alarmAt.
	return b.alarm != nil && b.alarm.Stop()
}

func pushOne(t *testing.T, m *Backend, id string, delay time.Duration) {
	t.Helper()
	job := &backend.Message{ID: id, Kind: "k", Queue: "q", Delay: delay}
	if err := m.Push(t.Context(), []*backend.Message{job}); err != nil {
		t.Fatal(err)
	}
}

func TestNoTimerRunsWhileNothingHasATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		reserve := func() []*backend.Delivery {
			ds, err := m.Reserve(ctx, []string{"q"}, 1, time.Minute)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			return ds
		}
		wantNoTimer := func(when string) {
			t.Helper()
			synctest.Wait()
			if m.broker.alarmIsSet() {
				t.Errorf("a timer runs %s", when)
			}
		}
		// Nobody waits: what has a time is brought up to date by the next call.
		pushOne(t, m, "1", time.Hour)
		wantNoTimer("while nobody waits")
		ds := reserve()
		wantNoTimer("while a job is on loan and nobody waits")
		if err := m.Ack(ctx, ds); err != nil {
			t.Fatal(err)
		}
		// Somebody waits, and nothing has a time.
		go reserve()
		wantNoTimer("on an empty broker")
		// The last job with a time goes while somebody waits.
		pushOne(t, m, "2", time.Hour)
		if _, err := m.Remove(ctx, "q", backend.Filter{ID: "2"}); err != nil {
			t.Fatal(err)
		}
		wantNoTimer("when the last scheduled job was removed")
		// The last who waits goes while a job has a time.
		pushOne(t, m, "3", time.Hour)
		cancel()
		wantNoTimer("when the last waiting call has ended")
	})
}

func TestWaitingForADayRingsAFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		pushOne(t, m, "1", 24*time.Hour)
		rings := 0
		m.broker.alarm = time.AfterFunc(time.Hour, func() {
			rings++
			m.broker.ring()
		})
		m.broker.alarm.Stop()
		if _, err := m.Reserve(t.Context(), []string{"q"}, 1, time.Minute); err != nil {
			t.Fatal(err)
		}
		if rings == 0 || rings > levels {
			t.Errorf("the timer rang %d times, want at most %d", rings, levels)
		}
	})
}
