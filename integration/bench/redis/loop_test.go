package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/integration/bench"
)

// The loop is what one would write by hand for jobs that do nothing: no more
// than a queue needs that loses none. It has no retries, no workers beside
// itself, no middleware, and nobody who looks after leases that ended. What a
// library can reach is measured by it.

// loopReserve lends up to ARGV[1] jobs for ARGV[2] milliseconds under the
// tokens ARGV[3]:1, ARGV[3]:2 and so on. KEYS: ready, running, leases.
var loopReserve = redis.NewScript(`
local payloads = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
if #payloads == 0 then return payloads end
redis.call('LTRIM', KEYS[1], #payloads, -1)
local t = redis.call('TIME')
local ends = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2]
local held, terms = {}, {}
for n, payload in ipairs(payloads) do
  local token = ARGV[3] .. ':' .. n
  held[2 * n - 1], held[2 * n] = token, payload
  terms[2 * n - 1], terms[2 * n] = ends, token
end
redis.call('HSET', KEYS[2], unpack(held))
redis.call('ZADD', KEYS[3], unpack(terms))
return payloads
`)

// loopAck settles the jobs with the tokens ARGV. KEYS: running, leases.
var loopAck = redis.NewScript(`
redis.call('HDEL', KEYS[1], unpack(ARGV))
return redis.call('ZREM', KEYS[2], unpack(ARGV))
`)

const (
	loopBatch   = 100
	loopLease   = 30 * time.Second
	loopRunning = "loop:running"
	loopLeases  = "loop:leases"
)

// envelope is what this library stores for a job: the loop does the same jobs.
type envelope struct {
	Class     string            `json:"class"`
	Args      []bench.Arguments `json:"args"`
	ID        string            `json:"id"`
	Prefix    string            `json:"prefix"`
	QueueTime float64           `json:"queue_time"`
}

// loop is the one written by hand as a drainer, on a number of connections
// with a goroutine each. It ends when the queue is empty.
func loop(s *server, database, connections int) bench.Drainer {
	client := s.client(database)
	name := "loop"
	if connections > 1 {
		name = fmt.Sprintf("loop%d", connections)
	}
	return bench.Drainer{
		Name: name,
		Fill: func(n int) { fillGofer(s, database, n) },
		Worker: func(handle func(number int)) (start, stop func()) {
			var running sync.WaitGroup
			start = func() {
				for range connections {
					running.Go(func() {
						connection := client.Conn()
						defer connection.Close()
						if err := runLoop(connection, handle); err != nil {
							s.tb.Error(err)
						}
					})
				}
			}
			return start, running.Wait
		},
		Left: func() int64 {
			return s.sum(client, func(ctx context.Context, pipe redis.Pipeliner) {
				pipe.LLen(ctx, goferReady)
				pipe.HLen(ctx, loopRunning)
			})
		},
	}
}

// calls numbers the batches of all loops.
var calls atomic.Int64

func runLoop(connection *redis.Conn, handle func(number int)) error {
	ctx := context.Background()
	for {
		call := calls.Add(1)
		payloads, err := loopReserve.Run(ctx, connection, []string{goferReady, loopRunning, loopLeases},
			loopBatch, loopLease.Milliseconds(), call).StringSlice()
		if err != nil {
			return fmt.Errorf("reserve: %w", err)
		}
		if len(payloads) == 0 {
			return nil
		}
		tokens := make([]any, len(payloads))
		for i, payload := range payloads {
			var job envelope
			if err := json.Unmarshal([]byte(payload), &job); err != nil {
				return err
			}
			if job.Class != bench.Kind || len(job.Args) != 1 {
				return fmt.Errorf("not a job of the benchmark: %s", payload)
			}
			handle(job.Args[0].Place())
			tokens[i] = fmt.Sprintf("%d:%d", call, i+1)
		}
		settled, err := loopAck.Run(ctx, connection, []string{loopRunning, loopLeases}, tokens...).Int()
		if err != nil {
			return fmt.Errorf("ack: %w", err)
		}
		if settled != len(payloads) {
			return fmt.Errorf("%d of %d jobs were settled", settled, len(payloads))
		}
	}
}
