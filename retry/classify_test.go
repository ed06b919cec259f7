package retry_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"
	"time"

	"github.com/goferhq/queue/retry"
)

func TestIfPassesTheWholeAttemptOn(t *testing.T) {
	attempt := retry.Attempt{Number: 3, Elapsed: time.Hour, Err: io.EOF}
	var seen retry.Attempt
	record := retry.PolicyFunc(func(a retry.Attempt) (time.Duration, bool) {
		seen = a
		return 7 * time.Second, true
	})
	for _, policy := range []retry.Policy{
		retry.If(retry.Is(io.EOF), record, retry.Never()),
		retry.If(retry.Is(fs.ErrNotExist), retry.Never(), record),
	} {
		seen = retry.Attempt{}
		if delay, ok := policy.Next(attempt); delay != 7*time.Second || !ok {
			t.Errorf("Next = %v, %v, want 7s, true", delay, ok)
		}
		if seen != attempt {
			t.Errorf("the policy saw %+v, want %+v", seen, attempt)
		}
	}
}

func TestIsAndAsMatchWrappedErrors(t *testing.T) {
	pathError := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}
	tests := []struct {
		name  string
		match func(error) bool
		err   error
		want  bool
	}{
		{"Is the target", retry.Is(io.EOF), io.EOF, true},
		{"Is one of two targets", retry.Is(io.EOF, fs.ErrNotExist), fs.ErrNotExist, true},
		{"Is wrapped", retry.Is(io.EOF), fmt.Errorf("read: %w", io.EOF), true},
		{"Is joined", retry.Is(io.EOF), errors.Join(fs.ErrExist, io.EOF), true},
		{"Is another", retry.Is(io.EOF), io.ErrUnexpectedEOF, false},
		{"Is without targets", retry.Is(), io.EOF, false},
		{"Is without an error", retry.Is(io.EOF), nil, false},
		{"As the type", retry.As[*fs.PathError](), pathError, true},
		{"As wrapped", retry.As[*fs.PathError](), fmt.Errorf("job: %w", pathError), true},
		{"As an interface", retry.As[interface {
			error
			Timeout() bool
		}](), pathError, true},
		{"As another", retry.As[*fs.PathError](), io.EOF, false},
		{"As without an error", retry.As[*fs.PathError](), nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.match(test.err); got != test.want {
				t.Errorf("match(%v) = %v, want %v", test.err, got, test.want)
			}
		})
	}
}

func TestIsKeepsItsTargetsWhenTheCallerChangesTheirs(t *testing.T) {
	targets := []error{io.EOF}
	match := retry.Is(targets...)
	targets[0] = fs.ErrExist
	if !match(io.EOF) || match(fs.ErrExist) {
		t.Error("the match changed with the slice")
	}
}
