package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// buryNumbered has so many jobs die, in their order.
func buryNumbered(t testing.TB, b backend.Backend, n int) []string {
	t.Helper()
	names := numbered(n)
	faults.Push(t, b, names...)
	bury(t, b, faults.ReserveMany(t, b, n, time.Minute, faults.Patience)...)
	return names
}

// peek returns a page of the dead.
func peek(t testing.TB, b backend.Backend, offset, limit int) []*backend.Entry {
	t.Helper()
	list, _ := backend.As[backend.Lister](b)
	entries, err := list.Peek(t.Context(), "default", backend.Dead, offset, limit)
	if err != nil {
		t.Fatalf("Peek: %v", err)
	}
	return entries
}

func idsOf(entries []*backend.Entry) []string {
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = e.ID
	}
	return all
}

func keysOf(entries []*backend.Entry) []string {
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = e.Key
	}
	return all
}

// readyIDs takes and acks all jobs of the queue "default".
func readyIDs(t testing.TB, b backend.Backend) []string {
	t.Helper()
	var all []string
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		deliveries, err := b.Reserve(ctx, []string{"default"}, 1000, time.Minute)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		ack(t, b, deliveries...)
		all = append(all, ids(deliveries)...)
	}
}

func TestAThousandDeadAreListedRequeuedAndDeletedByTheirKeys(t *testing.T) {
	t.Parallel()
	const n, page = 1000, 100
	b := faults.Open(t, place(t))
	names := buryNumbered(t, b, n)
	var entries []*backend.Entry
	for offset := 0; offset < n+page; offset += page {
		entries = append(entries, peek(t, b, offset, page)...)
	}
	if got := idsOf(entries); !slices.Equal(got, names) {
		t.Fatalf("the pages have %d jobs in another order than they died, or others", len(got))
	}
	keys := keysOf(entries)
	var requeue, remove, left []string
	var requeued []string
	for i := range names {
		switch i % 3 {
		case 0:
			requeue, requeued = append(requeue, keys[i]), append(requeued, names[i])
		case 1:
			remove = append(remove, keys[i])
		default:
			left = append(left, names[i])
		}
	}
	set, _ := backend.As[backend.DeadSet](b)
	if got, err := set.Requeue(t.Context(), "default", requeue...); got != len(requeue) || err != nil {
		t.Errorf("Requeue: %d, %v; want %d", got, err, len(requeue))
	}
	if got, err := set.Delete(t.Context(), "default", remove...); got != len(remove) || err != nil {
		t.Errorf("Delete: %d, %v; want %d", got, err, len(remove))
	}
	got := idsOf(peek(t, b, 0, n))
	expectEachOnce(t, got, left)
	if !slices.IsSorted(got) {
		t.Error("what is left is not in its old order")
	}
	expectEachOnce(t, readyIDs(t, b), requeued)
	if got, err := set.Requeue(t.Context(), "default", keys[n-2]); got != 1 || err != nil { // one alone, near the end
		t.Errorf("Requeue of one: %d, %v", got, err)
	}
	expectEachOnce(t, readyIDs(t, b), names[n-2:n-1])
}

