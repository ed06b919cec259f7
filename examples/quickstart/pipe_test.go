//go:build unix

package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/queuetest"
)

func TestNamedPipesDoNotBlock(t *testing.T) {
	dir := write(t, map[string]string{"file": "x\n"})
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Skip(err)
	}
	link(t, "pipe", filepath.Join(dir, "to-pipe"))
	expectLines(t, hashAll(t, dir),
		"total 1 1 2 B",
		"skipped 0 not a regular file pipe",
		"skipped 0 not a regular file to-pipe",
	)

	// It may also take the place of a file after the walk.
	err := queuetest.Perform(t.Context(), &hasher{newTally(dir)}, newFile(pipe))
	if verdict, _ := queue.VerdictOf(err); verdict != queue.Buried {
		t.Errorf("hashing a pipe returned %v", err)
	}
}

func TestAnEndlessFileDoesNotOutliveItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endless")
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(1 << 40) // a hole: it takes no space
		f.Close()
	}
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(queue.ErrShutdown)
	if err := queuetest.Perform(ctx, &hasher{newTally("")}, newFile(path)); err != queue.ErrShutdown {
		t.Errorf("hashing returned %v, want ErrShutdown", err)
	}
}
