// Quickstart hashes every file below a directory, one job a file: a pool of
// goroutines takes the jobs while the directory is still being walked, files
// that cannot be read are tried again, and what stays bad is buried.
//
//	go run ./examples/quickstart              # the current directory
//	go run ./examples/quickstart /usr/share   # another one
//	QUEUE_URL=redis://localhost go run ./examples/quickstart
//
// It shows how a kind of job gets its handler, options and retry policy
// (main.go), what a handler looks like (job.go), how jobs are enqueued in
// batches (walk.go), how hooks observe what becomes of them (tally.go), and
// how a program ends: Ctrl-C lets the jobs that run finish.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	_ "github.com/goferhq/queue/backend/all" // the brokers that QUEUE_URL may name
	"github.com/goferhq/queue/retry"
)

// queueName is a queue of our own: on a broker that others use as well we must
// not take their jobs.
const queueName = "quickstart"

// policy is in a hurry, for a demonstration: three attempts. In production
// leave it to the default, which spreads 25 attempts over 16 days.
var policy = retry.List(100*time.Millisecond, 300*time.Millisecond)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	dir, err := directory(args, stdout)
	if err != nil || dir == "" {
		return err
	}
	url := os.Getenv("QUEUE_URL")
	if url == "" {
		url = "memory://"
	}
	broker, _, _ := strings.Cut(url, ":") // the rest may hold a password

	tally := newTally(dir)
	mux := new(queue.Mux)
	hashFile := queue.RegisterOn(mux, "hash_file", &hasher{tally}, queue.On(queueName), queue.Retry(policy))
	q, err := queue.Open(ctx, url,
		queue.Handlers(mux),
		queue.Queues(queueName),
		queue.Shutdown(5*time.Second),
		queue.Hooks{AfterAttempt: tally.afterAttempt},
		queue.Logger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
		// The default chain would log each job that fails, which the table at
		// the end shows better.
		queue.UseOnly(queue.Retries(retry.Default()), queue.Recover()),
	)
	if err != nil {
		return err
	}
	defer q.Close()

	fmt.Fprintf(stdout, "Hashing the files below %s, one job each, on the broker %s.\n", printable(dir), broker)
	working, stop := context.WithCancel(ctx)
	defer stop()
	ran, walked := make(chan error, 1), make(chan error, 1)
	go func() { ran <- q.Run(working) }()
	go func() { walked <- enqueueFiles(working, q, hashFile, dir, tally) }()

	err = watch(ctx, q, tally, walked, ran, newProgress(stdout))
	stop() // Run lets the jobs that have begun finish
	if !errors.Is(err, errRunEnded) {
		err = errors.Join(err, <-ran)
	}
	tally.print(stdout)
	if left := tally.left(); ctx.Err() != nil && left > 0 {
		fate := "stay on the broker for the next run"
		if broker == "memory" {
			fate = "were in memory and are gone"
		}
		return errors.Join(err, fmt.Errorf("interrupted; %s of the jobs %s", count(left), fate))
	}
	return err
}

// directory returns the directory to walk, or "" when only help was wanted.
func directory(args []string, stdout io.Writer) (string, error) {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(stdout, "usage: quickstart [directory]\nQUEUE_URL names the broker; the default is memory://")
		return "", nil
	} else if err != nil {
		return "", err
	}
	if flags.NArg() > 1 {
		return "", fmt.Errorf("one directory at a time, not %d", flags.NArg())
	}
	dir := "."
	if flags.NArg() == 1 {
		dir = flags.Arg(0)
	}
	// Jobs may run in another process, with another working directory. The
	// walk does not follow links, but dir itself may be one.
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", printable(dir))
	}
	return dir, err
}

var errRunEnded = errors.New("the workers ended")

// watch shows progress until everything found is done or buried, ctx ends, or
// something fails.
func watch(ctx context.Context, q *queue.Queue, tally *tally, walked, ran <-chan error, show *progress) error {
	defer show.clear()
	ticker := time.NewTicker(show.every)
	defer ticker.Stop()
	silent := 0 // ticks without a job, while the broker holds none either
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ran:
			return fmt.Errorf("%w: %w", errRunEnded, err)
		case err := <-walked:
			if err != nil && ctx.Err() == nil {
				return err
			}
			walked = nil // never ready again
			tally.walkEnded()
		case <-tally.finished:
			return nil
		case <-ticker.C:
			if show.tick(tally) || walked != nil || !isEmpty(ctx, q) {
				silent = 0
			} else if silent++; silent > 20 {
				return fmt.Errorf("%s jobs were taken by another process that shares the queue", count(tally.left()))
			}
		}
	}
}

// isEmpty reports whether the broker holds no job to wait for.
func isEmpty(ctx context.Context, q *queue.Queue) bool {
	inspector, ok := backend.As[backend.Inspector](q.Backend())
	if !ok {
		return false
	}
	s, err := inspector.Stats(ctx, queueName)
	return err == nil && s.Ready == 0 && s.Scheduled == 0 && s.Reserved == 0
}
