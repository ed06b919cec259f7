package rabbitmq

import (
	"fmt"
	"strings"

	"github.com/goferhq/queue/backend"
)

const (
	// ownNames is what the names of all queues and exchanges begin with that are
	// the driver's own, but for the dead sets.
	ownNames = "gofer."

	// deadEnd is what the name of the queue ends with that holds the dead of
	// another.
	deadEnd = ".dead"

	// delayedExchange is where jobs go whose delay is over. Every queue is bound
	// to it.
	delayedExchange = ownNames + "delayed"

	// undeliverable is the exchange, and the queue, for jobs whose queue was
	// deleted while they waited.
	undeliverable = ownNames + "undeliverable"

	// namesQueue holds a message for each queue there is: AMQP has no list.
	namesQueue = ownNames + "queues"

	// lockQueues begin the names of those by which one process at a time works on
	// a dead set.
	lockQueues = ownNames + "lock."
)

func deadQueue(queue string) string { return queue + deadEnd }

// checkQueue returns why a queue cannot have a name.
func checkQueue(name string) error {
	if err := backend.CheckQueueName(name); err != nil {
		return err
	}
	return checkReserved(name)
}

// checkReserved returns why a name that is valid elsewhere is not here.
func checkReserved(name string) error {
	switch {
	case strings.HasPrefix(name, ownNames), strings.HasPrefix(name, "amq."), name == "amq": // amq.dead
		return fmt.Errorf("%w: queue name %q begins as those that the driver or RabbitMQ keeps for itself do; use another beginning than %q and %q", backend.ErrInvalid, name, ownNames, "amq.")
	case strings.HasSuffix(name, deadEnd):
		return fmt.Errorf("%w: queue name %q ends with %q, as the names of dead sets do; use another end", backend.ErrInvalid, name, deadEnd)
	}
	return nil
}
