package queue

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
)

// Mux maps kinds to handlers. The zero value is empty and ready for use. It
// is safe for concurrent use, also while a queue runs on it.
type Mux struct {
	mu    sync.Mutex // held while kinds is replaced
	kinds atomic.Pointer[map[string]*registration]
}

// DefaultMux is the one that Register and RegisterFunc add to, and that a
// queue uses unless it is opened with Handlers.
var DefaultMux = new(Mux)

// registration is a kind with its handler.
type registration struct {
	kind     string
	argsType reflect.Type
	defaults jobOptions
	handler  Handler[Raw]
}

// lookup returns the registration of a kind, or nil.
func (m *Mux) lookup(kind string) *registration {
	kinds := m.kinds.Load()
	if kinds == nil {
		return nil
	}
	return (*kinds)[kind]
}

// Handler returns the handler of a kind as a worker calls it inside of all
// middleware: it decodes the arguments and runs SetUp and TearDown. It is nil
// when the kind is not registered.
func (m *Mux) Handler(kind string) Handler[Raw] {
	if r := m.lookup(kind); r != nil {
		return r.handler
	}
	return nil
}

// Kinds returns the names of the registered kinds, sorted.
func (m *Mux) Kinds() []string {
	kinds := m.kinds.Load()
	if kinds == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(*kinds))
}

// queues returns the default queue and those that the registered kinds go to,
// sorted.
func (m *Mux) queues() []string {
	names := map[string]bool{DefaultQueue: true}
	if kinds := m.kinds.Load(); kinds != nil {
		for _, r := range *kinds {
			if r.defaults.queue != "" {
				names[r.defaults.queue] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (m *Mux) add(r *registration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kinds := make(map[string]*registration)
	if old := m.kinds.Load(); old != nil {
		maps.Copy(kinds, *old)
	}
	if _, taken := kinds[r.kind]; taken {
		panic("queue: multiple registrations of kind " + r.kind)
	}
	kinds[r.kind] = r
	m.kinds.Store(&kinds)
}

// Kind is a kind of job whose arguments are of type T. Its methods check them
// at compile time.
type Kind[T any] struct {
	name     string
	defaults jobOptions
}

// Register makes h the handler of a kind on [DefaultMux]. The type of the
// arguments is inferred from h:
//
//	queue.Register("send_email", &EmailHandler{})
//
// The options are the defaults of jobs of this kind. Register panics when the
// kind is empty or registered already, h is nil, or an option is invalid.
//
// What was enqueued from Go, or with one value from elsewhere, is decoded as
// [json.Unmarshal] does. Ruby and other languages also enqueue a list of
// arguments by position, and where the broker tells that one is such a list, T
// decides what becomes of it:
//
//   - A struct, or a pointer to one, takes the arguments into its exported
//     fields in their order; those with the tag json:"-" are passed over, and
//     an embedded struct is one field.
//   - A slice, an array, an interface and a [json.Unmarshaler], which [Raw] is,
//     take the list as it is.
//   - Any other type takes the only argument, and so does one with an
//     UnmarshalText, such as time.Time.
//
// Arguments that are missing leave zero values. A job with more than there is
// room for is buried with [ErrInvalidArgs].
func Register[T any](kind string, h Handler[T], options ...Option) *Kind[T] {
	return RegisterOn(DefaultMux, kind, h, options...)
}

// RegisterFunc makes f the handler of a kind on [DefaultMux]; see [Register].
func RegisterFunc[T any](kind string, f func(context.Context, *Job[T]) error, options ...Option) *Kind[T] {
	return RegisterFuncOn(DefaultMux, kind, f, options...)
}

// RegisterFuncOn makes f the handler of a kind on mux; see [Register].
func RegisterFuncOn[T any](mux *Mux, kind string, f func(context.Context, *Job[T]) error, options ...Option) *Kind[T] {
	if f == nil {
		panic("queue: nil handler for kind " + kind)
	}
	return RegisterOn(mux, kind, HandlerFunc[T](f), options...)
}

// RegisterOn makes h the handler of a kind on mux; see [Register].
func RegisterOn[T any](mux *Mux, kind string, h Handler[T], options ...Option) *Kind[T] {
	if isNil(h) {
		panic("queue: nil handler for kind " + kind)
	}
	k := &Kind[T]{name: kind, defaults: defaultsOf(kind, options)}
	mux.add(&registration{
		kind:     kind,
		argsType: reflect.TypeFor[T](),
		defaults: k.defaults,
		handler:  decoding(h),
	})
	return k
}

// Define names a kind that this process only enqueues; another one has its
// handler. The options are the defaults of jobs of this kind, and as there is
// no registration here to look them up, a Retry or a Timeout among them
// travels with each job. It panics as [Register] does, but a kind can be
// defined any number of times. Queue.Enqueue, which has only the name, does
// not know of it: use the methods of the Kind.
func Define[T any](kind string, options ...Option) *Kind[T] {
	defaults := defaultsOf(kind, options)
	defaults.travel()
	if defaults.err != nil {
		panic(fmt.Sprintf("queue: kind %s: %v", kind, defaults.err))
	}
	return &Kind[T]{name: kind, defaults: defaults}
}

func defaultsOf(kind string, options []Option) jobOptions {
	if kind == "" {
		panic("queue: empty kind")
	}
	if err := checkKind(kind); err != nil {
		panic(err.Error())
	}
	var defaults jobOptions
	defaults.apply(options)
	if defaults.err == nil && defaults.id != "" {
		defaults.err = fmt.Errorf("%w: ID cannot be the default of a kind", ErrInvalid)
	}
	if defaults.err != nil {
		panic(fmt.Sprintf("queue: kind %s: %v", kind, defaults.err))
	}
	return defaults
}

// isNil also sees the nil pointer or function in an interface.
func isNil(h any) bool {
	if h == nil {
		return true
	}
	v := reflect.ValueOf(h)
	switch v.Kind() {
	case reflect.Func, reflect.Pointer, reflect.Map, reflect.Slice, reflect.Chan, reflect.Interface:
		return v.IsNil()
	}
	return false
}

// Name returns the name of the kind.
func (k *Kind[T]) Name() string { return k.name }

// Enqueue adds a job of this kind to q; see [Queue.Enqueue].
func (k *Kind[T]) Enqueue(ctx context.Context, q *Queue, args T, options ...Option) (id string, err error) {
	return q.enqueue(ctx, k.name, args, k.defaults, options)
}

// EnqueueMany adds a job of this kind to q for each element of args, with the
// same options; see [Queue.EnqueueMany].
func (k *Kind[T]) EnqueueMany(ctx context.Context, q *Queue, args []T, options ...Option) ([]string, error) {
	return q.enqueueMany(ctx, len(args), func(i int) (string, any, jobOptions, []Option) {
		return k.name, args[i], k.defaults, options
	})
}
