package rabbitmq_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/integration/brokers"
)

// alarmOption is when the server stops to take messages: its default, in the
// words of its configuration.
const alarmOption = "vm_memory_high_watermark.relative = 0.4"

// settling is how long the server is given to finish what nobody waits for.
const settling = 300 * time.Millisecond

// queueArguments are those of all queues: the ones that this library gives its
// own.
var queueArguments = amqp.Table{
	"x-queue-type":     "quorum",
	"x-delivery-limit": 1 << 30,
}

// server is the RabbitMQ that all competitors of a benchmark share. Each has a
// queue to itself.
type server struct {
	*brokers.RabbitMQServer
	tb      testing.TB
	control *amqp.Connection // for what the benchmark itself asks
	channel *amqp.Channel    // of that
	queues  []string         // of all competitors
}

// startServer starts a RabbitMQ. Giving the option, a default, means that the
// server is never one that somebody else uses, and Flush empties it.
func startServer(tb testing.TB) *server {
	tb.Helper()
	started := brokers.RabbitMQ(tb, alarmOption)
	s := &server{RabbitMQServer: started, tb: tb, control: started.Client(), queues: []string{goferQueue}}
	s.channel = s.open(s.control)
	return s
}

func (s *server) open(connection *amqp.Connection) *amqp.Channel {
	s.tb.Helper()
	channel, err := connection.Channel()
	if err != nil {
		s.tb.Fatal(err)
	}
	return channel
}

// declare makes a queue. It may be there already.
func (s *server) declare(queue string) {
	s.tb.Helper()
	if _, err := s.channel.QueueDeclare(queue, true, false, false, false, queueArguments); err != nil {
		s.tb.Fatal(err)
	}
	if !slices.Contains(s.queues, queue) {
		s.queues = append(s.queues, queue)
	}
}

// Flush empties the queues. Nobody may work on them.
func (s *server) Flush() {
	s.tb.Helper()
	for _, queue := range s.queues {
		channel := s.open(s.control) // an error ends it
		_, err := channel.QueuePurge(queue, false)
		var refused *amqp.Error
		if errors.As(err, &refused) && refused.Code == amqp.NotFound { // not made yet
			continue
		}
		if err == nil {
			err = channel.Close()
		}
		if err != nil {
			s.tb.Fatal(err)
		}
	}
}

// Settle waits a moment: RabbitMQ has no command that says when the writes of
// what was prepared are over.
func (s *server) Settle() { time.Sleep(settling) }

// left returns how many jobs of a queue are ready. How many are running is not
// to be had of RabbitMQ in the time that matters here: they are ready again once
// whoever held them has gone.
func (s *server) left(queue string) int64 {
	s.tb.Helper()
	found, err := s.channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	return int64(found.Messages)
}
