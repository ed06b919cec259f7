package redis_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// scriptMark returns what a request that calls one of the driver's scripts
// contains, and makes the server know all of them: what is harmed is to be the
// call that does the work.
func scriptMark(t testing.TB, client *goredis.Client, name string) string {
	t.Helper()
	directory := filepath.Join("..", "..", "backend", "redis", "lua")
	prelude, err := os.ReadFile(filepath.Join(directory, "prelude.lua"))
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(directory, "*.lua"))
	mark := ""
	for _, file := range files {
		if filepath.Base(file) == "prelude.lua" {
			continue
		}
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		script := slices.Concat(prelude, body)
		if err := client.ScriptLoad(t.Context(), string(script)).Err(); err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) == name+".lua" {
			sum := sha1.Sum(script)
			mark = hex.EncodeToString(sum[:])
		}
	}
	if mark == "" {
		t.Fatalf("there is no script %s", name)
	}
	return mark
}

func TestAPushWhoseReplyIsLostIsStoredOnce(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	b := faults.Open(t, network.URL())
	delayed := faults.Message("a-delayed")
	delayed.Delay = time.Hour
	cases := []struct {
		name     string
		messages []*backend.Message
		want     counts
	}{
		{"one", []*backend.Message{faults.Message("a-job")}, counts{ready: 1}},
		{"delayed", []*backend.Message{delayed}, counts{later: 1}},
		{"batch", []*backend.Message{faults.Message("a-1"), faults.Message("a-2"), delayed}, counts{ready: 2, later: 1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			client.FlushDB(t.Context())
			scriptMark(t, client, "push")
			done := network.CutReplies(`"a-`, 1)
			if err := b.Push(t.Context(), c.messages); err != nil {
				t.Errorf("Push: %v; want the success that it was", err)
			}
			faults.ExpectHarm(t, done)
			expectCounts(t, client, c.want)
		})
	}
}

// Resque-scheduler's own lists are written without a script.
func TestADelayedPushForRubyWhoseReplyIsLostIsStoredOnce(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	b := faults.Open(t, with(network.URL(), "delayed", "resque"))
	m := faults.Message("")
	m.Delay = time.Hour
	done := network.CutReplies("delayed_queue_schedule", 1)
	if err := b.Push(t.Context(), []*backend.Message{m}); err != nil {
		t.Errorf("Push: %v; want the success that it was", err)
	}
	faults.ExpectHarm(t, done)
	lists, err := client.Keys(t.Context(), "resque:delayed:*").Result()
	if err != nil || len(lists) != 1 {
		t.Fatalf("lists of delayed jobs: %v, %v; want one", lists, err)
	}
	if n := client.LLen(t.Context(), lists[0]).Val(); n != 1 {
		t.Errorf("%d copies are delayed, want 1", n)
	}
}

func TestAPushThatIsMadeAgainAfterAnAmbiguousErrorIsStoredOnce(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	b := faults.Open(t, network.URL())

	t.Run("when no reply came back", func(t *testing.T) {
		client.FlushDB(t.Context())
		network.CutReplies("", 1<<30)
		err := b.Push(t.Context(), []*backend.Message{faults.Message("a"), faults.Message("b")})
		network.Disarm()
		if err == nil || errors.Is(err, backend.ErrUnavailable) {
			t.Fatalf("Push: %v; want an error that leaves open what was stored", err)
		}
		faults.Push(t, b, "b", "a")
		expectCounts(t, client, counts{ready: 2})
	})

	t.Run("when its context ended while nothing got through", func(t *testing.T) {
		client.FlushDB(t.Context())
		network.Blackhole()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			err := b.Push(ctx, []*backend.Message{faults.Message("a")})
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Push: %v; want %v", err, context.DeadlineExceeded)
			}
		}
		network.Heal()
		faults.Push(t, b, "a")
		awaitQuiet(t, client)
		expectCounts(t, client, counts{ready: 1})
	})
}

// awaitQuiet waits until the server has read nothing but what this asks for
// half a second: what was on its way has arrived.
func awaitQuiet(t testing.TB, client *goredis.Client) {
	t.Helper()
	before, since := statistic(t, client, "total_reads_processed"), time.Now()
	faults.Eventually(t, faults.Patience, func() error {
		now := statistic(t, client, "total_reads_processed")
		if now != before+1 {
			since = time.Now()
		}
		before = now
		if time.Since(since) < 500*time.Millisecond {
			return errors.New("the server is still being asked")
		}
		return nil
	})
}

