package redis_test

import (
	"testing"
	"time"

	"github.com/goferhq/queue/integration/faults"
)

// A push is known by its number for an hour, however many came before it.
func TestTheNumberOfAPushIsKeptForAnHour(t *testing.T) {
	server, client := server(t)
	b := faults.Open(t, server.URL())
	for _, id := range []string{"1", "2", "3"} {
		faults.Push(t, b, id)
	}
	keys, err := client.Keys(t.Context(), "resque:gofer:push:*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("numbers are in %q, %v; want one key", keys, err)
	}
	if number := client.Get(t.Context(), keys[0]).Val(); number != "3" {
		t.Errorf("the number is %s, want 3", number)
	}
	if left := client.TTL(t.Context(), keys[0]).Val(); left < time.Hour || left > 2*time.Hour {
		t.Errorf("it is kept for %v, want an hour", left)
	}
}

// Where Redis refuses MULTI and does what comes after it, the push was not
// refused.
func TestAPushByAUserWhoMayNotUseTransactionsIsStoredOnce(t *testing.T) {
	server, client := server(t)
	err := client.Do(t.Context(), "ACL", "SETUSER", "ann", "on", "nopass", "~resque:*", "&*", "+@all", "-multi").Err()
	if err != nil {
		t.Fatal(err)
	}
	b := faults.Open(t, "redis://ann:any@"+server.Addr())
	faults.Push(t, b, "1")
	faults.Push(t, b, "2", "3")
	expectCounts(t, client, counts{ready: 3})
}
