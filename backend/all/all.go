// Package all makes every driver known that lives in this module: import it
// for its effect, and queue.Open takes the URL of any of them.
//
//	import _ "github.com/goferhq/queue/backend/all"
//
// A service that knows its broker imports that one driver instead.
package all

import (
	_ "github.com/goferhq/queue/backend/beanstalkd" // beanstalkd
	_ "github.com/goferhq/queue/backend/memory"     // memory
	_ "github.com/goferhq/queue/backend/rabbitmq"   // amqp, amqps
	_ "github.com/goferhq/queue/backend/redis"      // redis, rediss, resque, redis+unix, redis+sentinel, redis+cluster
)
