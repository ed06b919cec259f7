package redis

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/goferhq/queue/store"
)

func TestATimeToLiveIsInMillisecondsRoundedUp(t *testing.T) {
	for ttl, want := range map[time.Duration][]any{
		0:                           nil,
		1:                           {"px", "1"},
		time.Millisecond:            {"px", "1"},
		time.Millisecond + 1:        {"px", "2"},
		1500 * time.Millisecond:     {"px", "1500"},
		math.MaxInt64:               {"px", "9223372036855"},
		100 * 365 * 24 * time.Hour:  {"px", "3153600000000"},
		time.Second - 1:             {"px", "1000"},
		999*time.Millisecond - 1000: {"px", "999"},
	} {
		if got := expiry(ttl); !slices.Equal(got, want) {
			t.Errorf("a time to live of %d ns is %v, want %v", ttl, got, want)
		}
	}
}

// every calls every method of a store but Close, with arguments that are valid.
func every(ctx context.Context, s store.Store) map[string]error {
	_, get := s.Get(ctx, "key")
	set := s.Set(ctx, "key", []byte("value"), time.Minute)
	_, setNX := s.SetNX(ctx, "key", []byte("value"), time.Minute)
	_, compareAndDelete := s.CompareAndDelete(ctx, "key", []byte("value"))
	_, incr := s.Incr(ctx, "key", 1, time.Minute)
	_, list := s.List(ctx, "")
	_, apply := s.Apply(ctx, []store.Op{{Verb: store.OpDelete, Key: "key"}})
	_, nothing := s.Apply(ctx, nil)
	return map[string]error{
		"Get": get, "Set": set, "SetNX": setNX, "CompareAndDelete": compareAndDelete,
		"Incr": incr, "List": list, "Apply": apply, "Apply of nothing": nothing,
	}
}

func TestWhatIsRefusedNeedsNoServer(t *testing.T) {
	unused := &server{}
	ctx := t.Context()

	s := New(unused.client(t), "prefix:")
	_, get := s.Get(ctx, "")
	_, setNX := s.SetNX(ctx, "", nil, 0)
	_, setNXLate := s.SetNX(ctx, "key", nil, -1)
	_, compareAndDelete := s.CompareAndDelete(ctx, "", nil)
	_, incr := s.Incr(ctx, "", 1, 0)
	_, incrLate := s.Incr(ctx, "key", 1, -1)
	for method, err := range map[string]error{
		"Get":                      get,
		"Set":                      s.Set(ctx, "", nil, 0),
		"Set with a negative ttl":  s.Set(ctx, "key", nil, -1),
		"SetNX":                    setNX,
		"SetNX with ttl below 0":   setNXLate,
		"CompareAndDelete":         compareAndDelete,
		"Incr":                     incr,
		"Incr with a negative ttl": incrLate,
	} {
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", method, err)
		}
	}
	results, err := s.Apply(ctx, []store.Op{{}, {Verb: store.OpGet}, {Verb: 99, Key: "key"}, {Verb: store.OpSet, Key: "key", TTL: -1}})
	if err != nil || len(results) != 4 {
		t.Fatalf("Apply of invalid ops returned %v, %v", results, err)
	}
	for i, result := range results {
		if !errors.Is(result.Err, store.ErrInvalid) {
			t.Errorf("the invalid op %d: %v, want ErrInvalid", i, result.Err)
		}
	}
	if results, err := s.Apply(ctx, nil); err != nil || len(results) != 0 {
		t.Errorf("Apply of nothing returned %v, %v", results, err)
	}

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for method, err := range every(cancelled, s) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v", method, err)
		}
	}

	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	for method, err := range every(ctx, s) {
		if err != store.ErrClosed {
			t.Errorf("%s after Close: %v, want ErrClosed", method, err)
		}
	}
	s.Watch("key", func() { t.Error("a watch was told after Close") })()

	if unused.connections() > 0 {
		t.Error("the store connected to the server")
	}
}
