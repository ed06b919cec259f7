package storetest_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/goferhq/queue/store"
	"github.com/goferhq/queue/store/storetest"
)

// broken is a store that breaks one rule, and the cases that must notice.
type broken struct {
	name  string
	alter func(s *altered)
	fails []string
}

func brokenStores() []broken {
	return slices.Concat(brokenValues, brokenExpiry, brokenLocks, brokenCounters, brokenList, brokenApply, brokenLifecycle, brokenWatch)
}

func TestASoundStorePasses(t *testing.T) {
	storetest.Run(t, storetest.Harness{Open: newServer().open, Synctest: true})
}

func TestABrokenStoreFailsExactlyTheCasesOfItsRule(t *testing.T) {
	for _, b := range brokenStores() {
		t.Run(b.name, func(t *testing.T) {
			server := newServer()
			expectFailures(t, b.fails, storetest.Harness{Open: func() (store.Store, error) {
				s := &altered{connection: server.connect()}
				b.alter(s)
				return s, nil
			}})
		})
	}
}

func TestAStoreWithKeysPerConnectionFailsTheCasesOfTwoConnections(t *testing.T) {
	open := func() (store.Store, error) { return store.NewMemory(), nil }
	expectFailures(t, []string{
		"values/other-connections-see-what-is-written",
		"locks/of-concurrent-setnx-one-succeeds",
		"counters/concurrent-incr-loses-no-count",
		"lifecycle/close-leaves-other-connections-alone",
		"watch/watch-tells-of-changes-by-other-connections",
	}, storetest.Harness{Open: open})
	expectFailures(t, nil, storetest.Harness{Open: open, Private: true})
}

func TestAStoreThatIsNoWatcherPasses(t *testing.T) {
	server := newServer()
	expectFailures(t, nil, storetest.Harness{Open: func() (store.Store, error) {
		return struct{ store.Store }{server.connect()}, nil
	}})
}

func TestAStoreThatCannotBeOpenedFailsEveryCase(t *testing.T) {
	refused := errors.New("connection refused")
	for _, c := range storetest.Cases() {
		err := c.Run(t.Context(), storetest.Harness{Open: func() (store.Store, error) { return nil, refused }})
		if !errors.Is(err, refused) {
			t.Errorf("%s: got the error %v, want one that wraps the harness's own", c.Name, err)
		}
	}
}

func TestEveryCaseIsFailedBySomeBrokenStore(t *testing.T) {
	failed := make(map[string]bool)
	for _, b := range brokenStores() {
		for _, name := range b.fails {
			failed[name] = true
		}
	}
	for _, c := range storetest.Cases() {
		// That one needs a store for each connection: it has a test of its own.
		if !failed[c.Name] && c.Name != "values/other-connections-see-what-is-written" {
			t.Errorf("no broken store shows that %s can fail", c.Name)
		}
	}
}

func TestNamesAreUniqueKebabAndEveryCaseSaysWhy(t *testing.T) {
	kebab := regexp.MustCompile(`^[a-z]+/[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := make(map[string]bool)
	for _, c := range storetest.Cases() {
		if seen[c.Name] || !kebab.MatchString(c.Name) {
			t.Errorf("the name %q is taken or not of the form group/the-rule", c.Name)
		}
		seen[c.Name] = true
		if !strings.HasSuffix(c.Why, ".") {
			t.Errorf("%s: %q is not a sentence", c.Name, c.Why)
		}
	}
}

func TestCasesLeaveNothingBehindAndTouchNoForeignKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer()
		foreign := server.connect()
		if err := foreign.Set(t.Context(), "status:1", []byte("foreign"), 0); err != nil {
			t.Fatal(err)
		}
		for _, c := range storetest.Cases() {
			if err := c.Run(t.Context(), storetest.Harness{Open: server.open}); err != nil {
				t.Fatal(err)
			}
		}
		items, err := foreign.List(t.Context(), "")
		if err != nil || len(items) != 1 || items[0].Key != "status:1" || string(items[0].Value) != "foreign" {
			t.Errorf("after the suite the store holds %q, %v, want the foreign key alone", items, err)
		}
	})
}

// expectFailures checks that on h the cases want fail, and no others.
func expectFailures(t *testing.T, want []string, h storetest.Harness) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		var got []string
		for _, c := range storetest.Cases() {
			err := c.Run(t.Context(), h)
			if err == nil {
				continue
			}
			got = append(got, c.Name)
			if !strings.HasSuffix(err.Error(), c.Why) {
				t.Errorf("%s: the error %q does not say why it matters", c.Name, err)
			}
			if !slices.Contains(want, c.Name) {
				t.Errorf("unexpected: %s: %v", c.Name, err)
			}
		}
		for _, name := range want {
			if !slices.Contains(got, name) {
				t.Errorf("%s passes, want it to fail", name)
			}
		}
	})
}
