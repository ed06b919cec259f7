package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// answering returns a wire to a server that answers a request of a size.
func answering(t *testing.T, size int, answer string) *wire {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	go func() {
		defer far.Close()
		if _, err := io.ReadFull(far, make([]byte, size)); err == nil {
			io.WriteString(far, answer)
		}
	}()
	return newWire(near, &goredis.Options{ReadTimeout: time.Minute, WriteTimeout: time.Minute})
}

func TestATransactionIsAnsweredInTheWordsOfRedis(t *testing.T) {
	for name, c := range map[string]struct {
		answer   string // of lines, each ended by a bar
		failures [2]string
		refusal  string
		open     bool
	}{
		"done":                        {answer: "+OK|+QUEUED|+QUEUED|*2|:1|+OK|"},
		"one command failed":          {answer: "+OK|+QUEUED|+QUEUED|*2|-WRONGTYPE no list|+OK|", failures: [2]string{"WRONGTYPE no list", ""}},
		"all commands failed":         {answer: "+OK|+QUEUED|+QUEUED|*2|-A|-B|", failures: [2]string{"A", "B"}},
		"a command was refused":       {answer: "+OK|+QUEUED|-OOM full|-EXECABORT discarded|", refusal: "OOM full"},
		"the whole was refused":       {answer: "+OK|+QUEUED|+QUEUED|-EXECABORT discarded|", refusal: "EXECABORT discarded"},
		"every word was refused":      {answer: "-NOAUTH who?|-NOAUTH who?|-NOAUTH who?|-NOAUTH who?|", refusal: "NOAUTH who?"},
		"done although MULTI was not": {answer: "-NOPERM no multi|:1|+OK|-ERR EXEC without MULTI|", open: true},
		"done although it was not":    {answer: "+OK|-OOM full|+QUEUED|*1|", open: true},
		"the end is missing":          {answer: "+OK|+QUEUED|+QUEUED|*2|:1|", open: true},
		"all is missing":              {answer: "", open: true},
		"no line":                     {answer: "+OK|+QUEUED|\n", open: true},
		"another protocol":            {answer: "HTTP/1.1 400 Bad Request|", open: true},
	} {
		t.Run(name, func(t *testing.T) {
			var m transaction
			m.begin()
			m.command(part{0, 1}, "RPUSH", "list", "a", "b")
			m.command(part{}, "SET", "key", "")
			w := answering(t, len(m.text)+len("*1\r\n$4\r\nEXEC\r\n"), strings.ReplaceAll(c.answer, "|", "\r\n"))
			failures, err := w.exec(&m, time.Now())
			if open := isOpen(err); open != c.open {
				t.Errorf("the error %v leaves open what was done: %t, want %t", err, open, c.open)
			}
			if _, replied := errors.AsType[goredis.Error](err); replied != (c.refusal != "") || replied && err.Error() != c.refusal {
				t.Errorf("refused with %v, want %q", err, c.refusal)
			}
			for i, want := range c.failures {
				if got := at(failures, i); got != want {
					t.Errorf("command %d failed with %q, want %q", i, got, want)
				}
			}
		})
	}
}

func at(errs []error, i int) string {
	if errs == nil || errs[i] == nil {
		return ""
	}
	return errs[i].Error()
}

func TestATransactionIsWrittenInTheWordsOfRedis(t *testing.T) {
	var m transaction
	for range 2 { // the memory of the first is that of the second
		m.begin()
		m.open(part{0, 2}, 4)
		m.argument("RPUSH")
		m.argument("resque:", "queue:", "default")
		m.argument("")
		m.argument("ä\r\n")
		m.command(part{}, "SET", "key", "1")
		m.end()
	}
	want := "*1|$5|MULTI|*4|$5|RPUSH|$20|resque:queue:default|$0||$4|ä||*3|$3|SET|$3|key|$1|1|*1|$4|EXEC|"
	if got := strings.ReplaceAll(string(m.text), "\r\n", "|"); got != want {
		t.Errorf("wrote %s, want %s", got, want)
	}
	if len(m.parts) != 2 || m.parts[0] != (part{0, 2}) || m.parts[1] != (part{}) {
		t.Errorf("its parts are %v", m.parts)
	}
}

// A server that says nothing is waited for as long as the client would, also
// by the call after one that has set a deadline.
func TestATransactionWaitsForAsLongAsTheClient(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go io.Copy(io.Discard, far)
	w := newWire(near, &goredis.Options{ReadTimeout: 50 * time.Millisecond, WriteTimeout: time.Minute})
	for range 2 {
		var m transaction
		m.begin()
		began := time.Now()
		if _, err := w.exec(&m, began); !isOpen(err) || time.Since(began) < 40*time.Millisecond {
			t.Errorf("%v after %v; want a timeout after 50 ms", err, time.Since(began))
		}
	}
}

func TestAWireIsFoundByItsOwnRequestOnly(t *testing.T) {
	var w wires
	dial := w.watch(func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close() })
		go io.Copy(io.Discard, far)
		return near, nil
	})
	mine, _ := dial(t.Context(), "", "")
	other, _ := dial(t.Context(), "", "")
	w.sought = map[string]net.Conn{"PING 1": nil}
	w.looking.Add(1)
	io.WriteString(mine, "PING 1")
	io.WriteString(other, "PING 11")
	io.WriteString(other, "PING 2")
	if found := w.sought["PING 1"]; found != mine.(*watched).Conn {
		t.Errorf("found %v", found)
	}
	if len(w.sought) != 1 {
		t.Errorf("%d requests are sought, want 1", len(w.sought))
	}
}
