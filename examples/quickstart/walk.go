package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goferhq/queue"
)

// batchSize is how many jobs go to the broker in one call.
const batchSize = 100

// enqueueFiles enqueues a job for each file below dir.
func enqueueFiles(ctx context.Context, q *queue.Queue, hashFile *queue.Kind[File], dir string, tally *tally) error {
	var batch []File
	flush := func() error {
		// Counted first: the jobs may be done before EnqueueMany returns.
		tally.enqueued(len(batch))
		_, err := hashFile.EnqueueMany(ctx, q, batch, queue.Header("run", tally.run))
		batch = batch[:0]
		return err
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && path == dir:
			return err
		case err != nil: // a directory that cannot be read
			tally.skip(path, err)
			return nil
		case entry.IsDir() && entry.Name() == ".git":
			return fs.SkipDir
		}
		wanted, err := isFile(path, entry)
		if err != nil {
			tally.skip(path, err)
		}
		if !wanted {
			return nil
		}
		batch = append(batch, newFile(path))
		if len(batch) < batchSize {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// isFile reports whether there is to be a job for an entry, and why not, where
// that is worth telling. A link stands for the file that it leads to; one that
// leads nowhere gets a job that fails. A link to a directory is passed over,
// so that links cannot make the walk go round in circles.
func isFile(path string, entry fs.DirEntry) (bool, error) {
	mode := entry.Type()
	if mode&fs.ModeSymlink != 0 {
		info, err := os.Stat(path)
		if err != nil {
			return true, nil
		}
		mode = info.Mode()
	}
	if mode.IsRegular() || mode.IsDir() {
		return mode.IsRegular(), nil
	}
	return false, errors.New("not a regular file")
}
