package redis_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/integration/brokers"
)

// server is the Redis that all competitors of a benchmark share. Each has a
// database to itself.
type server struct {
	tb      testing.TB
	address string
	control *redis.Client // for what the benchmark itself asks
}

// startServer starts a Redis that appends to a file and syncs it each second.
//
// It does not rewrite that file: a rewrite comes whenever enough was written,
// and would slow down whoever has its turn just then. Giving the option also
// means that the server is never one that somebody else uses, and Flush empties
// it.
func startServer(tb testing.TB) *server {
	tb.Helper()
	started := brokers.Redis(tb, "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
	return &server{tb: tb, address: started.Addr(), control: started.Client()}
}

// url returns the address of a database for queue.Open.
func (s *server) url(database int) string {
	return fmt.Sprintf("redis://%s/%d", s.address, database)
}

// client returns a client of a database with the defaults of go-redis.
func (s *server) client(database int) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: s.address, DB: database})
	s.tb.Cleanup(func() { client.Close() })
	return client
}

// Flush empties all databases.
func (s *server) Flush() {
	s.tb.Helper()
	if err := s.control.Do(context.Background(), "FLUSHALL", "SYNC").Err(); err != nil {
		s.tb.Fatal(err)
	}
}

// Settle syncs the file, so that the writes of what was prepared do not slow
// down what is measured next. Redis has no command for that, but it syncs
// before it answers a write while it is told to always do so.
func (s *server) Settle() {
	s.tb.Helper()
	ctx := context.Background()
	_, err := s.control.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.ConfigSet(ctx, "appendfsync", "always")
		pipe.Incr(ctx, "bench:settle")
		pipe.Del(ctx, "bench:settle")
		return nil
	})
	if err == nil {
		err = s.control.ConfigSet(ctx, "appendfsync", "everysec").Err()
	}
	if err != nil {
		s.tb.Fatal(err)
	}
}

// info returns a number of a section of INFO.
func (s *server) info(section, name string) int64 {
	s.tb.Helper()
	text, err := s.control.Info(context.Background(), section).Result()
	if err != nil {
		s.tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, "\n"+name+":")
	value, _, _ := strings.Cut(rest, "\r")
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		s.tb.Fatalf("INFO %s has no number %s: %v", section, name, err)
	}
	return n
}

// sum returns the sum of what the commands of a pipeline return, such as
// lengths.
func (s *server) sum(client *redis.Client, commands func(ctx context.Context, pipe redis.Pipeliner)) int64 {
	s.tb.Helper()
	ctx := context.Background()
	replies, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		commands(ctx, pipe)
		return nil
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	total := int64(0)
	for _, reply := range replies {
		total += reply.(*redis.IntCmd).Val()
	}
	return total
}
