package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"unicode/utf8"

	"github.com/goferhq/queue"
)

// File is what a job needs to know. It travels as JSON, which cannot carry
// every name that a file may have.
type File struct {
	Path  string
	Bytes []byte `json:",omitempty"` // of a path that is not UTF-8
}

func newFile(path string) File {
	if utf8.ValidString(path) {
		return File{Path: path}
	}
	return File{Bytes: []byte(path)}
}

func (f File) path() string {
	if f.Bytes != nil {
		return string(f.Bytes)
	}
	return f.Path
}

// hasher is the handler of hash_file. Running it twice for one job does no
// harm, as it should be.
type hasher struct{ tally *tally }

func (h *hasher) Handle(ctx context.Context, job *queue.Job[File]) error {
	s, err := hash(ctx, job.Args.path())
	if err == nil {
		h.tally.hashed(job.ID, s)
	}
	return err
}

// sum is what is known of a file that was read.
type sum struct {
	size, lines int64
	sha256      [sha256.Size]byte
}

// hash reads a file piece by piece, whatever its size, until ctx ends.
func hash(ctx context.Context, path string) (sum, error) {
	// Opening a named pipe would block, and /dev/zero has no end.
	info, err := os.Stat(path)
	if err != nil {
		return sum{}, err
	}
	if !info.Mode().IsRegular() {
		return sum{}, queue.Bury(errors.New("not a regular file")) // trying again is of no use
	}
	f, err := os.Open(path)
	if err != nil {
		return sum{}, err
	}
	defer f.Close()

	var s sum
	hash := sha256.New()
	buffer := make([]byte, 64<<10)
	last := byte('\n')
	for ctx.Err() == nil {
		n, err := f.Read(buffer)
		if n > 0 {
			hash.Write(buffer[:n])
			s.size += int64(n)
			s.lines += int64(bytes.Count(buffer[:n], []byte{'\n'}))
			last = buffer[n-1]
		}
		if errors.Is(err, io.EOF) {
			if last != '\n' {
				s.lines++
			}
			hash.Sum(s.sha256[:0])
			return s, nil
		}
		if err != nil {
			return sum{}, err
		}
	}
	return sum{}, context.Cause(ctx)
}
