// Package resque reads and writes the values that Resque keeps in Redis, so
// that Ruby, PHP and resque-web share queues with this library. It is about
// bytes only: the names of keys and the commands are the driver's.
//
// Resque is the Ruby gem and its web interface; php-resque is meant as both
// chrisboulton/php-resque and resque/php-resque, and the Scheduler as
// resque-scheduler and php-resque-scheduler.
//
// # What is never written
//
// A Ruby worker that reads a list item which its JSON library does not parse,
// or cannot generate again, exits, and the item is lost; resque-web shows an
// error for the whole page. Nothing that this package writes does that: it is
// an object in valid UTF-8, without half a surrogate pair, without a number
// beyond float64 such as 1e400, and no deeper than Ruby's limit of 100 levels
// where Resque puts it, which is one level down: a failed entry and a worker's
// record have the payload as a member.
//
// Nor is anything that does not keep to this decoded as a payload. It could
// not be written back.
package resque

import (
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/rawjson"
)

// rules are those of everything that is written.
var rules = rawjson.Rules{MaxDepth: backend.MaxEnvelopeDepth, Portable: true}

// around is how many levels a payload has around it where Resque keeps a copy
// of it.
const around = 1

// The members of a payload, and of what holds one.
const (
	fieldClass     = "class"
	fieldArgs      = "args"
	fieldID        = "id"
	fieldPrefix    = "prefix"
	fieldQueueTime = "queue_time"
	fieldGo        = "go"
	fieldQueue     = "queue"
	fieldPayload   = "payload"
)
