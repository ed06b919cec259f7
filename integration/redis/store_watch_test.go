package redis_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/status"
	"github.com/goferhq/queue/store"
	redisstore "github.com/goferhq/queue/store/redis"
)

// watchStore watches a key and returns where it is told of changes.
func watchStore(t *testing.T, s store.Watcher, key string) <-chan struct{} {
	told := make(chan struct{}, 1)
	t.Cleanup(s.Watch(key, func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}))
	return told
}

func expectTold(t *testing.T, told <-chan struct{}, of string) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		t.Fatal("the watch was not told of ", of)
	}
}

// expectEveryChangeTold changes a key through one store and follows it through
// another, which must see each value without ever asking by itself.
func expectEveryChangeTold(t *testing.T, writer, reader *redisstore.Store, key string) {
	t.Helper()
	ctx := t.Context()
	told := watchStore(t, reader, key)
	for i := range 200 {
		var err error
		want := strconv.Itoa(i)
		if i%2 == 0 {
			err = writer.Set(ctx, key, []byte(want), time.Minute)
		} else {
			_, err = writer.Apply(ctx, []store.Op{
				{Verb: store.OpSet, Key: key + "other", Value: []byte("x"), TTL: time.Minute},
				{Verb: store.OpSet, Key: key, Value: []byte(want), TTL: time.Minute},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		for {
			expectTold(t, told, "the value "+want)
			if value, err := reader.Get(ctx, key); err == nil && string(value) == want {
				break
			}
		}
	}
}

func TestStoreTellsOtherProcessesOfEveryChange(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	expectEveryChangeTold(t,
		redisstore.New(storeClient(t, server), "app:"), openStoreWith(t, storeClient(t, server), "app:"), "key")
}

func TestStoreTellsOfEveryChangeOnEveryNodeOfACluster(t *testing.T) {
	t.Parallel()
	client := storeCluster(t)
	writer, reader := redisstore.New(client, "app:"), openStoreWith(t, client, "app:")
	for i := range 8 {
		expectEveryChangeTold(t, writer, reader, fmt.Sprint("key", i))
	}
}

// A change is published on the connection that makes it, or it might be told
// before it is made.
func TestStorePublishesOnTheNodeThatHasTheKey(t *testing.T) {
	t.Parallel()
	client := storeCluster(t)
	var ops []store.Op
	for i := range 300 {
		ops = append(ops, store.Op{Verb: store.OpSet, Key: strconv.Itoa(i)}, store.Op{Verb: store.OpDelete, Key: strconv.Itoa(i)})
	}
	if _, err := redisstore.New(client, "app:").Apply(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
	err := client.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		stats, err := node.InfoMap(ctx, "commandstats").Result()
		if err != nil {
			return err
		}
		calls := func(command string) int {
			var n int
			fmt.Sscanf(stats["Commandstats"]["cmdstat_"+command], "calls=%d", &n)
			return n
		}
		changed, published := calls("set")+calls("del"), calls("publish")
		if changed < 100 || changed != published {
			t.Errorf("a node has made %d of 600 changes, and published %d", changed, published)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func openStoreWith(t *testing.T, client redis.UniversalClient, prefix string) *redisstore.Store {
	s := redisstore.New(client, prefix)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStoreTellsOnlyOfChanges(t *testing.T) {
	t.Parallel()
	s := openStore(t, storeClient(t, brokers.Redis(t)))
	ctx := t.Context()
	if err := s.Set(ctx, "lock", []byte("mine"), 0); err != nil {
		t.Fatal(err)
	}
	told := watchStore(t, s, "lock")
	expectTold(t, told, "the confirmation")
	s.SetNX(ctx, "lock", []byte("yours"), 0)
	s.CompareAndDelete(ctx, "lock", []byte("yours"))
	s.Get(ctx, "lock")
	s.List(ctx, "lock")
	s.Set(ctx, "lock2", nil, 0)
	select {
	case <-told:
		t.Error("the watch was told, although nothing has changed")
	case <-time.After(100 * time.Millisecond):
	}
}

func TestStoreWatchesAgainAfterTheServerCrashed(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	s := openStore(t, storeClient(t, server))
	told := watchStore(t, s, "key")
	expectTold(t, told, "the confirmation")
	server.Kill()
	time.Sleep(300 * time.Millisecond)
	server.Restart()
	expectTold(t, told, "the confirmation after the crash")
	if err := s.Set(t.Context(), "key", nil, 0); err != nil {
		t.Fatal(err)
	}
	expectTold(t, told, "a change after the crash")
}

func TestStoreWatchNeverWaitsForTheServer(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	client := storeClient(t, server)
	server.Stop()
	start := time.Now()
	s := redisstore.New(client, "")
	var stops []func()
	for i := range 1000 {
		stops = append(stops, s.Watch(strconv.Itoa(i), func() {}))
	}
	for _, stop := range stops[:500] {
		stop()
	}
	told := watchStore(t, s, "key")
	s.Close()
	expectTold(t, told, "Close")
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a thousand watches on a server that hangs took %v", took)
	}
}

func TestStoreWatchesComeAndGo(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	s := openStore(t, storeClient(t, server))
	var workers sync.WaitGroup
	for i := range 16 {
		workers.Go(func() {
			for j := range 200 {
				told := make(chan struct{}, 1)
				key := strconv.Itoa((i + j) % 5)
				stop := s.Watch(key, func() {
					select {
					case told <- struct{}{}:
					default:
					}
				})
				if err := s.Set(t.Context(), key, nil, time.Minute); err != nil {
					t.Error(err)
				}
				select {
				case <-told:
				case <-time.After(10 * time.Second):
					t.Errorf("watch %d of worker %d was not told", j, i)
				}
				stop()
			}
		})
	}
	workers.Wait()
}

func TestStoreLetsStatusWaitForAnotherProcess(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	waiting := status.New(openStoreWith(t, storeClient(t, server), "app:"))
	working := status.New(openStoreWith(t, storeClient(t, server), "app:"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // less than status waits before it asks again
	defer cancel()
	for i := range 20 {
		id := strconv.Itoa(i)
		if err := working.Create(ctx, status.Record{ID: id, State: status.Ready}); errors.Is(err, context.DeadlineExceeded) {
			t.Skip("this machine is too slow: ", err)
		} else if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Duration(i) * time.Millisecond)
			working.Update(id, 1, func(r *status.Record) { r.State = status.Done })
		}()
		if record, err := waiting.Wait(ctx, id); err != nil || record.State != status.Done {
			t.Fatalf("Wait returned %v, %v", record.State, err)
		}
	}
	if err := working.Flush(ctx); err != nil {
		t.Error(err)
	}
}

// TestStoreLeavesNoGoroutine is not parallel, so that no other test of this
// package has a store at work meanwhile.
func TestStoreLeavesNoGoroutine(t *testing.T) {
	client := storeClient(t, brokers.Redis(t))
	s := openStore(t, client)
	told := watchStore(t, s, "key")
	expectTold(t, told, "the confirmation")
	ctx, cancel := context.WithCancel(t.Context())
	for range 100 {
		if err := s.Set(ctx, "key", nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	s.Close()
	stacks := make([]byte, 1<<20)
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		all := string(stacks[:runtime.Stack(stacks, true)])
		if !strings.Contains(all, "github.com/goferhq/queue/store/redis.") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines of the store are left after Close:\n%s", all)
		}
	}
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the client does not work after the store was closed: %v", err)
	}
}
