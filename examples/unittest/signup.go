// Package unittest shows how a service tests its jobs: signup.go is what a
// service may have, signup_test.go is how package queuetest tests it.
//
//	go test -v ./examples/unittest
//
// A new member gets a welcome at once and a reminder a day later. The tests
// check what is enqueued, run the handlers alone and by a queue, let a day
// pass in no time, and prove that nobody is welcomed twice.
package unittest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/retry"
)

// Mail is the arguments of our jobs.
type Mail struct{ To string }

// The kinds of our jobs.
const (
	WelcomeKind = "welcome"
	RemindKind  = "remind"
)

// ErrNoMailbox is the error of a Mailer for an address that does not exist.
var ErrNoMailbox = errors.New("no such mailbox")

// Mailer sends mail.
type Mailer interface {
	Send(ctx context.Context, to, text string) error
}

// Members signs people up, and is the handler of what follows from that.
type Members struct {
	Queue  *queue.Queue
	Mailer Mailer

	mu       sync.Mutex
	welcomed map[string]bool // guarded by mu; in a real service, a table
	visited  map[string]bool // guarded by mu
}

// Register makes m the handler of its jobs.
func (m *Members) Register(mux *queue.Mux) {
	queue.RegisterOn(mux, WelcomeKind, queue.HandlerFunc[Mail](m.welcome),
		queue.Retry(retry.Fixed(time.Minute).Max(3)))
	queue.RegisterOn(mux, RemindKind, queue.HandlerFunc[Mail](m.remind))
}

// SignUp enqueues a welcome for now and a reminder for tomorrow.
func (m *Members) SignUp(ctx context.Context, address string) error {
	_, err := m.Queue.EnqueueMany(ctx,
		queue.Request{Kind: WelcomeKind, Args: Mail{To: address}},
		queue.Request{Kind: RemindKind, Args: Mail{To: address}, Options: []queue.Option{queue.In(24 * time.Hour)}},
	)
	return err
}

// Visit notes that a member has come back.
func (m *Members) Visit(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.visited == nil {
		m.visited = make(map[string]bool)
	}
	m.visited[address] = true
}

// welcome may run twice for one job, and must not welcome twice.
func (m *Members) welcome(ctx context.Context, job *queue.Job[Mail]) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.welcomed[job.Args.To] {
		return nil
	}
	if err := m.Mailer.Send(ctx, job.Args.To, "Welcome!"); errors.Is(err, ErrNoMailbox) {
		return queue.Bury(err) // trying again would not help
	} else if err != nil {
		return fmt.Errorf("welcome: %w", err)
	}
	if m.welcomed == nil {
		m.welcomed = make(map[string]bool)
	}
	m.welcomed[job.Args.To] = true
	return nil
}

// remind does nothing for those who have come back by themselves.
func (m *Members) remind(ctx context.Context, job *queue.Job[Mail]) error {
	m.mu.Lock()
	visited := m.visited[job.Args.To]
	m.mu.Unlock()
	if visited {
		return queue.Cancel(errors.New("has come back"))
	}
	return m.Mailer.Send(ctx, job.Args.To, "We miss you.")
}
