// Package faults helps the tests of a driver to harm workers, a broker and the
// network between them, and to hold what then happens against what package
// backend promises. It knows no broker: what differs between them is the URL
// and how to look at what a broker has, and both come from the test.
//
// A test package has a TestMain, because a worker is a process of the test
// program itself:
//
//	func TestMain(m *testing.M) {
//		faults.BecomeWorker() // returns, but in a process that is to be a worker
//		os.Exit(m.Run())
//	}
//
// # Workers that are harmed
//
// A [Worker] is a process of its own, which a test can kill, freeze, thaw and
// end. What its handlers do it writes into a [Chronicle], a file that outlives
// it:
//
//	story := faults.NewChronicle(t)
//	worker := faults.StartWorker(t, faults.WorkerSettings{URL: url, Chronicle: story, Workers: 1, Lease: 2 * time.Second})
//	faults.Enqueue(t, faults.OpenQueue(t, url), faults.Note, "a", time.Hour)
//	story.Await(t, faults.Patience, faults.Began, "a", 1)
//	worker.Kill()
//
// [KillRounds], [ExpectPoisonBuried] and [ExpectIdleKillsHarmless] are whole
// tests of that, which a package calls with its broker.
//
// # A broker that is harmed
//
// A [Load] is producers and workers in the process of the test. They go on
// through whatever is done to the broker, and keep record of what it has
// accepted and what has run:
//
//	load := faults.StartLoad(t, server.URL())
//	load.AwaitProgress(faults.Patience, 100)
//	server.Kill()
//	server.Restart()
//	load.AwaitProgress(faults.Recovery, 1)
//	load.Finish(0) // all that was accepted has run, and nothing more often than once
//
// # A network that is harmed
//
// A [Proxy] is the network between a driver and a server. It breaks
// connections, holds them up, or waits for one request and harms that:
//
//	network := faults.NewProxy(t, server.URL())
//	b := faults.Open(t, network.URL())
//	harmed := network.CutReplies("put ", 1)
//	faults.Push(t, b, "a") // the server has it, and the driver is not told
//	faults.AwaitHarm(t, harmed)
//
// # Time
//
// Tests wait for states, with [Eventually] and what is built on it, and never
// for a time to pass: a slow machine is to make them slow and not wrong.
package faults

import (
	"context"
	"errors"
	"testing"
	"time"
)

const (
	// Patience is how long a test waits for what has no deadline of its own.
	// It is only ever used up by a test that fails.
	Patience = 60 * time.Second

	// Recovery is how long it may take until jobs run again, once the cause of
	// an outage is gone.
	Recovery = 5 * time.Second

	// Prompt is how soon something has to happen that nothing holds up. It is
	// far below any lease that a test with it has.
	Prompt = 2 * time.Second

	// Punctual is how long after the end of its context a call may take.
	Punctual = 500 * time.Millisecond
)

// Eventually looks until look returns nil, and ends the test with its last
// error after the limit.
func Eventually(t testing.TB, limit time.Duration, look func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		err := look()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", limit, err)
		}
	}
}

// OnTime calls f with a context that ends soon, and fails the test when f takes
// longer, or returns another error than that of the context.
func OnTime(t testing.TB, name string, f func(context.Context) error) {
	t.Helper()
	const limit = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	err := f(ctx)
	if took := time.Since(began); took > limit+Punctual {
		t.Errorf("%s returned %v after its context had ended", name, took-limit)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v; want %v", name, err, context.DeadlineExceeded)
	}
}
