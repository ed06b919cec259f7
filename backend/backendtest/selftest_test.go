package backendtest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/backendtest"
	"github.com/goferhq/queue/backend/memory"
)

// mutant is a driver that breaks one rule, and the cases that show it.
type mutant struct {
	name   string
	breaks func(c *broken)
	fails  []string
}

var mutants = slices.Concat(coarseMutants, coarseManageMutants, deliveryMutants, settleMutants, leaseMutants, lifecycleMutants, manageMutants, removeMutants, allQueuesMutants)

func TestEachBrokenBackendFailsItsCasesAndNoOthers(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if len(m.fails) == 0 {
				t.Error("the mutant names no case that fails for it")
			}
			failsExactly(t, func() backendtest.Harness { return harness(m.breaks) }, m.fails...)
		})
	}
}

// failsExactly runs the suite and checks which cases fail, and that each says
// why that matters.
func failsExactly(t *testing.T, fresh func() backendtest.Harness, want ...string) {
	t.Helper()
	// One bubble for all cases: the race detector keeps 64 KB of each.
	synctest.Test(t, func(t *testing.T) {
		known := 0
		for _, c := range backendtest.Cases() {
			expected := slices.Contains(want, c.Name)
			if expected {
				known++
			}
			err := c.Run(t.Context(), fresh())
			failed := err != nil && !errors.Is(err, backendtest.ErrSkipped)
			switch {
			case expected && !failed:
				t.Errorf("%s does not fail (%v)", c.Name, err)
			case failed && !expected:
				t.Errorf("%s fails:\n%v", c.Name, err)
			case failed && !strings.HasSuffix(err.Error(), "\nWhy it matters: "+c.Why):
				t.Errorf("%s does not say why it matters:\n%v", c.Name, err)
			case failed && !strings.Contains(err.Error(), "\nWhat was done:\n\t"):
				t.Errorf("%s does not say what was done:\n%v", c.Name, err)
			}
		}
		if known != len(want) {
			t.Errorf("%d of the %d expected cases exist", known, len(want))
		}
		time.Sleep(2 * time.Hour) // until what hung has ended
	})
}

func TestMemoryFailsNoCase(t *testing.T) {
	failsExactly(t, func() backendtest.Harness { return harness(func(*broken) {}) })
}

func TestMemoryPassesOnRealTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	broker := memory.NewBroker()
	backendtest.Run(t, backendtest.Harness{
		Open:   func(context.Context) (backend.Backend, error) { return broker.Connect(), nil },
		PutRaw: broker.Connect().PutRaw,
		Fresh: func() backendtest.Harness {
			fresh := memory.NewBroker()
			return backendtest.Harness{
				Open:   func(context.Context) (backend.Backend, error) { return fresh.Connect(), nil },
				PutRaw: fresh.Connect().PutRaw,
				Lease:  2 * time.Second,
			}
		},
		Lease:   2 * time.Second,
		Without: []backendtest.Capability{backendtest.Checker},
	})
}

func TestEachCaseIsFailedBySomeBrokenBackend(t *testing.T) {
	failed := make(map[string]bool)
	for _, m := range mutants {
		for _, name := range m.fails {
			failed[name] = true
		}
	}
	for _, c := range backendtest.Cases() {
		// Those have tests of their own below.
		if strings.HasPrefix(c.Name, "capability/") || slices.Contains(c.Needs, backendtest.Checker) {
			continue
		}
		if !failed[c.Name] {
			t.Errorf("no broken backend fails %s", c.Name)
		}
	}
}

func TestEachCaseHasANameAReasonAndNoDouble(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range backendtest.Cases() {
		if group, rule, found := strings.Cut(c.Name, "/"); !found || group == "" || rule == "" || strings.ContainsAny(rule, "/ ") {
			t.Errorf("%q is not a name of the form group/rule", c.Name)
		}
		if seen[c.Name] {
			t.Errorf("%q stands twice", c.Name)
		}
		seen[c.Name] = true
		if !strings.HasSuffix(c.Why, ".") {
			t.Errorf("%s: the reason %q is not a sentence", c.Name, c.Why)
		}
	}
}

