// Webservice is a net/http service with a pool of workers beside it, in one
// process.
//
//	go run ./examples/webservice -addr localhost:8080
//	curl -i -d '{"title":"Sales","pages":50}' localhost:8080/jobs
//	curl localhost:8080/jobs/{id}              # state, progress, result
//	curl 'localhost:8080/jobs/{id}?wait=10s'   # the same, once it has finished
//
// It shows a handler that enqueues, a job that tells its progress and result,
// and above all the order of the end. On SIGTERM the server stops first, so
// that nothing more is enqueued, then the workers finish what they have begun,
// and the connection to the broker is closed last.
//
// QUEUE_URL picks the broker; the default, memory://, forgets waiting jobs
// when the process ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/goferhq/queue"
	_ "github.com/goferhq/queue/backend/all" // the brokers that QUEUE_URL may name
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	addr := flag.String("addr", "localhost:8080", "`host:port` to listen on; port 0 picks a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, *addr); err != nil {
		slog.Error("service failed", "error", err)
		os.Exit(1)
	}
}

// requestGrace is how long requests may take to end. Together with the grace
// of the workers it stays below the 30 s after which Kubernetes kills.
const (
	requestGrace = 5 * time.Second
	workerGrace  = 20 * time.Second
)

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	url := os.Getenv("QUEUE_URL")
	if url == "" {
		url = "memory://"
	}
	mux := new(queue.Mux)
	makeReport := queue.RegisterOn(mux, "make_report", queue.HandlerFunc[Report](makeReport),
		queue.Track(), queue.MaxAttempts(3), queue.Timeout(time.Minute))
	q, err := queue.Open(ctx, url, queue.Handlers(mux), queue.Workers(4), queue.Shutdown(workerGrace))
	if err != nil {
		return err
	}
	defer q.Close()

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           (&api{q, makeReport}).routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      mostWait + 10*time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
	slog.Info("listening", "addr", listener.Addr().String())

	// The workers must outlive the requests, and so they do not end with ctx.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	served, ran := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	go func() { ran <- q.Run(working) }()

	select {
	case <-ctx.Done():
		slog.Info("shutting down")
	case err = <-served:
		err = fmt.Errorf("server: %w", err)
	case err = <-ran:
		err = fmt.Errorf("workers: %w", err)
		ran <- nil // for the second look below
	}

	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestGrace)
	defer cancel()
	if late := server.Shutdown(ending); late != nil { // who still waits is cut off
		slog.Warn("requests were still open", "error", late)
		server.Close()
	}
	stop()
	return errors.Join(err, <-ran)
}
