package redis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/store"
	redisstore "github.com/goferhq/queue/store/redis"
	"github.com/goferhq/queue/store/storetest"
)

// storeClient returns a client as the documentation of the store has it.
func storeClient(t *testing.T, server *brokers.RedisServer) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries = -1
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

func storeCluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: brokers.RedisCluster(t).Addrs(), MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	return client
}

// openStore returns a store with keys of its own.
func openStore(t *testing.T, client redis.UniversalClient) *redisstore.Store {
	s := redisstore.New(client, rand.Text()+":")
	t.Cleanup(func() { s.Close() })
	return s
}

func runStoreSuite(t *testing.T, client redis.UniversalClient, prefix string) {
	storetest.Run(t, storetest.Harness{
		Open: func() (store.Store, error) { return redisstore.New(client, prefix), nil },
	})
}

func TestStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	runStoreSuite(t, storeClient(t, brokers.Redis(t)), rand.Text()+":")
}

func TestStoreKeepsTheContractWithoutAPrefix(t *testing.T) {
	t.Parallel()
	runStoreSuite(t, storeClient(t, brokers.Redis(t)), "")
}

func TestStoreKeepsTheContractForAUserWhoMayWhatIsDocumented(t *testing.T) {
	t.Parallel()
	permissions := strings.Fields("on nopass ~app:* &app:* +get +set +del +scan +eval +evalsha +exists +incrby " +
		"+publish +subscribe +unsubscribe +ping")
	server := brokers.Redis(t, append([]string{"--user", "store"}, permissions...)...)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "store", Password: "any", MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	runStoreSuite(t, client, "app:")
}

func TestStoreKeepsTheContractOnOneNodeOfACluster(t *testing.T) {
	t.Parallel()
	runStoreSuite(t, storeCluster(t), "{app}:")
}

func TestStoreKeepsTheContractOnAllNodesOfACluster(t *testing.T) {
	t.Parallel()
	runStoreSuite(t, storeCluster(t), "app:")
}

