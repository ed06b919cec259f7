package queue

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/goferhq/queue/backend"
)

// pusher lets concurrent Enqueues share calls to the broker without a timer:
// while one call is in flight the next ones gather, and then go as one batch.
// A second call is made beside the first as soon as a batch has gathered that is
// worth it, so that neither the broker nor this process waits for the other.
// A lone call goes at once, on its caller's goroutine and context.
type pusher struct {
	backend backend.Backend
	most    int // messages of a batch

	mu      sync.Mutex
	calls   int         // in flight; whoever ends one calls next
	waiting []*pushCall // guarded by mu
}

// A second call is made when worthIt others wait, and no third: it would take
// more from the size of the batches than it brings.
const (
	maxCalls = 2
	worthIt  = 16
)

// pushCall is a call of push that waits for its turn.
type pushCall struct {
	ctx      context.Context
	messages []*backend.Message
	done     chan error // of capacity 1
}

func (p *pusher) push(ctx context.Context, messages []*backend.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return notSent(ctx)
	}
	p.mu.Lock()
	if p.calls == 0 {
		p.calls++
		p.mu.Unlock()
		defer p.next()
		return p.backend.Push(ctx, messages)
	}
	call := &pushCall{ctx, messages, make(chan error, 1)}
	p.waiting = append(p.waiting, call)
	if p.calls < maxCalls && len(p.waiting) >= worthIt {
		p.calls++
		go p.work(p.take())
	}
	p.mu.Unlock()
	select {
	case err := <-call.done:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, call); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return notSent(ctx)
	}
	return ctx.Err()
}

// notSent is the error of a call whose context ended before the broker had
// heard of it: that of the context, and one that says so.
func notSent(ctx context.Context) error {
	return fmt.Errorf("%w: %w", errNotSent, ctx.Err())
}

// next starts the calls that have gathered, if any.
func (p *pusher) next() {
	if calls := p.gathered(); calls != nil {
		go p.work(calls)
	}
}

func (p *pusher) work(calls []*pushCall) {
	for ; calls != nil; calls = p.gathered() {
		p.pushAll(calls)
		// Those that were waiting have their answer, but have not run yet. What
		// they enqueue next is to be in the next batch, not in that after it.
		runtime.Gosched()
	}
}

// gathered returns the calls of the next batch, or nil when the call that has
// ended needs no successor.
func (p *pusher) gathered() []*pushCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 || p.calls > 1 && len(p.waiting) < worthIt {
		p.calls--
		return nil
	}
	return p.take()
}

// take takes the calls of the next batch. The caller holds mu.
func (p *pusher) take() []*pushCall {
	n, size := 0, 0
	for n < len(p.waiting) && (n == 0 || size+len(p.waiting[n].messages) <= p.most) {
		size += len(p.waiting[n].messages)
		n++
	}
	calls := p.waiting[:n:n]
	p.waiting = p.waiting[n:]
	return calls
}

func (p *pusher) pushAll(calls []*pushCall) {
	ctx, cancel := contextOfAll(calls)
	defer cancel()
	var all []*backend.Message
	for _, call := range calls {
		all = append(all, call.messages...)
	}
	err := p.backend.Push(ctx, all)
	offset := 0
	for _, call := range calls {
		call.done <- errorOf(err, offset, len(call.messages))
		offset += len(call.messages)
	}
}

// errorOf returns the error of n messages of a batch.
func errorOf(err error, first, n int) error {
	if err == nil {
		return nil
	}
	errs := make([]error, n)
	for i := range errs {
		errs[i] = backend.ErrorAt(err, first+i)
	}
	return backend.NewBatchError(errs)
}

// contextOfAll returns a context that ends when that of every call has ended:
// one caller who gives up does not fail the others.
func contextOfAll(calls []*pushCall) (context.Context, context.CancelFunc) {
	for _, call := range calls {
		if call.ctx.Done() == nil {
			return context.Background(), func() {}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	left := len(calls)
	stops := make([]func() bool, len(calls))
	for i, call := range calls {
		stops[i] = context.AfterFunc(call.ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if left--; left == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
