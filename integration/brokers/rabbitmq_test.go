package brokers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestRabbitMQKeepsWhatItConfirmedWhenItIsKilled(t *testing.T) {
	t.Parallel()
	server := RabbitMQ(t)
	channel := openChannel(t, server)
	declareQueue(t, channel, "durable", nil)
	publish(t, channel, "durable", "body")
	if body, ok := get(t, openChannel(t, server), "durable", false); !ok || body != "body" {
		t.Errorf("got %q, %v", body, ok) // it goes back when its server ends
	}
	// What is declared stays in the memory of the server for a moment.
	if got := server.Control("eval", "mnesia:sync_log()."); !strings.Contains(got, "ok") {
		t.Fatalf("mnesia:sync_log: %s", got)
	}
	server.Kill()
	expectNoListener(t, server.Addr())
	server.Restart()
	expectMessages(t, openChannel(t, server), "durable", 1)
	server.Shutdown()
	server.Restart()
	expectMessages(t, openChannel(t, server), "durable", 1)
	server.Restart() // while it runs
	if body, ok := get(t, openChannel(t, server), "durable", true); !ok || body != "body" {
		t.Errorf("got %q, %v in the end", body, ok)
	}
}

func TestRabbitMQThatIsStoppedAnswersWhenItContinues(t *testing.T) {
	t.Parallel()
	server := RabbitMQ(t)
	channel := openChannel(t, server)
	declareQueue(t, channel, "queue", nil)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := rabbitMQReady(ctx, server.URL(), ""); err == nil {
		t.Error("a RabbitMQ that is stopped answers")
	}
	if connection, err := net.Dial("tcp", server.Addr()); err != nil {
		t.Errorf("a RabbitMQ that is stopped takes no connection: %v", err)
	} else {
		connection.Close()
	}
	server.Continue()
	publish(t, channel, "queue", "body") // the same connection
	server.Stop()
	server.Shutdown() // has to wake it first
	server.Restart()
	server.Stop()
	server.Kill()
}

func TestRabbitMQIsConfiguredAndControlled(t *testing.T) {
	t.Parallel()
	server := RabbitMQ(t, "consumer_timeout = 10000", "consumer_timeout = 20000", "default_user = somebody", "default_user = guest")
	if value := server.Control("eval", "application:get_env(rabbit, consumer_timeout)."); !strings.Contains(value, "20000") {
		t.Errorf("the last line does not count: %s", value)
	}
	channel := openChannel(t, server)
	declareQueue(t, channel, "queue", nil)
	publish(t, channel, "queue", "body")
	if got := strings.Fields(server.Control("list_queues", "name", "messages")); fmt.Sprint(got) != "[queue 1]" {
		t.Errorf("list_queues: %q", got)
	}
	blocked := make(chan amqp.Blocking, 1)
	client := server.Client()
	client.NotifyBlocked(blocked)
	publishing, err := client.Channel()
	if err != nil {
		t.Fatal(err)
	}
	server.Control("set_vm_memory_high_watermark", "absolute", "1MB")
	if err := publishing.Publish("", "queue", false, false, amqp.Publishing{}); err != nil {
		t.Fatal(err)
	}
	select {
	case b := <-blocked:
		if !b.Active {
			t.Errorf("not blocked but %+v", b)
		}
	case <-time.After(20 * time.Second):
		t.Error("no memory, but nobody is blocked")
	}
	server.Control("set_vm_memory_high_watermark", "0.4")
}

func TestRabbitMQClusterOutlivesANode(t *testing.T) {
	t.Parallel()
	cluster := RabbitMQCluster(t)
	nodes := cluster.Nodes()
	quorum := amqp.Table{"x-queue-type": "quorum"}
	declareQueue(t, openChannel(t, nodes[0]), "quorum", quorum)
	publish(t, openChannel(t, nodes[0]), "quorum", "first")
	nodes[0].Kill()
	// While the queue has no leader, its messages are refused.
	if err := poll(20*time.Second, func(context.Context) error {
		return tryPublish(t, openChannel(t, nodes[1]), "quorum", "second")
	}); err != nil {
		t.Fatal(err)
	}
	if body, ok := get(t, openChannel(t, nodes[1]), "quorum", true); !ok || body != "first" {
		t.Errorf("got %q, %v from those that are left", body, ok)
	}
	nodes[0].Restart()
	if body, ok := get(t, openChannel(t, nodes[0]), "quorum", true); !ok || body != "second" {
		t.Errorf("got %q, %v from the one that is back", body, ok)
	}
}

func TestRabbitMQsOwnProgramsAreFound(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	for _, name := range []string{"rabbitmq-env", "rabbitmq-server"} {
		if err := os.WriteFile(filepath.Join(directory, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "rabbitmq-server")
	if err := os.Symlink(filepath.Join(directory, "rabbitmq-server"), link); err != nil {
		t.Fatal(err)
	}
	want, err := filepath.EvalSymlinks(directory)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rabbitMQScripts(link); err != nil || got != want {
		t.Errorf("found %q, %v; want %q", got, err, want)
	}
}

// openChannel opens a channel with confirms on a connection of its own.
func openChannel(t *testing.T, server *RabbitMQServer) *amqp.Channel {
	t.Helper()
	channel, err := server.Client().Channel()
	if err == nil {
		err = channel.Confirm(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	return channel
}

func declareQueue(t *testing.T, channel *amqp.Channel, name string, arguments amqp.Table) {
	t.Helper()
	if _, err := channel.QueueDeclare(name, true, false, false, false, arguments); err != nil {
		t.Fatal(err)
	}
}

// publish publishes a persistent message, and awaits that it is confirmed.
func publish(t *testing.T, channel *amqp.Channel, queue, body string) {
	t.Helper()
	if err := tryPublish(t, channel, queue, body); err != nil {
		t.Fatal(err)
	}
}

// tryPublish is publish, but returns an error if the server refuses the message.
func tryPublish(t *testing.T, channel *amqp.Channel, queue, body string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	confirmation, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", queue, false, false,
		amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := confirmation.WaitContext(ctx); !ok || err != nil {
		return fmt.Errorf("not confirmed: %v, %v", ok, err)
	}
	return nil
}

// get gets a message, for which it looks a while: one that another connection
// gave back, or that a new leader has, takes a moment.
func get(t *testing.T, channel *amqp.Channel, queue string, acknowledge bool) (body string, ok bool) {
	t.Helper()
	err := poll(20*time.Second, func(context.Context) error {
		delivery, found, err := channel.Get(queue, acknowledge)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			return errors.New("the queue is empty")
		}
		body, ok = string(delivery.Body), true
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return body, ok
}

// expectMessages fails the test unless the queue has so many messages.
func expectMessages(t *testing.T, channel *amqp.Channel, queue string, want int) {
	t.Helper()
	got, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Messages != want {
		t.Errorf("%q has %d messages, not %d", queue, got.Messages, want)
	}
}