func TestAReserveWhoseReplyIsLostReturnsTheSameJobsAtOnce(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	b := faults.Open(t, network.URL())
	faults.Push(t, b, "1", "2", "3")
	done := network.CutReplies(scriptMark(t, client, "reserve"), 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	deliveries, err := b.Reserve(ctx, []string{"default"}, 3, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	faults.ExpectHarm(t, done)
	for i, d := range deliveries {
		if d.ID != []string{"1", "2", "3"}[i] || d.Attempt != 1 || d.Deliveries != 1 {
			t.Errorf("job %d is %s, attempt %d, delivery %d; want the first of each, in their order", i, d.ID, d.Attempt, d.Deliveries)
		}
	}
	expectCounts(t, client, counts{reserved: 3})
	if err := b.Ack(t.Context(), deliveries); err != nil {
		t.Error(err)
	}
	expectCounts(t, client, counts{})
}

// A request whose connection seems lost is made again, and the first may still
// be on its way. What it then takes, nobody has; it must be no other's loss.
func TestAReserveThatArrivesAfterItWasMadeAgainLosesNothing(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	b := faults.Open(t, network.URL())
	faults.Push(t, b, "1", "2")
	_, deliver := network.Delay(scriptMark(t, client, "reserve"))
	first := faults.Reserve(t, b, time.Second, 5*time.Second)
	deliver()
	if err := b.Ack(t.Context(), []*backend.Delivery{first}); err != nil {
		t.Errorf("Ack: %v", err)
	}
	second := faults.Reserve(t, b, time.Second, 10*time.Second)
	if first.ID != "1" || second.ID != "2" {
		t.Errorf("the jobs were %s and %s, want 1 and 2", first.ID, second.ID)
	}
	if err := b.Ack(t.Context(), []*backend.Delivery{second}); err != nil {
		t.Errorf("Ack: %v", err)
	}
	expectCounts(t, client, counts{})
}

// effects are, by the name of a settlement, the script that makes it and where
// the job is then.
var effects = map[string]struct {
	script string
	want   counts
}{
	"Ack":         {"ack", counts{}},
	"Retry":       {"settle", counts{ready: 1}},
	"Retry later": {"settle", counts{later: 1}},
	"Release":     {"settle", counts{ready: 1}},
	"Bury":        {"settle", counts{dead: 1}},
	"Extend":      {"extend", counts{reserved: 1}},
}

func TestASettlementWhoseReplyIsLostIsMadeOnceAndSucceeds(t *testing.T) {
	eachSettlement(t, func(t *testing.T, network *faults.Proxy, script string, settle func() error) {
		done := network.CutReplies(script, 1)
		if err := settle(); err != nil {
			t.Errorf("%v; want the success that it was", err)
		}
		faults.ExpectHarm(t, done)
	})
}

func TestASettlementThatIsMadeAgainAfterAnAmbiguousErrorSucceeds(t *testing.T) {
	eachSettlement(t, func(t *testing.T, network *faults.Proxy, script string, settle func() error) {
		network.CutReplies(script, 1<<30)
		err := settle()
		network.Disarm()
		if err == nil || errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrLeaseLost) {
			t.Fatalf("%v; want an error that leaves open whether it was done", err)
		}
		if err := settle(); err != nil {
			t.Errorf("once more: %v; want the success that it was", err)
		}
	})
}

// eachSettlement has f settle a job in each way, over a network by which it can
// harm the script that does so, and expects that it has settled it once.
func eachSettlement(t *testing.T, f func(t *testing.T, network *faults.Proxy, script string, settle func() error)) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	b := faults.Open(t, network.URL())
	for _, s := range faults.Settlements() {
		t.Run(s.Name, func(t *testing.T) {
			client.FlushDB(t.Context())
			faults.Push(t, b, "a")
			d := faults.Reserve(t, b, time.Hour, faults.Patience)
			f(t, network, scriptMark(t, client, effects[s.Name].script), func() error {
				return s.Settle(t.Context(), b, d)
			})
			expectCounts(t, client, effects[s.Name].want)
		})
	}
}

// The driver makes a settlement again by itself; it must not take the loss of a
// lease for its own success.
func TestALostLeaseIsToldAlsoWhenTheReplyWasLost(t *testing.T) {
	server, client := server(t)
	network := faults.NewProxy(t, server.URL())
	b, other := faults.Open(t, network.URL()), faults.Open(t, server.URL())
	for _, s := range faults.Settlements() {
		t.Run(s.Name, func(t *testing.T) {
			client.FlushDB(t.Context())
			faults.Push(t, b, "a")
			d := faults.Reserve(t, b, 200*time.Millisecond, faults.Patience)
			if taken := faults.Reserve(t, other, time.Hour, faults.Patience); taken.Attempt != 2 {
				t.Errorf("the other was given attempt %d, want 2", taken.Attempt)
			}
			done := network.CutReplies(scriptMark(t, client, effects[s.Name].script), 1)
			if err := s.Settle(t.Context(), b, d); !errors.Is(err, backend.ErrLeaseLost) {
				t.Errorf("%v; want %v", err, backend.ErrLeaseLost)
			}
			faults.ExpectHarm(t, done)
			expectCounts(t, client, counts{reserved: 1})
		})
	}
}

// A Push that was never made leaves nothing to wait for.
func TestAPushIsMadeAgainAfterOneWhoseContextHadEndedBefore(t *testing.T) {
	server, client := server(t)
	b := faults.Open(t, server.URL())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Push(ended, []*backend.Message{faults.Message("a")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Push: %v; want %v", err, context.Canceled)
	}
	ctx, cancel := context.WithTimeout(t.Context(), faults.Patience)
	defer cancel()
	if err := b.Push(ctx, []*backend.Message{faults.Message("a")}); err != nil {
		t.Errorf("Push: %v", err)
	}
	expectCounts(t, client, counts{ready: 1})
}
