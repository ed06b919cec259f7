package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/store"
	"github.com/goferhq/queue/store/storetest"
)

func TestMemoryPassesTheSuite(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open:     func() (store.Store, error) { return store.NewMemory(), nil },
		Private:  true,
		Synctest: true,
	})
}

func TestAKeyLivesForItsTTLToTheMillisecondRoundedUp(t *testing.T) {
	for ttl, lives := range map[time.Duration]time.Duration{
		time.Nanosecond:                   time.Millisecond,
		time.Millisecond:                  time.Millisecond,
		1500*time.Microsecond + 1:         2 * time.Millisecond,
		time.Hour:                         time.Hour,
		200 * 365 * 24 * time.Hour:        200 * 365 * 24 * time.Hour,
		90*time.Second + time.Microsecond: 90*time.Second + time.Millisecond,
	} {
		t.Run(ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := store.NewMemory()
				must(t, m.Set(t.Context(), "key", []byte("value"), ttl))
				time.Sleep(lives - time.Nanosecond)
				if _, err := m.Get(t.Context(), "key"); err != nil {
					t.Errorf("a nanosecond before its end: %v", err)
				}
				time.Sleep(time.Nanosecond)
				if _, err := m.Get(t.Context(), "key"); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("at its end: got the error %v, want ErrNotFound", err)
				}
			})
		})
	}
}

func TestTheLongestTTLDoesNotOverflow(t *testing.T) {
	m := store.NewMemory()
	must(t, m.Set(t.Context(), "key", []byte("value"), math.MaxInt64))
	if _, err := m.Get(t.Context(), "key"); err != nil {
		t.Error(err)
	}
}

func TestExpiredKeysThatNobodyReadsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := store.NewMemory()
		const perSecond, ttl = 5000, 3 * time.Second
		for second := range 10 {
			for i := range perSecond {
				must(t, m.Set(t.Context(), fmt.Sprint(second, "/", i), nil, ttl))
			}
			time.Sleep(time.Second)
		}
		if held, most := m.Held(), perSecond*4; held > most {
			t.Errorf("%d keys are held, want no more than the %d of the last seconds", held, most)
		}
	})
}

func TestAFewWritesRemoveWhatExpiredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := store.NewMemory()
		for i := range 10_000 {
			must(t, m.Set(t.Context(), fmt.Sprint(i), nil, time.Minute))
		}
		time.Sleep(time.Minute)
		for range 20 {
			must(t, m.Set(t.Context(), "kept", nil, 0))
		}
		if held := m.Held(); held != 1 {
			t.Errorf("%d keys are held, want 1", held)
		}
	})
}

func TestAnExpiredKeyIsRemovedWhenItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := store.NewMemory()
		must(t, m.Set(t.Context(), "key", nil, time.Minute))
		time.Sleep(time.Minute)
		m.Get(t.Context(), "key")
		if held := m.Held(); held != 0 {
			t.Errorf("%d keys are held, want none", held)
		}
	})
}

func TestAKeyWhoseTTLIsReplacedOutlivesTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := store.NewMemory()
		for i := range 100 {
			must(t, m.Set(t.Context(), strconv.Itoa(i), nil, time.Duration(i%10+1)*time.Second))
		}
		for i := 0; i < 100; i += 2 {
			must(t, m.Set(t.Context(), strconv.Itoa(i), nil, 0))
		}
		for i := 0; i < 100; i += 5 {
			must(t, m.Set(t.Context(), strconv.Itoa(i), nil, time.Minute))
		}
		time.Sleep(10 * time.Second)
		must(t, m.Set(t.Context(), "other", nil, time.Second))
		for i := range 100 {
			_, err := m.Get(t.Context(), strconv.Itoa(i))
			if kept := i%2 == 0 || i%5 == 0; kept != (err == nil) {
				t.Errorf("key %d: got the error %v, want it kept: %v", i, err, kept)
			}
		}
	})
}

func TestAWatcherMayUseTheStore(t *testing.T) {
	m := store.NewMemory()
	var seen []string
	stop := m.Watch("key", func() {
		value, err := m.Get(t.Context(), "key")
		seen = append(seen, fmt.Sprintf("%s %v", value, err))
	})
	must(t, m.Set(t.Context(), "key", []byte("1"), 0))
	must(t, m.Set(t.Context(), "another", []byte("2"), 0))
	stop()
	stop()
	must(t, m.Set(t.Context(), "key", []byte("3"), 0))
	if got := fmt.Sprint(seen); got != "[1 <nil>]" {
		t.Errorf("the watcher saw %s, want the first value alone", got)
	}
	if n := m.Watches(); n != 0 {
		t.Errorf("%d keys are still watched after stop", n)
	}
}

func TestWhatChangesNothingIsNotTold(t *testing.T) {
	ctx, m := t.Context(), store.NewMemory()
	must(t, m.Set(ctx, "key", []byte("text"), 0))
	for _, key := range []string{"key", "missing"} {
		defer m.Watch(key, func() { t.Errorf("told of a change of %q", key) })()
	}
	m.SetNX(ctx, "key", []byte("other"), 0)
	m.CompareAndDelete(ctx, "key", []byte("other"))
	m.CompareAndDelete(ctx, "missing", nil)
	m.Incr(ctx, "key", 1, 0)
	m.Apply(ctx, []store.Op{{Verb: store.OpGet, Key: "key"}, {Verb: store.OpDelete, Key: "missing"}})
}

func TestCloseWakesTheWatchers(t *testing.T) {
	m := store.NewMemory()
	var got error
	m.Watch("key", func() { _, got = m.Get(t.Context(), "key") })
	must(t, m.Close())
	if !errors.Is(got, store.ErrClosed) {
		t.Errorf("the watcher got the error %v, want ErrClosed", got)
	}
}

func TestConcurrentUseIsSafe(t *testing.T) {
	ctx, m := t.Context(), store.NewMemory()
	var running sync.WaitGroup
	for worker := range 8 {
		running.Go(func() {
			for i := range 500 {
				key := strconv.Itoa((worker + i) % 10)
				stop := m.Watch(key, func() {})
				m.Set(ctx, key, []byte("1"), time.Microsecond*time.Duration(i))
				m.Incr(ctx, key, 1, time.Millisecond)
				m.CompareAndDelete(ctx, key, []byte("2"))
				m.SetNX(ctx, key, []byte("x"), time.Microsecond)
				m.List(ctx, "")
				stop()
			}
		})
	}
	running.Wait()
	must(t, m.Close())
}

func BenchmarkSetOfKeysThatExpire(b *testing.B) {
	ctx, m := context.Background(), store.NewMemory()
	for i := 0; b.Loop(); i++ {
		m.Set(ctx, strconv.Itoa(i), []byte("value"), time.Millisecond)
	}
}

func BenchmarkListOfAHundredAmongAHundredThousand(b *testing.B) {
	ctx, m := context.Background(), store.NewMemory()
	for i := range 100_000 {
		m.Set(ctx, fmt.Sprintf("status:%06d", i), []byte("value"), time.Hour)
	}
	for b.Loop() {
		if items, err := m.List(ctx, "status:0001"); err != nil || len(items) != 100 {
			b.Fatal(len(items), err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
