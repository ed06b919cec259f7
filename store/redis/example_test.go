package redis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	redisstore "github.com/goferhq/queue/store/redis"
)

// A lock that any number of processes compete for.
func Example() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", MaxRetries: -1})
	defer client.Close()
	s := redisstore.New(client, "{app}:")
	defer s.Close()

	ctx := context.Background()
	mine, err := s.SetNX(ctx, "lock:report", []byte("worker 1"), time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("got the lock:", mine)
	if mine {
		s.CompareAndDelete(ctx, "lock:report", []byte("worker 1"))
	}
}

// Waiting for a key without asking again and again.
func ExampleStore_Watch() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", MaxRetries: -1})
	defer client.Close()
	s := redisstore.New(client, "{app}:")
	defer s.Close()

	changed := make(chan struct{}, 1)
	stop := s.Watch("report", func() {
		select {
		case changed <- struct{}{}:
		default: // It is known already that something has changed.
		}
	})
	defer stop()
	for {
		report, err := s.Get(context.Background(), "report") // after Watch, or a change may be missed
		if err == nil {
			fmt.Printf("%s\n", report)
			return
		}
		<-changed
	}
}