func TestTwoPeopleAtOneDeadSetDoEachThingOnce(t *testing.T) {
	t.Parallel()
	const n = 200
	for _, c := range []struct {
		name   string
		first  func(backend.DeadSet, context.Context, string, ...string) (int, error)
		second func(backend.DeadSet, context.Context, string, ...string) (int, error)
	}{
		{"both requeue", backend.DeadSet.Requeue, backend.DeadSet.Requeue},
		{"one requeues and one deletes", backend.DeadSet.Requeue, backend.DeadSet.Delete},
		{"both delete", backend.DeadSet.Delete, backend.DeadSet.Delete},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := place(t)
			one, other := faults.Open(t, address), faults.Open(t, address)
			names := buryNumbered(t, one, n)
			keys := keysOf(peek(t, one, 0, n))
			var counts [2]int
			var people sync.WaitGroup
			for i, person := range []struct {
				b    backend.Backend
				do   func(backend.DeadSet, context.Context, string, ...string) (int, error)
				keys []string
			}{
				{one, c.first, keys[:n*3/4]},
				{other, c.second, keys[n/4:]},
			} {
				people.Go(func() {
					set, _ := backend.As[backend.DeadSet](person.b)
					for page := range slices.Chunk(person.keys, 30) {
						done, err := person.do(set, t.Context(), "default", page...)
						if err != nil {
							t.Errorf("person %d: %v", i, err)
						}
						counts[i] += done
					}
				})
			}
			// A third one looks on, who may see less but must not break it.
			looking, stop := context.WithCancel(t.Context())
			people.Go(func() {
				list, _ := backend.As[backend.Lister](one)
				for looking.Err() == nil {
					if _, err := list.Peek(t.Context(), "default", backend.Dead, 0, n); err != nil {
						t.Errorf("Peek meanwhile: %v", err)
						return
					}
				}
			})
			faults.Eventually(t, faults.Patience, func() error {
				inspector, _ := backend.As[backend.Inspector](other)
				stats, err := inspector.Stats(t.Context(), "default")
				if err == nil && stats.Dead != 0 {
					err = fmt.Errorf("%d are still dead", stats.Dead)
				}
				return err
			})
			stop()
			people.Wait()
			if sum := counts[0] + counts[1]; sum != n {
				t.Errorf("they count %d and %d, which is %d; want %d", counts[0], counts[1], sum, n)
			}
			ready := readyIDs(t, one)
			switch c.name {
			case "both requeue":
				expectEachOnce(t, ready, names)
			case "one requeues and one deletes":
				if len(ready) != counts[0] {
					t.Errorf("%d jobs were requeued, and %d are there", counts[0], len(ready))
				}
				slices.Sort(ready)
				if got := len(slices.Compact(ready)); got != counts[0] {
					t.Errorf("of %d jobs that were requeued %d are different", counts[0], got)
				}
			default:
				expectEachOnce(t, ready, nil)
			}
			if left := peek(t, other, 0, n); len(left) != 0 {
				t.Errorf("%d are still dead", len(left))
			}
		})
	}
}

func TestAPeekTakesNothingFromTheDeadHoweverOften(t *testing.T) {
	t.Parallel()
	const n, times = 50, 30
	address := place(t)
	b := faults.Open(t, address)
	names := buryNumbered(t, b, n)
	for i := range times {
		offset, limit := i%n, 1+i%7
		want := names[offset:min(offset+limit, n)]
		if got := idsOf(peek(t, b, offset, limit)); !slices.Equal(got, want) {
			t.Fatalf("the Peek %d, at %d, shows %q, want %q", i, offset, got, want)
		}
	}
	faults.Push(t, b, "last")
	bury(t, b, reserve(t, b, "default", faults.Patience))
	names = append(names, "last")
	entries := peek(t, faults.Open(t, address), 0, 1000)
	if got := idsOf(entries); !slices.Equal(got, names) {
		t.Fatalf("after %d times Peek the dead are %q, want %q", times, got, names)
	}
	for _, e := range entries {
		if e.Attempt != 1 || e.Failure == nil || e.State != backend.Dead {
			t.Fatalf("after %d times Peek an entry is %+v", times, e)
		}
	}
	set, _ := backend.As[backend.DeadSet](b)
	if got, err := set.Requeue(t.Context(), "default", keysOf(entries)...); got != len(names) || err != nil {
		t.Fatalf("Requeue: %d, %v; want %d", got, err, len(names))
	}
	for _, d := range faults.ReserveMany(t, b, len(names), time.Minute, faults.Patience) {
		if d.Attempt != 1 || d.Deliveries != 1 {
			t.Fatalf("after %d times Peek and a Requeue, job %s is in attempt %d, delivery %d; want its first", times, d.ID, d.Attempt, d.Deliveries)
		}
	}
}

// What a driver says when it publishes and when it settles: the class and the
// method of the frames. There may be frames with others that look so within.
const (
	basicPublish = "\x00\x3c\x00\x28"
	basicAck     = "\x00\x3c\x00\x50"
)

