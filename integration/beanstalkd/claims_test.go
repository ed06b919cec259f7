package beanstalkd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestADeliveryOfAnotherBackendIsNotSettledAndStaysItsOwn(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	address := at("lease=30s", server)
	b, other := faults.Open(t, address), faults.Open(t, address)
	faults.Push(t, b, "a")
	d := faults.Reserve(t, b, 30*time.Second, faults.Patience)
	for _, s := range faults.Settlements() {
		if err := backend.ErrorAt(s.Settle(t.Context(), other, d), 0); !errors.Is(err, backend.ErrLeaseLost) {
			t.Errorf("%s of a delivery of another backend: %v; want %v", s.Name, err, backend.ErrLeaseLost)
		}
		expectCounts(t, client, counts{reserved: 1})
	}
	ack(t, b, d)
	expectCounts(t, client, counts{})
}

func TestTwoAcksOfTheSameJobsInOppositeOrderBothReturnAndOneOfThemHasEach(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	b := faults.Open(t, at("lease=30s", server))
	const rounds, jobs = 20, 100
	var ids []string
	for i := range jobs {
		ids = append(ids, fmt.Sprint(i))
	}
	for range rounds {
		faults.Push(t, b, ids...)
		forth := faults.ReserveMany(t, b, jobs, 30*time.Second, faults.Patience)
		back := slices.Clone(forth)
		slices.Reverse(back)
		ctx, cancel := context.WithTimeout(t.Context(), faults.Recovery)
		begin, ofForth, ofBack := make(chan struct{}), make(chan error, 1), make(chan error, 1)
		go func() { <-begin; ofForth <- b.Ack(ctx, forth) }()
		go func() { <-begin; ofBack <- b.Ack(ctx, back) }()
		close(begin)
		errForth, errBack := <-ofForth, <-ofBack
		if ctx.Err() != nil {
			t.Fatalf("after %v the acks return %v and %v", faults.Recovery, errForth, errBack)
		}
		cancel()
		for i := range jobs {
			one, other := backend.ErrorAt(errForth, i), backend.ErrorAt(errBack, jobs-1-i)
			if one != nil {
				one, other = other, one
			}
			if one != nil || !errors.Is(other, backend.ErrLeaseLost) {
				t.Fatalf("the acks of a job: %v and %v; want one without an error and one with %v", one, other, backend.ErrLeaseLost)
			}
		}
	}
	expectCounts(t, client, counts{})
}

// What a caller does not wait for goes on without it. The next call of the same
// verb is told how that went, once, so that a caller may try again.
func TestARetryThatItsCallerLeftGoesOnWithWhatItWasGivenAndIsToldToTheNext(t *testing.T) {
	t.Parallel()
	one, client := server(t)
	other, otherClient := server(t)
	b := faults.Open(t, at("lease=30s&timeout=60s", one, other))
	faults.Push(t, b, "1", "2", "3", "4") // half of them on each
	deliveries := faults.ReserveMany(t, b, 4, 30*time.Second, faults.Patience)
	replacements := make([]backend.Replacement, len(deliveries))
	for i, d := range deliveries {
		m := d.Message
		m.Header = map[string]string{"retry": "first"}
		replacements[i] = backend.Replacement{Delivery: d, Message: &m}
	}

	one.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Retry(ctx, replacements); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Retry at a server that is stopped: %v; want %v", err, context.DeadlineExceeded)
	}
	for _, r := range replacements {
		r.Message.Attempt = 7 // the caller's again
		r.Message.Kind = "another"
		r.Message.Header = nil
	}
	// A server that hangs holds up none of what is for the other.
	settledCounts(t, otherClient, faults.Recovery, counts{ready: 2, reserved: 2})
	one.Continue()

	if err := b.Ack(t.Context(), deliveries[:1]); !errors.Is(backend.ErrorAt(err, 0), backend.ErrLeaseLost) {
		t.Errorf("Ack of what is being retried: %v; want %v", err, backend.ErrLeaseLost)
	}
	if err := b.Retry(t.Context(), replacements); err != nil {
		t.Errorf("the next Retry: %v; want to be told that all went well", err)
	}
	err := b.Retry(t.Context(), replacements)
	for i := range replacements {
		if err := backend.ErrorAt(err, i); !errors.Is(err, backend.ErrLeaseLost) {
			t.Errorf("the Retry after that: %v; want %v", err, backend.ErrLeaseLost)
		}
	}
	expectCounts(t, client, counts{ready: 2})
	expectCounts(t, otherClient, counts{ready: 2})
	for _, d := range faults.ReserveMany(t, b, 4, 30*time.Second, faults.Patience) {
		if d.Attempt != 2 || d.Kind != "job" || d.Header["retry"] != "first" {
			t.Errorf("job %s is stored as %+v; want what Retry was given", d.ID, d.Message)
		}
	}
}

// The connection that holds a job can be lost while what replaces it is stored.
// The server has taken the job back then, and knows it by itself.
func TestARetryWhoseDeleteCouldNotBeSentLeavesOneJob(t *testing.T) {
	t.Parallel()
	server, client := server(t)
	stored, told, reply := make(chan struct{}), make(chan struct{}, 10), make(chan struct{})
	answer := sync.OnceFunc(func() { close(reply) })
	var holder atomic.Pointer[link] // the connection that has reserved
	var retried atomic.Bool
	relay := newRelay(t, server.Addr(), func(l *link, part []byte) bool {
		switch {
		case bytes.Contains(part, []byte("RESERVED ")):
			holder.Store(l)
		case bytes.Contains(part, []byte("INSERTED ")) && retried.Load():
			close(stored)
			<-reply
		}
		return false
	})
	t.Cleanup(answer)
	b := faults.Open(t, "beanstalkd://"+relay.addr()+"?lease=30s&timeout=60s")
	faults.Push(t, b, "a")
	d := faults.Reserve(t, b, 30*time.Second, faults.Patience)
	notifier, _ := backend.As[backend.LossNotifier](b)
	defer notifier.NotifyLost(func() { told <- struct{}{} })()

	retried.Store(true)
	result := make(chan error, 1)
	go func() {
		m := d.Message
		result <- b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &m}})
	}()
	faults.AwaitHarm(t, stored)
	holder.Load().close()
	faults.AwaitHarm(t, told)
	answer()
	if err := backend.ErrorAt(<-result, 0); !errors.Is(err, backend.ErrLeaseLost) {
		t.Errorf("Retry: %v; want %v", err, backend.ErrLeaseLost)
	}
	settledCounts(t, client, faults.Recovery, counts{ready: 1})
	d = faults.Reserve(t, b, 30*time.Second, faults.Patience)
	if d.Attempt != 2 || d.Deliveries != 2 {
		t.Errorf("the job is in attempt %d, delivery %d; want that which was lost, in its second", d.Attempt, d.Deliveries)
	}
}
