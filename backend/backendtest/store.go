package backendtest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/store"
)

var stores = []Case{
	{
		Name:  "keeps-what-is-set",
		Needs: []Capability{StoreProvider},
		Why:   "Status, locks and schedules of all processes meet in the broker's store. Package storetest looks at it more closely.",
		check: func(b *bench) {
			s, other := b.storeOf(b.A), b.storeOf(b.open())
			if s != b.storeOf(b.A) {
				b.fail("Store returned another store the second time")
			}
			key, value := fmt.Sprintf("backendtest/%s", b.name), []byte("a\x00b\xff")
			b.A.must("Set", s.Set(b.ctx, key, value, 0))
			got, err := other.Get(b.ctx, key)
			b.A.must("Get of another connection", err)
			if !bytes.Equal(got, value) {
				b.fail("Get of another connection returned %q, want %q", got, value)
			}
			deleted, err := s.CompareAndDelete(b.ctx, key, value)
			if err != nil || !deleted {
				b.fail("CompareAndDelete returned %v and %s, want true", deleted, outcome(err))
			}
			if _, err := other.Get(b.ctx, key); !errors.Is(err, store.ErrNotFound) {
				b.fail("Get of a deleted key returned %s, want an error that is %q", outcome(err), store.ErrNotFound)
			}
		},
	},
	{
		Name:  "outlives-the-close-of-another-connection",
		Needs: []Capability{StoreProvider},
		Why:   "Closing a backend lets go of its store. Its neighbours go on using theirs.",
		check: func(b *bench) {
			s, other := b.storeOf(b.A), b.open()
			b.storeOf(other)
			other.close()
			b.A.must("Set after the Close of another connection", s.Set(b.ctx, "backendtest/"+b.name, nil, 0))
		},
	},
}

func (b *bench) storeOf(c *conn) store.Store {
	provider, _ := backend.As[backend.StoreProvider](c.Backend)
	s := provider.Store()
	if s == nil {
		b.fail("Store returned nil")
	}
	return s
}
