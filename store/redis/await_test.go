package redis

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/store"
)

// mute is a server that answers nothing.
func mute() *server {
	return &server{answer: func(net.Conn, []string) string { return "" }}
}

func TestACallReturnsWhenItsContextEnds(t *testing.T) {
	for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
		t.Run(want.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := mute().client(t)
				s := New(client, "")
				value := []byte("value")
				for method, call := range map[string]func(context.Context) error{
					"Get":    func(ctx context.Context) error { _, err := s.Get(ctx, "key"); return err },
					"Set":    func(ctx context.Context) error { return s.Set(ctx, "key", value, 0) },
					"SetNX":  func(ctx context.Context) error { _, err := s.SetNX(ctx, "key", value, 0); return err },
					"Incr":   func(ctx context.Context) error { _, err := s.Incr(ctx, "key", 1, 0); return err },
					"List":   func(ctx context.Context) error { _, err := s.List(ctx, "key"); return err },
					"Delete": func(ctx context.Context) error { _, err := s.CompareAndDelete(ctx, "key", value); return err },
					"Apply": func(ctx context.Context) error {
						_, err := s.Apply(ctx, []store.Op{{Verb: store.OpSet, Key: "key", Value: value}})
						return err
					},
				} {
					const limit = time.Second
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					if want == context.Canceled {
						ctx, cancel = context.WithCancel(t.Context())
						time.AfterFunc(limit, cancel)
					}
					start := time.Now()
					err := call(ctx)
					if took := time.Since(start); took != limit {
						t.Errorf("%s returned after %v, its context ended after %v", method, took, limit)
					}
					if !errors.Is(err, want) {
						t.Errorf("%s: %v, want an error that is %q", method, err, want)
					}
					cancel()
					copy(value, "other") // The race detector tells whether the abandoned call still reads it.
				}
				client.Close() // ends what was abandoned
			})
		})
	}
}

func TestAWriteIsSentOnce(t *testing.T) {
	for _, test := range []struct {
		write func(context.Context, *Store) error
		want  []string
	}{
		{func(ctx context.Context, s *Store) error { return s.Set(ctx, "key", nil, 0) }, []string{"set"}},
		{func(ctx context.Context, s *Store) error { _, err := s.SetNX(ctx, "key", nil, 0); return err }, []string{"evalsha"}},
		{func(ctx context.Context, s *Store) error { _, err := s.Incr(ctx, "key", 1, 0); return err }, []string{"evalsha"}},
		{func(ctx context.Context, s *Store) error { _, err := s.CompareAndDelete(ctx, "key", nil); return err }, []string{"evalsha"}},
		{func(ctx context.Context, s *Store) error {
			_, err := s.Apply(ctx, []store.Op{{Verb: store.OpGet, Key: "key"}, {Verb: store.OpIncr, Key: "key"}})
			return err
		}, []string{"get", "eval"}},
		{func(ctx context.Context, s *Store) error {
			_, err := s.Apply(ctx, []store.Op{{Verb: store.OpDelete, Key: "key"}})
			return err
		}, []string{"del"}},
	} {
		for _, cluster := range []bool{false, true} {
			// Like a server that crashes when it has done what it was asked,
			// and is back at once. A read before a write is answered.
			crashing := &server{answer: func(_ net.Conn, command []string) string {
				if len(test.want) == 2 && command[0] == "get" {
					return "$-1\r\n"
				}
				return hangUp
			}}
			var client redis.UniversalClient = crashing.client(t)
			if cluster {
				client = crashing.cluster(t)
			}
			if err := test.write(t.Context(), New(client, "")); err == nil {
				t.Errorf("%q succeeded although the server hung up", test.want)
			}
			if got := crashing.commands(); !slices.Equal(got, test.want) {
				t.Errorf("on a cluster: %v: the server got %q, want %q", cluster, got, test.want)
			}
		}
	}
}

func TestAReadIsSentAgain(t *testing.T) {
	crashing := &server{answer: func(net.Conn, []string) string { return hangUp }}
	_, err := New(crashing.client(t), "").Get(t.Context(), "key")
	if got := crashing.commands(); err == nil || len(got) != 3 {
		t.Errorf("with two retries the server got %q, and Get returned %v", got, err)
	}
}

func TestAScriptThatTheServerForgotIsSentInFull(t *testing.T) {
	var source string
	forgetful := &server{answer: func(_ net.Conn, command []string) string {
		if command[0] == "evalsha" {
			return "-NOSCRIPT No matching script. Please use EVAL.\r\n"
		}
		source = command[1]
		return ":1\r\n"
	}}
	s := New(forgetful.client(t), "")
	stored, err := s.SetNX(t.Context(), "key", []byte("value"), 0)
	if err != nil || !stored || source != setNX.source {
		t.Errorf("SetNX returned %v, %v, and sent the script %q", stored, err, source)
	}
	if got, want := forgetful.commands(), []string{"evalsha", "eval"}; !slices.Equal(got, want) {
		t.Errorf("the server got %q, want %q", got, want)
	}
}

func TestAnErrorOfTheServerIsThatOfTheBatch(t *testing.T) {
	full := &server{answer: func(_ net.Conn, command []string) string {
		switch command[0] {
		case "get":
			return "$5\r\nvalue\r\n"
		case "publish":
			return ":0\r\n"
		}
		return "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
	}}
	s := New(full.client(t), "")
	results, err := s.Apply(t.Context(), []store.Op{{Verb: store.OpGet, Key: "key"}, {Verb: store.OpSet, Key: "key"}})
	if err == nil || results != nil {
		t.Errorf("Apply on a server without memory returned %v, %v", results, err)
	}
	const want = `store: redis: set "key": OOM command not allowed when used memory > 'maxmemory'.`
	if err := s.Set(t.Context(), "key", nil, 0); err == nil || err.Error() != want {
		t.Errorf("Set on a server without memory: %v, want %s", err, want)
	}
}

func TestAChangeIsPublishedOnceItIsMade(t *testing.T) {
	fine := &server{answer: func(net.Conn, []string) string { return ":1\r\n" }}
	s := New(fine.client(t), "app:")
	_, err := s.Apply(t.Context(), []store.Op{
		{Verb: store.OpSet, Key: "a"},
		{Verb: store.OpGet, Key: "a"},
		{Verb: store.OpDelete, Key: "b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fine.commands(), []string{"set", "publish", "get", "del", "publish"}; !slices.Equal(got, want) {
		t.Errorf("the server got %q, want %q", got, want)
	}
}
