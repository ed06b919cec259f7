package rabbitmq_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/integration/bench"
)

// The loops are what one would write by hand, on amqp091-go, for jobs that do
// nothing: one connection publishes without waiting for each confirm, another
// one consumes, and nothing is lost. They have no retries, no workers beside
// themselves, no middleware, no connection that comes back, and a job is its
// arguments alone. What a library can reach is measured by them.

const (
	// window is how many messages a publisher has that are not confirmed yet.
	window = 1000

	// prefetch is how many messages a consumer has that are not acknowledged
	// yet.
	prefetch = 200

	// ackEvery is how many of them the loop acknowledges at a time.
	ackEvery = 100

	// ackWithin is how long it takes at most to do so with fewer.
	ackWithin = 10 * time.Millisecond
)

// bodyOf returns a job as the loops publish it.
func bodyOf(number int) []byte {
	body, err := json.Marshal(bench.ArgumentsOf(number))
	if err != nil {
		panic(err) // of numbers and texts
	}
	return body
}

// publisher publishes to a queue, on a connection of its own.
type publisher struct {
	channel *amqp.Channel
	queue   string
}

// publisher returns one that is closed when the benchmark ends.
func (s *server) publisher(queue string) *publisher {
	s.tb.Helper()
	s.declare(queue)
	channel := s.open(s.Client())
	if err := channel.Confirm(false); err != nil {
		s.tb.Fatal(err)
	}
	returned := channel.NotifyReturn(make(chan amqp.Return))
	var watching sync.WaitGroup
	watching.Go(func() { // until the channel is closed
		for r := range returned {
			s.tb.Errorf("%s: a message was returned: %s", queue, r.ReplyText)
		}
	})
	s.tb.Cleanup(func() {
		channel.Close()
		watching.Wait()
	})
	return &publisher{channel, queue}
}

// publish does not wait for the confirm.
func (p *publisher) publish(body []byte) (*amqp.DeferredConfirmation, error) {
	return p.channel.PublishWithDeferredConfirm("", p.queue, true, false, amqp.Publishing{
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		Body:         body,
	})
}

// put publishes a message and waits for its confirm.
func (p *publisher) put(body []byte) error {
	confirm, err := p.publish(body)
	if err == nil && !confirm.Wait() {
		err = errors.New("a message was not confirmed")
	}
	return err
}

// putAll publishes n messages and waits for their confirms, not for each before
// it publishes the next.
func (p *publisher) putAll(n int, body func(number int) []byte) error {
	var confirms [window]*amqp.DeferredConfirmation
	for number := range n + window {
		place := number % window
		if confirm := confirms[place]; confirm != nil && !confirm.Wait() {
			return errors.New("a message was not confirmed")
		}
		confirms[place] = nil
		if number >= n {
			continue
		}
		var err error
		if confirms[place], err = p.publish(body(number)); err != nil {
			return err
		}
	}
	return nil
}

// loop is one connection that publishes, and another one that consumes and
// acknowledges a number of messages at a time.
func loop(s *server, name string, every int) bench.Drainer {
	producer := s.publisher(name)
	return bench.Drainer{
		Name: name,
		Fill: func(n int) {
			if err := producer.putAll(n, bodyOf); err != nil {
				s.tb.Fatal(err)
			}
		},
		Worker: func(handle func(number int)) (start, stop func()) { return loopWorker(s, name, every, handle) },
		Left:   func() int64 { return s.left(name) },
	}
}

// loopWorker returns what starts a goroutine that does the jobs of a queue, and
// what ends it.
func loopWorker(s *server, queue string, every int, handle func(number int)) (start, stop func()) {
	const consumer = "loop"
	var running sync.WaitGroup
	connection := s.Client()
	channel := s.open(connection)
	if err := channel.Qos(prefetch, 0, false); err != nil {
		s.tb.Fatal(err)
	}
	start = func() {
		deliveries, err := channel.Consume(queue, consumer, false, false, false, false, nil)
		if err != nil {
			s.tb.Fatal(err)
		}
		running.Go(func() {
			if err := work(channel, deliveries, every, handle); err != nil {
				s.tb.Errorf("%s: %v", queue, err)
			}
		})
	}
	stop = func() {
		err := channel.Cancel(consumer, false) // ends the deliveries
		running.Wait()
		if err == nil {
			err = connection.Close()
		}
		if err != nil {
			s.tb.Errorf("%s: %v", queue, err)
		}
	}
	return start, stop
}

// work does jobs until there will be no more. It acknowledges a number of them
// at a time.
func work(channel *amqp.Channel, deliveries <-chan amqp.Delivery, every int, handle func(number int)) error {
	var last uint64 // that was done
	open := 0       // how many that were done are not acknowledged
	ack := func() error {
		if open == 0 {
			return nil
		}
		multiple := open > 1
		open = 0
		return channel.Ack(last, multiple)
	}
	ticker := time.NewTicker(ackWithin)
	defer ticker.Stop()
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return ack()
			}
			var a bench.Arguments
			if err := json.Unmarshal(d.Body, &a); err != nil {
				return fmt.Errorf("not a job of the benchmark: %w", err)
			}
			handle(a.Place())
			last = d.DeliveryTag
			if open++; open < every {
				continue
			}
		case <-ticker.C:
		}
		if err := ack(); err != nil {
			return err
		}
	}
}