func TestACapabilityThatIsListedAndPresentFails(t *testing.T) {
	for _, c := range []backendtest.Capability{
		backendtest.Extender, backendtest.Inspector, backendtest.Lister, backendtest.DeadSet, backendtest.Remover,
		backendtest.Purger, backendtest.Pauser, backendtest.StoreProvider, backendtest.Priorities,
		backendtest.UniqueIDs, backendtest.AllQueues, backendtest.ForeignProducers, backendtest.Deliveries, backendtest.Leases,
	} {
		t.Run(string(c), func(t *testing.T) {
			failsExactly(t, func() backendtest.Harness {
				h := harness(func(*broken) {})
				h.Without = append(h.Without, c)
				return h
			}, "capability/"+string(c))
		})
	}
}

// bare hides the optional interfaces of a backend.
type bare struct{ backend.Backend }

// wrapped hides them too, but tells where to look.
type wrapped struct{ bare }

func (w wrapped) Unwrap() backend.Backend { return w.Backend }

// checked is a backend with a Checker.
type checked struct {
	wrapped
	warning string
}

func (c checked) Check(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return []string{c.warning}, nil
}

func wrapping(wrap func(backend.Backend) backend.Backend) backendtest.Harness {
	h := harness(func(*broken) {})
	open := h.Open
	h.Open = func(ctx context.Context) (backend.Backend, error) {
		b, err := open(ctx)
		return wrap(b), err
	}
	return h
}

func TestACapabilityThatIsMissingAndNotListedFails(t *testing.T) {
	failsExactly(t, func() backendtest.Harness {
		return wrapping(func(b backend.Backend) backend.Backend { return bare{b} })
	},
		"capability/Extender", "capability/Inspector", "capability/Lister", "capability/DeadSet", "capability/Remover",
		"capability/Purger", "capability/Pauser", "capability/StoreProvider", "capability/Priorities", "capability/UniqueIDs",
		"capability/AllQueues",
		// Without the limits nobody knows of them.
		"limits/let-a-large-message-through-whole",
		"limits/refuse-a-priority-that-is-too-high",
		"all-queues/are-unsupported-where-the-limits-lack-them",
	)
}

func TestACapabilityOfAWrappedBackendIsFound(t *testing.T) {
	failsExactly(t, func() backendtest.Harness {
		return wrapping(func(b backend.Backend) backend.Backend { return wrapped{bare{b}} })
	})
}

func TestAllQueuesWithoutAFreshBrokerFail(t *testing.T) {
	failsExactly(t, func() backendtest.Harness {
		h := harness(func(*broken) {})
		h.Fresh = nil
		return h
	}, "capability/AllQueues")
}

func TestAnEmptyWarningFails(t *testing.T) {
	checking := func(warning string) func() backendtest.Harness {
		return func() backendtest.Harness {
			h := wrapping(func(b backend.Backend) backend.Backend { return checked{wrapped{bare{b}}, warning} })
			h.Without = nil
			return h
		}
	}
	failsExactly(t, checking("the broker forgets"), "lifecycle/after-close-every-verb-fails") // Check here knows no Close
	failsExactly(t, checking(""), "lifecycle/after-close-every-verb-fails", "manage/check-returns-warnings")
}

func TestABrokerThatCannotBeOpenedFailsEveryCase(t *testing.T) {
	down := errors.New("connection refused")
	for _, c := range backendtest.Cases() {
		h := backendtest.Harness{Open: func(context.Context) (backend.Backend, error) { return nil, down }}
		h.Fresh = func() backendtest.Harness { return h }
		err := c.Run(t.Context(), h)
		if err == nil || !strings.Contains(err.Error(), down.Error()) {
			t.Errorf("%s returned %v, want an error that says %q", c.Name, err, down)
		}
	}
}
