package store_test

import (
	"context"
	"fmt"
	"time"

	"github.com/goferhq/queue/store"
)

func ExampleMemory_SetNX() {
	ctx := context.Background()
	s := store.NewMemory()
	defer s.Close()

	mine, _ := s.SetNX(ctx, "lock:report", []byte("worker 1"), time.Minute)
	theirs, _ := s.SetNX(ctx, "lock:report", []byte("worker 2"), time.Minute)
	fmt.Println(mine, theirs)

	released, _ := s.CompareAndDelete(ctx, "lock:report", []byte("worker 1"))
	fmt.Println(released)
	// Output:
	// true false
	// true
}
