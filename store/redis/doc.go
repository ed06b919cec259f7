// Package redis is a [store.Store] in a Redis server: what several processes
// share their job status, locks and counters through.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", MaxRetries: -1})
//	defer client.Close()
//	s := redisstore.New(client, "{app}:")
//	defer s.Close()
//	err := s.Set(ctx, "greeting", []byte("hello"), time.Hour) // SET {app}:greeting
//
// A value is a plain Redis string, so that every Redis tool reads it, and
// expires by Redis' own clock. How much of it outlives a crash of the server is
// up to the server's persistence: without an append-only file a restart brings
// back an old snapshot, locks and counters included.
//
// # Cost
//
// In round trips, and in commands that the server executes:
//
//	Get                          1   GET
//	Set                          1   SET and PUBLISH
//	SetNX, CompareAndDelete      1   a script (2 when the server does not know it yet)
//	Incr                         1   the same
//	Apply                        1   GET, SET and PUBLISH, DEL and PUBLISH, or a script, for each op
//	List                         1 for every 1000 keys in the database, and
//	                             1 for every 500 keys that are listed
//	Watch                        1 on a connection of its own, which all watches share
//
// List looks at every key of the database, also at those of others: it is for
// people and start-ups, not for every job. A call whose context can end costs
// a goroutine besides; go-redis itself would heed a deadline at best.
//
// # Contexts
//
// A call returns as soon as its context has ended, also from a server that
// hangs. The command that it was waiting for is abandoned, not undone: it may
// still be executed, and keeps a connection of the client until the client's
// ReadTimeout.
//
// # The client
//
// A write is sent once. The client's MaxRetries do not apply to it, since after
// a reply that was lost nobody knows whether it was executed, and SetNX, Incr
// and CompareAndDelete would count twice or deny their own success. Reads are
// sent again as often as MaxRetries says; -1 leaves that to the callers.
//
// The store must read what it has written: a client that reads from replicas
// (ReadOnly, RouteByLatency, RouteRandomly), or from a cache of its own, shows
// the past.
//
// A [redis.ClusterClient] will do. With a hash tag in the prefix, such as
// {app}:, all keys are on one node. Without one they are spread over the
// cluster, and Apply takes one round trip to each node, at the same time;
// List always asks every master. While slots move between nodes List may miss
// keys that move, and a watch may be told of a change before it is made. A
// [redis.Ring] will not do: watches would listen on the wrong server.
//
// The user that the client authenticates as needs the commands above, SCAN
// and SUBSCRIBE, on the keys prefix* and the channels prefix*. One that may not
// publish cannot write.
package redis
