package status_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
)

func Example() {
	ctx := context.Background()
	tracker := status.New(store.NewMemory(), status.Keep(time.Hour))

	// Who enqueues the job:
	err := tracker.Create(ctx, status.Record{ID: "42", Kind: "send_email", State: status.Ready})
	if err != nil {
		fmt.Println("the job runs all the same:", err)
	}

	// Who runs it, usually in another process:
	const attempt = 1
	tracker.Update("42", attempt, func(r *status.Record) {
		r.State = status.Running
	})
	tracker.Update("42", attempt, func(r *status.Record) {
		r.Progress = status.Progress{Done: 3, Total: 3}
	})
	tracker.Update("42", attempt, func(r *status.Record) {
		r.State = status.Done
		r.Result = json.RawMessage(`{"sent":3}`)
	})

	// Who waits for it:
	record, err := tracker.Wait(ctx, "42")
	fmt.Println(record.Kind, record.State, record.Progress.Done, string(record.Result), err)
	// Output: send_email done 3 {"sent":3} <nil>
}