func TestAProcessThatDiesOverTheDeadSetLosesNoneOfThem(t *testing.T) {
	t.Parallel()
	const n = 20
	requeue := func(ctx context.Context, b backend.Backend, keys []string) {
		set, _ := backend.As[backend.DeadSet](b)
		set.Requeue(ctx, "default", keys...)
	}
	for _, c := range []struct {
		name string
		die  func(*faults.Proxy) <-chan struct{}
	}{
		{"before the copies are published", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore(basicPublish) }},
		{"before the copies are confirmed", func(p *faults.Proxy) <-chan struct{} { return p.DieAfter(basicPublish) }},
		{"before the originals are acked", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore(basicAck) }},
		{"after the originals are acked", func(p *faults.Proxy) <-chan struct{} { return p.DieAfter(basicAck) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := place(t)
			network := faults.NewProxy(t, address)
			there := faults.Open(t, address)
			names := buryNumbered(t, there, n)
			keys := keysOf(peek(t, there, 0, n))
			dying := faults.Open(t, with(network.URL(), "timeout", "500ms"))
			died := c.die(network)
			ctx, cancel := context.WithTimeout(t.Context(), faults.Recovery)
			defer cancel()
			requeue(ctx, dying, keys)
			faults.AwaitHarm(t, died)
			// Another goes on where it ended, also with what it held.
			ctx, cancel = context.WithTimeout(t.Context(), faults.Patience)
			defer cancel()
			for left := keys; len(left) > 0; left = keysOf(peek(t, there, 0, n)) {
				requeue(ctx, there, left)
				if err := ctx.Err(); err != nil {
					t.Fatalf("%d are still dead: %v", len(left), err)
				}
			}
			ready := readyIDs(t, there)
			if len(ready) > 2*n {
				t.Errorf("of %d jobs there are %d", n, len(ready))
			}
			slices.Sort(ready)
			expectEachOnce(t, slices.Compact(ready), names)
		})
	}
}

func TestAProcessThatDiesBeforeItDeletesHasDeletedNothing(t *testing.T) {
	t.Parallel()
	const n = 20
	address := place(t)
	network := faults.NewProxy(t, address)
	there := faults.Open(t, address)
	names := buryNumbered(t, there, n)
	keys := keysOf(peek(t, there, 0, n))
	dying := faults.Open(t, with(network.URL(), "timeout", "500ms"))
	died := network.DieBefore(basicAck)
	ctx, cancel := context.WithTimeout(t.Context(), faults.Recovery)
	defer cancel()
	set, _ := backend.As[backend.DeadSet](dying)
	set.Delete(ctx, "default", keys[:n/2]...)
	faults.AwaitHarm(t, died)
	faults.Eventually(t, faults.Patience, func() error {
		if got := idsOf(peek(t, there, 0, n)); !slices.Equal(got, names) {
			return fmt.Errorf("the dead are %q, want all", got)
		}
		return nil
	})
	set, _ = backend.As[backend.DeadSet](there)
	if got, err := set.Delete(t.Context(), "default", keys[:n/2]...); got != n/2 || err != nil {
		t.Errorf("Delete by another: %d, %v; want %d", got, err, n/2)
	}
}

func TestAProcessThatDiesOverABurialLeavesTheJob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		die   func(*faults.Proxy) <-chan struct{}
		least int // jobs that are ready again
	}{
		{"before the copy is published", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore(basicPublish) }, 1},
		{"before the copy is confirmed", func(p *faults.Proxy) <-chan struct{} { return p.DieAfter(basicPublish) }, 1},
		{"before the original is acked", func(p *faults.Proxy) <-chan struct{} { return p.DieBefore(basicAck) }, 1},
		{"after the original is acked", func(p *faults.Proxy) <-chan struct{} { return p.DieAfter(basicAck) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := place(t)
			network := faults.NewProxy(t, address)
			dying := faults.Open(t, with(network.URL(), "timeout", "500ms"))
			faults.Push(t, dying, "before")
			// Whatever is declared on the way is there.
			bury(t, dying, reserve(t, dying, "default", faults.Patience))
			faults.Push(t, dying, "a")
			d := reserve(t, dying, "default", faults.Patience)
			died := c.die(network)
			ctx, cancel := context.WithTimeout(t.Context(), faults.Recovery)
			defer cancel()
			faults.Bury(ctx, dying, d)
			faults.AwaitHarm(t, died)
			there := faults.Open(t, address)
			faults.Eventually(t, faults.Patience, func() error {
				inspector, _ := backend.As[backend.Inspector](there)
				stats, err := inspector.Stats(t.Context(), "default")
				switch {
				case err != nil:
					return err
				case stats.Ready < int64(c.least), stats.Ready+stats.Dead < 2:
					return fmt.Errorf("the server has %+v", stats)
				}
				return nil
			})
			if c.least == 1 {
				if d := reserve(t, there, "default", faults.Patience); d.ID != "a" || d.Deliveries != 2 || d.Attempt != 2 {
					t.Errorf("the job is %+v; want its second attempt", d)
				}
			}
		})
	}
}
