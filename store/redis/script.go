package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/store"
)

// The scripts. KEYS[1] is the key, ARGV[1] its channel, and what follows the
// value or the delta are options of SET.
//
// A change is published before it is made. As a script is one step to others,
// nobody is told too early, and a user that may not publish is refused while
// nothing has been changed. None of the scripts calculates in Lua, whose
// numbers are exact to 53 bits only.
var (
	setNX = newScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then
	return 0
end
redis.call('PUBLISH', ARGV[1], KEYS[1])
redis.call('SET', KEYS[1], unpack(ARGV, 2))
return 1`)

	compareAndDelete = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[2] then
	return 0
end
redis.call('PUBLISH', ARGV[1], KEYS[1])
redis.call('DEL', KEYS[1])
return 1`)

	incr = newScript(`
redis.call('PUBLISH', ARGV[1], KEYS[1])
if redis.call('EXISTS', KEYS[1]) == 0 then
	redis.call('SET', KEYS[1], unpack(ARGV, 2))
else
	redis.call('INCRBY', KEYS[1], ARGV[2])
end
return redis.call('GET', KEYS[1])`)
)

// script is a Lua script and the name that Redis knows it by.
type script struct{ source, digest string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source))
	return script{source: source, digest: hex.EncodeToString(sum[:])}
}

// run runs a script. A server that has forgotten it refuses its digest without
// having done anything, and is then sent the source.
func (s *Store) run(ctx context.Context, script script, key string, arguments []any) *redis.Cmd {
	reply := s.scriptCommand(ctx, "evalsha", script.digest, key, arguments)
	s.client.Process(ctx, reply) // The error is in the reply.
	if redis.HasErrorPrefix(reply.Err(), "NOSCRIPT") {
		reply = s.scriptCommand(ctx, "eval", script.source, key, arguments)
		s.client.Process(ctx, reply)
	}
	return reply.Cmd
}

// scriptCommand returns EVAL or EVALSHA for a key.
func (s *Store) scriptCommand(ctx context.Context, verb, script, key string, arguments []any) once {
	return newOnce(ctx, append([]any{verb, script, 1, s.prefix + key}, arguments...)...)
}

// incrArguments returns what incr takes behind the key.
func (s *Store) incrArguments(key string, delta int64, ttl time.Duration) []any {
	return append([]any{s.channel(key), strconv.FormatInt(delta, 10)}, expiry(ttl)...)
}

// sumOf returns the reply of incr.
func sumOf(reply *redis.Cmd) (int64, error) {
	text, err := reply.Text()
	switch {
	case notANumber(err):
		return 0, store.ErrNotANumber
	case err != nil:
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// notANumber tells whether an error is about the value that incr found. Redis
// has no code for two of the three, and versions differ in what they put
// around the text of an error in a script.
func notANumber(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "value is not an integer") ||
		strings.Contains(text, "increment or decrement would overflow") ||
		strings.Contains(text, "WRONGTYPE")
}

// once is a command that is sent once, whatever the client's MaxRetries: when
// a reply was lost, nobody knows whether the command was executed. (Clients of
// a cluster send other commands again even if MaxRetries is -1.)
type once struct{ *redis.Cmd }

func newOnce(ctx context.Context, arguments ...any) once {
	return once{redis.NewCmd(ctx, arguments...)}
}

// NoRetry replaces the method of [redis.Cmd].
func (once) NoRetry() bool { return true }
