package rabbitmq_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/integration/faults"
)

// The tests in the files faults_… harm workers, the server and the network
// between them with package faults. What is here is RabbitMQ's own: its
// addresses, what is said to it, and how to look at what it has.

// recovery is how long it may take until jobs run again, once the server is
// there again: the driver may pause for seconds between two tries.
const recovery = 5*time.Second + faults.Recovery

// withHosts returns the address with other hosts in the place of its own.
func withHosts(address string, hosts ...string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	u.Host = strings.Join(hosts, ",")
	return u.String()
}

// messageFor returns a job of a queue.
func messageFor(queue, id string) *backend.Message {
	m := faults.Message(id)
	m.Queue = queue
	return m
}

// watcher sees of the queue "default" what a plain client sees, and also what
// AMQP does not tell.
type watcher struct {
	*client
	vhost   string
	control func(arguments ...string) string // runs rabbitmqctl
}

// watch returns one for an address of [place].
func watch(t testing.TB, address string) *watcher {
	t.Helper()
	return &watcher{plain(t, address), hostOf(address), shared.control}
}

// watchServer returns one for a server of the test's own. It does not outlive
// the server.
func watchServer(t testing.TB, server *brokers.RabbitMQServer) *watcher {
	t.Helper()
	return &watcher{plain(t, server.URL()), "/", server.Control}
}

// count returns how many messages there are, ready or reserved, and how many
// backends wait for some: each has a channel, with one consumer or several. It
// takes half a second.
func (w *watcher) count() (messages, waiting int, err error) {
	output := w.control("eval", fmt.Sprintf(`
		case rabbit_amqqueue:lookup(rabbit_misc:r(<<%q>>, queue, <<"default">>)) of
			{ok, Queue} ->
				Messages = case amqqueue:get_type(Queue) of
					rabbit_quorum_queue ->
						{ok, {_, All}, _} = ra:local_query(amqqueue:get_pid(Queue), fun rabbit_fifo:query_messages_total/1), All;
					rabbit_classic_queue ->
						[{messages, All}] = rabbit_amqqueue:info(Queue, [messages]), All
				end,
				io:format("~b ~b~n", [Messages, length(lists:usort([element(1, C) || C <- rabbit_amqqueue:consumers(Queue)]))]);
			{error, not_found} -> io:format("0 0~n")
		end.`, w.vhost))
	_, err = fmt.Sscan(output, &messages, &waiting)
	return messages, waiting, err
}

// empty returns nil when there are no messages, ready or reserved. What costs
// less to see it looks at first.
func (w *watcher) empty() error {
	ready, _, err := w.look("default")
	if err != nil || ready > 0 {
		return fmt.Errorf("%d messages are ready, %v; want none", ready, err)
	}
	messages, _, err := w.count()
	if err != nil || messages > 0 {
		return fmt.Errorf("%d messages are ready or reserved, %v; want none", messages, err)
	}
	return nil
}

func (w *watcher) awaitEmpty() {
	w.t.Helper()
	faults.Eventually(w.t, faults.Patience, w.empty)
}

// idle returns nil when there are no messages, and so many workers wait for
// some.
func (w *watcher) idle(workers int) error {
	ready, consumers, err := w.look("default")
	if err != nil || ready > 0 || consumers < workers {
		return fmt.Errorf("%d messages are ready, and there are %d consumers, %v; want none of the former and %d of the latter", ready, consumers, err, workers)
	}
	messages, waiting, err := w.count()
	if err != nil || messages > 0 || waiting != workers {
		return fmt.Errorf("there are %d messages, and %d workers wait for some, %v; want none and %d", messages, waiting, err, workers)
	}
	return nil
}

func (w *watcher) awaitIdle(workers int) {
	w.t.Helper()
	faults.Eventually(w.t, faults.Patience, func() error { return w.idle(workers) })
}

// awaitAcked waits until no more is reserved than a load has in hand. A worker
// settles in one call after the other: behind one that takes long, acks gather,
// and are lost with the connection.
func (w *watcher) awaitAcked() {
	w.t.Helper()
	faults.Eventually(w.t, faults.Patience, func() error {
		ready, _, err := w.look("default")
		if err != nil {
			return err
		}
		messages, _, err := w.count()
		if err != nil || messages-ready > mostInHand {
			return fmt.Errorf("%d of %d messages are ready, %v; want at most %d reserved", ready, messages, err, mostInHand)
		}
		return nil
	})
}

// loadPrefetch is how many jobs a load holds besides those that it runs. As many
// as both may be acked just then, and be lost with the ack.
const (
	loadPrefetch = 4
	mostInHand   = 2 * (faults.LoadWorkers + loadPrefetch)
)

// startLoad begins a load that holds a known number of jobs.
func startLoad(t testing.TB, address string) *faults.Load {
	t.Helper()
	return faults.StartLoad(t, address, queue.Prefetch(loadPrefetch))
}

// finish ends a load. Jobs may have run more often than once as far as so many
// outages explain it: those that were in hand, and those of an Enqueue whose
// error left open what the server did.
func finish(l *faults.Load, outages int) {
	l.StopProducing()
	failed, refused := l.Failures()
	l.Finish(outages*mostInHand + failed - refused)
}

// save has the server write what was declared, as it does by itself a moment
// later. Before that a server that is killed forgets durable queues, with the
// messages in them that it has confirmed.
func save(t testing.TB, server *brokers.RabbitMQServer) {
	t.Helper()
	if got := server.Control("eval", "mnesia:sync_log()."); !strings.Contains(got, "ok") {
		t.Fatalf("mnesia:sync_log: %s", got)
	}
}
