package beanstalkd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/integration/faults"
	"github.com/goferhq/queue/retry"
)

// expectDraining fails the test unless err says that the server takes no jobs,
// and why.
func expectDraining(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "drain") {
		t.Errorf("%s: %v; want %v, and a word on drain mode", what, err, queue.ErrUnavailable)
	}
}

func TestAServerThatDrainsIsToldAtOpenAndFinishesWhatItHas(t *testing.T) {
	t.Parallel()
	server, _ := server(t)
	address := at("lease=30s", server)
	var mu sync.Mutex
	runs := make(map[int]int)
	failing := true
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "job", queue.HandlerFunc[int](func(_ context.Context, job *queue.Job[int]) error {
		mu.Lock()
		defer mu.Unlock()
		runs[job.Args]++
		return nil
	}))
	queue.RegisterOn(mux, "fails", queue.HandlerFunc[int](func(_ context.Context, job *queue.Job[int]) error {
		mu.Lock()
		defer mu.Unlock()
		runs[job.Args]++
		if failing {
			return errors.New("no luck")
		}
		return nil
	}), queue.Retry(retry.Fixed(time.Second)))
	q, err := queue.Open(t.Context(), address, queue.Handlers(mux), queue.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	const jobs = 100
	for i := range jobs {
		if _, err := q.Enqueue(t.Context(), "job", i); err != nil {
			t.Fatal(err)
		}
	}
	const unlucky = jobs
	if _, err := q.Enqueue(t.Context(), "fails", unlucky); err != nil {
		t.Fatal(err)
	}

	server.Drain()
	_, err = queue.Open(t.Context(), address, queue.Logger(slog.New(slog.DiscardHandler)))
	expectDraining(t, "Open", err)
	_, err = q.Enqueue(t.Context(), "job", 0)
	expectDraining(t, "Enqueue", err)
	_, err = q.EnqueueMany(t.Context(), queue.Request{Kind: "job", Args: 0}, queue.Request{Kind: "job", Args: 0})
	expectDraining(t, "EnqueueMany", err)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	faults.Eventually(t, faults.Patience, func() error {
		mu.Lock()
		defer mu.Unlock()
		for i := range jobs {
			if runs[i] != 1 {
				return fmt.Errorf("job %d has run %d times", i, runs[i])
			}
		}
		if runs[unlucky] == 0 {
			return errors.New("the job that fails has not run")
		}
		failing = false
		return nil
	})
	// The server lets nobody put it back with another attempt, and yet it is not
	// lost: it runs again, here or once the server is back.
	server.Restart()
	settledCounts(t, server.Client(), faults.Patience, counts{})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if runs[unlucky] < 2 {
		t.Errorf("the job that failed on a server that drained has run %d times", runs[unlucky])
	}
}

func TestOpenWarnsOfAServerWithoutBinlog(t *testing.T) {
	t.Parallel()
	warnings := func(options ...string) string {
		var log bytes.Buffer
		server := brokers.Beanstalkd(t, append([]string{"-f50"}, options...)...)
		q, err := queue.Open(t.Context(), server.URL(), queue.Logger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))))
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		return log.String()
	}
	without := warnings(brokers.WithoutBinlog)
	if strings.Count(without, "level=WARN") != 1 || !strings.Contains(without, "binlog") || !strings.Contains(without, "-b") {
		t.Errorf("the log of Open on a server without a binlog is %q; want a warning that tells of the option -b", without)
	}
	if with := warnings(); strings.Contains(with, "-b ") {
		t.Errorf("the log of Open on a server with a binlog is %q", with)
	}
}
