// Package storetest is the suite that every [store.Store] passes. The author
// of one runs it in a test of their own:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Harness{
//			Open: func() (store.Store, error) { return mystore.Open("localhost:1234") },
//		})
//	}
//
// Each case checks one sentence of the contract and, when it fails, says what
// the store did and what that would break. The suite writes only keys of its
// own, and deletes them afterwards, so a server that others use will do.
//
// What no suite can provoke from outside is left to the author: that a call
// under way returns promptly when its context ends, and what happens when the
// connection breaks.
package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/store"
)

// Harness tells the suite how to reach the store under test.
type Harness struct {
	// Open connects to the store. Every call reaches the same keys, unless
	// Private is set; what else is stored there is left alone. The suite
	// closes what it opens, and calls Open several times for a case.
	Open func() (store.Store, error)

	// Private says that every Open makes a store with keys of its own, as
	// [store.NewMemory] does. Cases that would use two connections make do
	// with one, and so show less.
	Private bool

	// Synctest makes [Run] run every case within testing/synctest, so that
	// waiting for keys to expire costs nothing. It needs a store that lives in
	// this process and opens no connection. Without it the whole suite takes
	// about four seconds.
	Synctest bool
}

// Case is one rule that a store must keep.
type Case struct {
	// Name is the group and the rule, such as
	// "counters/incr-keeps-the-time-to-live-it-finds".
	Name string

	// Why says what breaks on a store that does not keep the rule.
	Why string

	// Run opens the store and checks the rule. It returns nil when the rule is
	// kept, and otherwise an error that says what happened and ends in Why.
	Run func(ctx context.Context, h Harness) error
}

// Run checks every case in a subtest of t.
func Run(t *testing.T, h Harness) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			check := func(t *testing.T) {
				if err := c.Run(t.Context(), h); err != nil {
					t.Error(err)
				}
			}
			if h.Synctest {
				synctest.Test(t, check)
			} else {
				check(t)
			}
		})
	}
}

// Cases returns every case, for those who want to run them without a
// [testing.T]. They are independent of each other.
func Cases() []Case {
	var all []Case
	for _, group := range []struct {
		name  string
		rules []rule
	}{
		{"values", values},
		{"expiry", expiry},
		{"locks", locks},
		{"counters", counters},
		{"list", list},
		{"apply", apply},
		{"lifecycle", lifecycle},
		{"watch", watch},
	} {
		for _, r := range group.rules {
			all = append(all, r.asCase(group.name))
		}
	}
	return all
}

// rule is a case before it is tied to a harness.
type rule struct {
	name  string
	why   string
	check func(ctx context.Context, b *bench) error
}

// caseTimeout ends a case on a store that hangs. The slowest takes a second.
const caseTimeout = 30 * time.Second

func (r rule) asCase(group string) Case {
	return Case{
		Name: group + "/" + r.name,
		Why:  r.why,
		Run: func(ctx context.Context, h Harness) error {
			ctx, cancel := context.WithTimeout(ctx, caseTimeout)
			defer cancel()
			b, err := newBench(h, group+"/"+r.name)
			if err != nil {
				return err
			}
			defer b.clear(ctx)
			if err := r.check(ctx, b); err != nil {
				return fmt.Errorf("%w\nWhy it matters: %s", err, r.why)
			}
			return nil
		},
	}
}

// bench is what a case works on: a connection, and keys that are its own.
type bench struct {
	store.Store
	harness Harness
	prefix  string
	opened  []store.Store
}

func newBench(h Harness, name string) (*bench, error) {
	b := &bench{harness: h, prefix: "storetest/" + rand.Text() + "/" + name + "/"}
	s, err := b.open()
	b.Store = s
	return b, err
}

func (b *bench) open() (store.Store, error) {
	s, err := b.harness.Open()
	if err != nil {
		return nil, fmt.Errorf("the harness could not open the store: %w", err)
	}
	b.opened = append(b.opened, s)
	return s, nil
}

// second returns another connection to the same keys, or the first one where
// there can be no other.
func (b *bench) second() (store.Store, error) {
	if b.harness.Private {
		return b.Store, nil
	}
	return b.open()
}

func (b *bench) key(name string) string { return b.prefix + name }

// clear deletes the keys of the case and closes its connections. It is no part
// of the check: errors show up in the cases that look for them.
func (b *bench) clear(ctx context.Context) {
	defer func() {
		for _, s := range b.opened {
			s.Close()
		}
	}()
	if b.harness.Private {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), caseTimeout)
	defer cancel()
	s, err := b.open()
	if err != nil {
		return
	}
	items, err := s.List(ctx, b.prefix)
	if err != nil {
		return
	}
	var ops []store.Op
	for _, item := range items {
		// A broken List may return what belongs to others.
		if strings.HasPrefix(item.Key, b.prefix) {
			ops = append(ops, store.Op{Verb: store.OpDelete, Key: item.Key})
		}
	}
	if len(ops) > 0 {
		s.Apply(ctx, ops)
	}
}
