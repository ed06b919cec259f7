// Package losses keeps the functions that drivers call when leases are lost;
// see [github.com/goferhq/queue/backend.LossNotifier].
package losses

import (
	"slices"
	"sync"
)

// Listeners are functions to be called after each loss. The zero value has
// none and is ready to use. It is safe for concurrent use.
type Listeners struct {
	mu  sync.Mutex
	all []*func() // guarded by mu; a pointer tells one Add from another of the same function
}

// Add has f called by every Tell until stop is called. Calling stop again does
// nothing. It does not wait: a Tell in progress may still call f.
func (l *Listeners) Add(f func()) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, &f)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = slices.DeleteFunc(l.all, func(other *func()) bool { return other == &f })
	}
}

// Tell calls the functions, one after the other, in this goroutine. It holds no
// lock meanwhile: each may call Add, stop and Tell.
func (l *Listeners) Tell() {
	l.mu.Lock()
	all := slices.Clone(l.all)
	l.mu.Unlock()
	for _, f := range all {
		(*f)()
	}
}