func TestStoreListsAPrefixWithGlobCharactersLiterally(t *testing.T) {
	t.Parallel()
	client := storeClient(t, brokers.Redis(t))
	for _, prefix := range []string{"*", "?", "[a]", "[^a]", `\`, `\*`, "a-z]", "[", "{a}", "\x00\xff", "é*"} {
		root := rand.Text()
		s := redisstore.New(client, root+prefix)
		neighbour := redisstore.New(client, root+"a")
		for _, key := range []string{"1", "*", "[x]", `\`} {
			if err := errors.Join(
				s.Set(t.Context(), key, []byte(key), time.Minute),
				neighbour.Set(t.Context(), key, nil, time.Minute),
			); err != nil {
				t.Fatal(err)
			}
		}
		items, err := s.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, item := range items {
			keys = append(keys, item.Key)
			if string(item.Value) != item.Key {
				t.Errorf("with the prefix %q the key %q has the value %q", prefix, item.Key, item.Value)
			}
		}
		if want := []string{"*", "1", "[x]", `\`}; !slices.Equal(keys, want) {
			t.Errorf("with the prefix %q the keys are %q, want %q", prefix, keys, want)
		}
		for _, key := range []string{"*", "[x]", `\`} {
			if items, err := s.List(t.Context(), key); err != nil || len(items) != 1 {
				t.Errorf("with the prefix %q a List of %q returned %q, %v", prefix, key, items, err)
			}
		}
	}
}

func TestStoreKeepsEveryByte(t *testing.T) {
	t.Parallel()
	s := openStore(t, storeClient(t, brokers.Redis(t)))
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	key := string(every)
	if stored, err := s.SetNX(t.Context(), key, every, time.Minute); err != nil || !stored {
		t.Fatalf("SetNX returned %v, %v", stored, err)
	}
	if got, err := s.Get(t.Context(), key); err != nil || string(got) != key {
		t.Errorf("Get returned %q, %v", got, err)
	}
	if items, err := s.List(t.Context(), key[:100]); err != nil || len(items) != 1 || items[0].Key != key || string(items[0].Value) != key {
		t.Errorf("List returned %q, %v", items, err)
	}
	if deleted, err := s.CompareAndDelete(t.Context(), key, every[:255]); err != nil || deleted {
		t.Errorf("CompareAndDelete of less than the value returned %v, %v", deleted, err)
	}
	if deleted, err := s.CompareAndDelete(t.Context(), key, every); err != nil || !deleted {
		t.Errorf("CompareAndDelete returned %v, %v", deleted, err)
	}
}

func TestStoreTellsRedisMilliseconds(t *testing.T) {
	t.Parallel()
	client := storeClient(t, brokers.Redis(t))
	s := redisstore.New(client, "")
	ctx, key := t.Context(), rand.Text()
	const ttl = time.Hour + 1
	for method, write := range map[string]func(key string) error{
		"Set":   func(key string) error { return s.Set(ctx, key, nil, ttl) },
		"SetNX": func(key string) error { _, err := s.SetNX(ctx, key, nil, ttl); return err },
		"Incr":  func(key string) error { _, err := s.Incr(ctx, key, 1, ttl); return err },
		"Apply": func(key string) error {
			_, err := s.Apply(ctx, []store.Op{{Verb: store.OpIncr, Key: key, TTL: ttl}})
			return err
		},
	} {
		before, _ := client.Time(ctx).Result()
		if err := write(key + method); err != nil {
			t.Fatal(err)
		}
		after, _ := client.Time(ctx).Result()
		expires, err := client.PExpireTime(ctx, key+method).Result()
		if err != nil {
			t.Skip("this Redis does not tell when a key expires: ", err)
		}
		const rounded = time.Hour + time.Millisecond
		earliest, latest := before.Truncate(time.Millisecond).Add(rounded), after.Add(rounded)
		if at := time.UnixMilli(expires.Milliseconds()); at.Before(earliest) || at.After(latest) {
			t.Errorf("after %s the key expires at %v, want %v to %v", method, at, earliest, latest)
		}
	}
}

func TestStoreIsNotConfusedByKeysThatHoldNoString(t *testing.T) {
	t.Parallel()
	client := storeClient(t, brokers.Redis(t))
	prefix := rand.Text() + ":"
	s := redisstore.New(client, prefix)
	ctx := t.Context()
	if err := errors.Join(client.LPush(ctx, prefix+"list", "x").Err(), s.Set(ctx, "string", []byte("x"), 0)); err != nil {
		t.Fatal(err)
	}
	if items, err := s.List(ctx, ""); err != nil || len(items) != 1 || items[0].Key != "string" {
		t.Errorf("List returned %q, %v, want the one string", items, err)
	}
	if _, err := s.Get(ctx, "list"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of a list: %v, want an error that is not ErrNotFound", err)
	}
	if _, err := s.Incr(ctx, "list", 1, 0); !errors.Is(err, store.ErrNotANumber) {
		t.Errorf("Incr of a list: %v, want ErrNotANumber", err)
	}
	if deleted, err := s.CompareAndDelete(ctx, "list", nil); err == nil || deleted {
		t.Errorf("CompareAndDelete of a list returned %v, %v, want an error", deleted, err)
	}
	if stored, err := s.SetNX(ctx, "list", nil, 0); err != nil || stored {
		t.Errorf("SetNX of a list returned %v, %v, want false", stored, err)
	}
	results, err := s.Apply(ctx, []store.Op{
		{Verb: store.OpGet, Key: "list"},
		{Verb: store.OpIncr, Key: "list", Delta: 1},
		{Verb: store.OpGet, Key: "string"},
		{Verb: store.OpDelete, Key: "list"},
		{Verb: store.OpGet, Key: "list"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Err == nil || results[1].Err != store.ErrNotANumber || string(results[2].Value) != "x" ||
		results[3].Err != nil || results[4].Err != store.ErrNotFound {
		t.Errorf("Apply returned %v", results)
	}
}

func TestStoreRunsScriptsThatTheServerForgot(t *testing.T) {
	t.Parallel()
	client := storeClient(t, brokers.Redis(t))
	s := openStore(t, client)
	ctx := t.Context()
	for round := range 3 {
		key := strconv.Itoa(round)
		flush := func() {
			if err := client.ScriptFlush(ctx).Err(); err != nil {
				t.Fatal(err)
			}
		}
		flush()
		if stored, err := s.SetNX(ctx, key, []byte("1"), 0); err != nil || !stored {
			t.Errorf("SetNX returned %v, %v", stored, err)
		}
		flush()
		if sum, err := s.Incr(ctx, key, 1, 0); err != nil || sum != 2 {
			t.Errorf("Incr returned %d, %v", sum, err)
		}
		flush()
		results, err := s.Apply(ctx, []store.Op{
			{Verb: store.OpIncr, Key: key, Delta: 1},
			{Verb: store.OpSet, Key: key, Value: []byte("10")},
			{Verb: store.OpIncr, Key: key, Delta: 1},
			{Verb: store.OpGet, Key: key},
		})
		if err != nil || results[0].Sum != 3 || results[2].Sum != 11 || string(results[3].Value) != "11" {
			t.Errorf("Apply returned %v, %v", results, err)
		}
		flush()
		if deleted, err := s.CompareAndDelete(ctx, key, []byte("11")); err != nil || !deleted {
			t.Errorf("CompareAndDelete returned %v, %v", deleted, err)
		}
	}
}

func TestStoreOfAUserThatMayNotPublishChangesNoLock(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t, "--user", "deaf", "on", "nopass", "~*", "+@all", "resetchannels")
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "deaf", Password: "x", MaxRetries: -1})
	defer client.Close()
	s := redisstore.New(client, "")
	ctx := t.Context()
	if err := client.Set(ctx, "lock", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_, setNX := s.SetNX(ctx, "free", nil, 0)
	_, incr := s.Incr(ctx, "lock", 1, 0)
	_, release := s.CompareAndDelete(ctx, "lock", []byte("1"))
	for method, err := range map[string]error{"SetNX": setNX, "Incr": incr, "CompareAndDelete": release, "Set": s.Set(ctx, "set", nil, 0)} {
		if err == nil || !strings.Contains(err.Error(), "channel") {
			t.Errorf("%s: %v, want an error that names the channel", method, err)
		}
	}
	if value, err := s.Get(ctx, "lock"); err != nil || string(value) != "1" {
		t.Errorf("the lock is %q, %v, want it unchanged", value, err)
	}
	if _, err := s.Get(ctx, "free"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the lock that was refused: %v, want ErrNotFound", err)
	}
}

// everyStoreMethod calls every method that asks the server.
func everyStoreMethod(s store.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Get":              func(ctx context.Context) error { _, err := s.Get(ctx, "key"); return err },
		"Set":              func(ctx context.Context) error { return s.Set(ctx, "key", []byte("1"), 0) },
		"SetNX":            func(ctx context.Context) error { _, err := s.SetNX(ctx, "other", []byte("1"), 0); return err },
		"CompareAndDelete": func(ctx context.Context) error { _, err := s.CompareAndDelete(ctx, "key", []byte("2")); return err },
		"Incr":             func(ctx context.Context) error { _, err := s.Incr(ctx, "count", 1, 0); return err },
		"List":             func(ctx context.Context) error { _, err := s.List(ctx, "key"); return err },
		"Apply": func(ctx context.Context) error {
			_, err := s.Apply(ctx, []store.Op{{Verb: store.OpGet, Key: "key"}})
			return err
		},
	}
}

func TestStoreHeedsContextsWhenTheServerHangs(t *testing.T) {
	t.Parallel()
	for _, heeds := range []bool{false, true} {
		t.Run(fmt.Sprint("ContextTimeoutEnabled=", heeds), func(t *testing.T) {
			t.Parallel()
			server := brokers.Redis(t)
			client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, ContextTimeoutEnabled: heeds})
			defer client.Close()
			s := redisstore.New(client, "")
			for _, call := range everyStoreMethod(s) { // connections are there
				if err := call(t.Context()); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Fatal(err)
				}
			}
			server.Stop()
			// More calls than the client has connections.
			var calls sync.WaitGroup
			for range 10 {
				for method, call := range everyStoreMethod(s) {
					calls.Go(func() { expectHeeded(t, method, context.Canceled, call) })
					calls.Go(func() { expectHeeded(t, method, context.DeadlineExceeded, call) })
				}
			}
			calls.Wait()
		})
	}
}

// expectHeeded checks that a call that hangs returns when its context ends.
func expectHeeded(t *testing.T, method string, want error, call func(context.Context) error) {
	const limit, prompt = 200 * time.Millisecond, 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	if want == context.Canceled {
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(limit, cancel)
	}
	defer cancel()
	returned := make(chan error, 1)
	go func() { returned <- call(ctx) }()
	<-ctx.Done()
	select {
	case err := <-returned:
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want an error that is %q", method, err, want)
		}
	case <-time.After(prompt):
		t.Errorf("%s has not returned %v after its context ended", method, prompt)
	}
}

func TestStoreWorksAgainAfterTheServerHung(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	s := openStore(t, storeClient(t, server))
	server.Stop()
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		s.Incr(ctx, "count", 1, 0)
		cancel()
	}
	server.Continue()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := s.Set(ctx, "key", []byte("value"), 0)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("ten seconds after the server came back: %v", err)
		}
	}
}
