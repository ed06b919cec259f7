package rabbitmq_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

// A channel numbers what it delivers, from 1 on. Who settles by a number of an
// old channel on a new one settles the job of somebody else, or ends the channel.
func TestLateSettlementsDisturbNobody(t *testing.T) {
	t.Parallel()
	for kind, parameters := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			address := with(place(t), parameters...)
			network := faults.NewProxy(t, address)
			b := faults.Open(t, network.URL())
			notifier, losses := told(t, b)
			const jobs = 10
			names := numbered(jobs)
			faults.Push(t, b, names...)
			late := faults.ReserveMany(t, b, jobs, time.Minute, faults.Patience)
			network.CutAll()
			awaitLost(t, notifier, losses, late...)
			again := faults.ReserveMany(t, b, jobs, time.Minute, recovery)
			expectEachOnce(t, ids(again), names)

			// In one batch with others, as a worker settles them.
			err := b.Ack(t.Context(), slices.Concat(late[:5], again[:2], late[5:]))
			for i := range jobs + 2 {
				want := backend.ErrLeaseLost
				if i == 5 || i == 6 {
					want = nil
				}
				if err := backend.ErrorAt(err, i); !errors.Is(err, want) {
					t.Errorf("of a batch number %d: %v, want %v", i, err, want)
				}
			}
			for _, s := range settlements() {
				if err := backend.ErrorAt(s.Settle(t.Context(), b, again[0]), 0); !errors.Is(err, backend.ErrLeaseLost) {
					t.Errorf("%s after an Ack: %v, want %v", s.Name, err, backend.ErrLeaseLost)
				}
			}
			// The channel is still there, with all that came over it.
			kept := again[2]
			ack(t, b, again[3:]...)
			faults.Push(t, b, "after")
			last := faults.Reserve(t, b, time.Minute, faults.Patience)
			if last.ID != "after" || last.Deliveries != 1 {
				t.Errorf("the last job is %s, delivery %d; want the first of that after the others", last.ID, last.Deliveries)
			}
			if notifier.Lost(kept) {
				t.Error("late settlements have cost the channel")
			}
			ack(t, b, kept, last)
			watch(t, address).awaitEmpty()
		})
	}
}
