package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/goferhq/queue/store"
)

// first returns the first error, so that a case can list its steps. They are
// all taken, in order, also after one that failed.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func expectValue(ctx context.Context, s store.Store, key, want string) error {
	got, err := s.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("Get(%q) failed with %q, want the value %q", key, err, want)
	}
	if string(got) != want {
		return fmt.Errorf("Get(%q) returned %q, want %q", key, got, want)
	}
	return nil
}

func expectMissing(ctx context.Context, s store.Store, key string) error {
	got, err := s.Get(ctx, key)
	if err == nil {
		return fmt.Errorf("Get(%q) returned %q, want ErrNotFound", key, got)
	}
	return expectError(fmt.Sprintf("Get(%q)", key), err, store.ErrNotFound)
}

func expectError(call string, got, want error) error {
	if errors.Is(got, want) {
		return nil
	}
	if got == nil {
		return fmt.Errorf("%s succeeded, want an error that is %q", call, want)
	}
	return fmt.Errorf("%s failed with %q, want an error that is %q", call, got, want)
}

func expectSuccess(call string, err error) error {
	if err != nil {
		return fmt.Errorf("%s failed: %w", call, err)
	}
	return nil
}

// clockSlack is how much later than its time to live a key may disappear: a
// server's clock may tick in steps.
const clockSlack = 100 * time.Millisecond

// shortTTL is the time to live of the keys whose expiry a case waits for.
const shortTTL = 50 * time.Millisecond

// expire waits until a key that was stored before the call, with ttl, must be
// gone. It can never wait too short a time: the store had begun to count when
// it answered.
func expire(ttl time.Duration) { time.Sleep(ttl + clockSlack) }

// together runs f n times at once and returns the first error.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	running.Wait()
	return first(errs...)
}
