package beanstalkd_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestOfTwoServersOneGoesOnWhenTheOtherIsKilled(t *testing.T) {
	t.Parallel()
	one, _ := server(t, "-f0")
	other, _ := server(t)
	l := startLoad(t, at("lease=30s", one, other))
	l.AwaitProgress(faults.Patience, 100)
	held := l.HoldOne("hold-0") // it is on either of them
	const kills = 3
	for range kills {
		awaitCompacted(t, one)
		one.Kill()
		_, before := l.Failures()
		l.AwaitProgress(faults.Recovery, 100)
		if _, now := l.Failures(); now > before+8 {
			t.Errorf("%d jobs were refused while one of two servers was up", now-before)
		}
		one.Restart()
		l.AwaitProgress(faults.Recovery, 20)
	}
	// Both have jobs again: it is not that the one that was killed is avoided.
	client := one.Client()
	before := statistic(t, client, "total-jobs")
	faults.Eventually(t, faults.Recovery, func() error {
		if now := statistic(t, client, "total-jobs"); now < before+20 {
			return fmt.Errorf("the server that was killed was given %d jobs, want 20", now-before)
		}
		return nil
	})
	if held.Holds() { // it was on the server that was not killed
		awaitCompacted(t, other)
		other.Kill()
		held.ExpectLost(t)
		other.Restart()
	}
	finish(l, kills+1)
}

func TestTheJobsOfAServerThatWasKilledRunWhenItIsBack(t *testing.T) {
	t.Parallel()
	one, _ := server(t, "-f0")
	other, _ := server(t, "-f0")
	b := faults.Open(t, at("lease=30s", one, other))
	const jobs = 50
	var ids []string
	for i := range jobs {
		ids = append(ids, fmt.Sprint(i))
	}
	faults.Push(t, b, ids...)
	shares := []int{
		statistic(t, one.Client(), "current-jobs-ready"),
		statistic(t, other.Client(), "current-jobs-ready"),
	}
	if shares[0] == 0 || shares[1] == 0 || shares[0]+shares[1] != jobs {
		t.Fatalf("the servers were given %v of %d jobs, want some each", shares, jobs)
	}
	one.Kill()
	there := faults.ReserveMany(t, b, shares[1], 30*time.Second, faults.Recovery)
	ack(t, b, there...)
	one.Restart()
	back := faults.ReserveMany(t, b, shares[0], 30*time.Second, faults.Recovery)
	ack(t, b, back...)
	seen := make(map[string]bool)
	for _, d := range append(there, back...) {
		if seen[d.ID] {
			t.Errorf("job %s came twice", d.ID)
		}
		seen[d.ID] = true
	}
}

func TestWithAllServersDownNothingIsTakenAndThatIsSaid(t *testing.T) {
	t.Parallel()
	one, _ := server(t)
	other, _ := server(t)
	address := at("lease=30s", one, other)
	b := faults.Open(t, address)
	faults.Push(t, b, "before")
	one.Kill()
	other.Kill()
	// The first call may have been made before the loss was noticed.
	faults.Eventually(t, faults.Recovery, func() error {
		if err := b.Push(t.Context(), []*backend.Message{faults.Message("refused")}); !errors.Is(err, backend.ErrUnavailable) {
			return fmt.Errorf("Push: %v; want %v", err, backend.ErrUnavailable)
		}
		return nil
	})
	if _, err := backend.Open(t.Context(), address); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Open: %v; want %v", err, backend.ErrUnavailable)
	}
	other.Restart()
	second := faults.Open(t, address) // one is enough
	faults.Push(t, second, "after")
	one.Restart()
	got := faults.ReserveMany(t, b, 2, 30*time.Second, faults.Recovery)
	ack(t, b, got...)
}
