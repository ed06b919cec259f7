// Package redis is a [store.Store] in a Redis server: what several processes
// share their job status, locks and counters through.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", MaxRetries: -1})
//	defer client.Close()
//	s := redisstore.New(client, "{app}:")
//	defer s.Close()
//	err := s.Set(ctx, "greeting", []byte("hello"), time.Hour) // SET {app}:greeting
//
// A value is a plain Redis string, which every Redis tool can read, and it
// expires by Redis' own clock. How much of it outlives a crash of the server is
// up to the server's persistence: without an append-only file a restart brings
// back an old snapshot, locks and counters included.
//
// # Cost
//
// In round trips, and in what the server executes:
//
//	Get                      1   GET
//	Set                      1   SET and PUBLISH
//	SetNX, CompareAndDelete  1   a script; 2 when the server does not know it yet
//	Incr                     1   the same
//	Apply                    1   for each op: GET; SET or DEL, and PUBLISH; or a script
//	List                     1   for every 1000 keys of the database: SCAN
//	                         1   for every 500 keys that it returns: GET of each
//	Watch                    1   SUBSCRIBE, on a connection that all watches share
//
// List looks at every key of the database, also at those of others: it is for
// people and for what happens now and then, not for every job. A PUBLISH that
// nobody listens to costs half a microsecond, but a cluster sends it to all of
// its nodes. A call whose context can end takes a goroutine besides.
//
// # Contexts
//
// A call returns as soon as its context has ended, also when the server hangs.
// The command that it was waiting for is abandoned, not undone: it may still be
// executed, and holds a connection of the client until the server answers or
// the client's ReadTimeout is over.
//
// # The client
//
// A write is sent once, whatever the client's MaxRetries: when a reply was
// lost, nobody knows whether the command was executed, and to send it again
// would count twice, deny that a lock was taken, or bring back an old value.
// Reads are sent again as the client has it; with MaxRetries: -1 that is up to
// the callers of the store alone.
//
// The store must see what it has written. A client that reads from replicas
// (ReadOnly, RouteByLatency, RouteRandomly), or caches, shows it the past.
//
// A [redis.ClusterClient] will do. With a hash tag in the prefix, such as
// {app}:, all keys are on one node. Without, they are spread over the cluster,
// and Apply takes one round trip to each node, all at once. List asks every
// master either way. While slots move from node to node, List may miss keys
// that move, and a watch may be told of a change before it is made. A
// [redis.Ring] will not do: its watches would listen to the wrong server.
//
// The Redis user must be allowed GET, SET, DEL, SCAN, EVAL, EVALSHA, and what
// the scripts use, EXISTS and INCRBY, on the keys that begin with the prefix;
// PUBLISH, SUBSCRIBE and UNSUBSCRIBE on channels that do; and PING.
package redis
