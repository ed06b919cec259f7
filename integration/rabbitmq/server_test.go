package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
	"github.com/goferhq/queue/integration/faults"
)

// server starts a RabbitMQ for the test alone, which may harm it. That takes
// some seconds of both the clock and the processor: a test that does its server
// no harm has a [place] instead.
func server(t testing.TB, configuration ...string) *brokers.RabbitMQServer {
	t.Helper()
	// The line is the default. A test that has one is not given the server
	// that the environment names, which others use.
	return brokers.RabbitMQ(t, append([]string{"frame_max = 131072"}, configuration...)...)
}

// place returns the URL of a virtual host that nobody else uses and that is
// empty, on a server that the tests of this package share.
func place(t testing.TB) string {
	t.Helper()
	return shared.place(t)
}

// shared is the server of those tests that do theirs no harm.
var shared sharedServer

type sharedServer struct {
	mu     sync.Mutex // guards all below, and the start of the server
	server *brokers.RabbitMQServer
	life   *life
	places int // virtual hosts that were given away
}

// placesAtOnce is how many virtual hosts are made in one go, which takes hardly
// longer than making one does.
const placesAtOnce = 50

func (s *sharedServer) place(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		s.life = &life{TB: t}
		s.server = server(s.life)
		s.life.serves = true
	}
	if s.places%placesAtOnce == 0 {
		s.server.Control("eval", fmt.Sprintf(`
			catch rabbit_auth_backend_internal:add_user(<<%[1]q>>, <<%[1]q>>, <<"test">>),
			lists:foreach(fun(N) ->
				Name = <<"place-", (integer_to_binary(N))/binary>>,
				rabbit_vhost:add(Name, <<"test">>),
				[rabbit_auth_backend_internal:set_permissions(User, Name, <<".*">>, <<".*">>, <<".*">>, <<"test">>)
				 || User <- [<<"guest">>, <<%[1]q>>]]
			end, lists:seq(%[2]d, %[3]d)).`, stranger, s.places, s.places+placesAtOnce-1))
	}
	u, err := url.Parse(s.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = fmt.Sprintf("/place-%d", s.places)
	s.places++
	return u.String()
}

// stranger is a user, and the password, beside the one whom the driver is.
const stranger = "stranger"

// asStranger is the same place for that user.
func asStranger(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	u.User = url.UserPassword(stranger, stranger)
	return u.String()
}

// hostOf returns the virtual host of an address.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// control runs rabbitmqctl on the server that is shared. The arguments name the
// virtual host.
func (s *sharedServer) control(arguments ...string) string {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	return server.Control(arguments...)
}

// end ends the server when all tests have.
func (s *sharedServer) end(failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != nil {
		s.life.end(failed)
	}
}

// life is a testing.TB that goes on when the test has ended with which it began.
// Until then that one is told why there is no server.
type life struct {
	testing.TB
	serves   bool
	failed   bool
	cleanups []func()
}

func (l *life) Helper()                 {}
func (l *life) Cleanup(f func())        { l.cleanups = append(l.cleanups, f) }
func (l *life) Failed() bool            { return l.failed }
func (l *life) Logf(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }

// Fatalf ends the test that goes on, whichever that is.
func (l *life) Fatalf(format string, arguments ...any) {
	if l.serves {
		panic(fmt.Sprintf(format, arguments...))
	}
	l.TB.Fatalf(format, arguments...)
}

func (l *life) TempDir() string {
	path, err := os.MkdirTemp("", "rabbitmq")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { os.RemoveAll(path) })
	return path
}

func (l *life) end(failed bool) {
	l.failed = failed
	for _, f := range slices.Backward(l.cleanups) {
		f()
	}
}

// with returns the address with more parameters: name, value, name, value.
func with(address string, parameters ...string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	q := u.Query()
	for i := 0; i < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// startQueue runs a queue with the handlers of mux until the test ends.
func startQueue(t testing.TB, address string, mux *queue.Mux, options ...queue.OpenOption) *queue.Queue {
	t.Helper()
	q, err := queue.Open(t.Context(), address, append([]queue.OpenOption{
		queue.Handlers(mux), queue.Logger(slog.New(slog.DiscardHandler)),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, q.Close()); err != nil {
			t.Errorf("Run and Close: %v", err)
		}
	})
	return q
}

func push(t testing.TB, b backend.Backend, messages ...*backend.Message) {
	t.Helper()
	if err := b.Push(t.Context(), messages); err != nil {
		t.Fatalf("Push: %v", err)
	}
}

func ack(t testing.TB, b backend.Backend, deliveries ...*backend.Delivery) {
	t.Helper()
	if err := b.Ack(t.Context(), deliveries); err != nil {
		t.Fatalf("Ack: %v", err)
	}
}

// bury buries deliveries as one batch.
func bury(t testing.TB, b backend.Backend, deliveries ...*backend.Delivery) {
	t.Helper()
	burials := make([]backend.Burial, len(deliveries))
	for i, d := range deliveries {
		burials[i] = backend.Burial{Delivery: d, Failure: faults.Failure()}
		if d.Malformed == nil {
			m := d.Message
			burials[i].Message = &m
		}
	}
	if err := b.Bury(t.Context(), burials); err != nil {
		t.Fatalf("Bury: %v", err)
	}
}

// reserve reserves a job of the queue, which has to be there within the limit.
// RabbitMQ has no leases that end by time.
func reserve(t testing.TB, b backend.Backend, queue string, limit time.Duration) *backend.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	deliveries, err := b.Reserve(ctx, []string{queue}, 1, time.Minute)
	if err != nil {
		t.Fatalf("Reserve from %.30s within %v: %v", queue, limit, err)
	}
	return deliveries[0]
}

// expectNothing fails the test if there is a job in any of the queues. It is for
// when nothing is left to wait for.
func expectNothing(t testing.TB, b backend.Backend, queues ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if deliveries, err := b.Reserve(ctx, queues, 1, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Reserve: %v, %v; want nothing", deliveries, err)
	}
}

func ids(deliveries []*backend.Delivery) []string {
	all := make([]string, len(deliveries))
	for i, d := range deliveries {
		all[i] = d.ID
	}
	return all
}

// numbered returns so many names in their order.
func numbered(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%05d", i)
	}
	return all
}

// expectEachOnce fails the test unless got are the names that are wanted, each
// once, in any order.
func expectEachOnce(t testing.TB, got, want []string) {
	t.Helper()
	times := make(map[string]int)
	for _, name := range got {
		times[name]++
	}
	var missing, several, foreign []string
	for _, name := range want {
		if times[name] == 0 {
			missing = append(missing, name)
		}
	}
	for name, n := range times {
		if n > 1 {
			several = append(several, name)
		}
		if !slices.Contains(want, name) {
			foreign = append(foreign, name)
		}
	}
	for what, names := range map[string][]string{"are missing": missing, "are there several times": several, "are not theirs": foreign} {
		if len(names) > 0 {
			t.Errorf("of %d jobs %d %s, such as %q", len(want), len(names), what, slices.Min(names))
		}
	}
}

// client is a connection that knows nothing of this library.
type client struct {
	t          testing.TB
	connection *amqp.Connection
}

// plain opens one. It does not outlive its server.
func plain(t testing.TB, address string) *client {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = "" // the parameters are the driver's
	connection, err := amqp.Dial(u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.CloseDeadline(time.Now().Add(time.Second)) })
	return &client{t, connection}
}

// do lets f work on a channel of its own: an error costs a client its channel.
func (c *client) do(f func(*amqp.Channel) error) error {
	channel, err := c.connection.Channel()
	if err != nil {
		return err
	}
	defer channel.Close()
	return f(channel)
}

func (c *client) must(f func(*amqp.Channel) error) {
	c.t.Helper()
	if err := c.do(f); err != nil {
		c.t.Fatal(err)
	}
}

// asOurs are the arguments of a queue as this library declares them.
func asOurs() amqp.Table {
	return amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": 1 << 30}
}

// classic are those with type=classic and so many priorities.
func classic(priorities int) amqp.Table {
	return amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic, "x-max-priority": priorities}
}

// declare declares a durable queue.
func (c *client) declare(queue string, arguments amqp.Table) {
	c.t.Helper()
	c.must(func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclare(queue, true, false, false, false, arguments)
		return err
	})
}

// remove deletes a queue with whatever it holds.
func (c *client) remove(queue string) {
	c.t.Helper()
	c.must(func(channel *amqp.Channel) error {
		_, err := channel.QueueDelete(queue, false, false, false)
		return err
	})
}

// put publishes a job to a queue as most foreign producers do it.
func (c *client) put(queue, body string) {
	c.t.Helper()
	c.publish(queue, amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent})
}

// publish publishes a message to a queue and awaits that it is confirmed.
func (c *client) publish(queue string, message amqp.Publishing) {
	c.t.Helper()
	if err := c.tryPublish(c.t.Context(), queue, message); err != nil {
		c.t.Fatal(err)
	}
}

var (
	errNoQueue = errors.New("there is no such queue")
	errRefused = errors.New("the server refuses the message")
)

// tryPublish publishes again what is refused: a quorum queue that is just being
// made takes nothing for a moment.
func (c *client) tryPublish(ctx context.Context, queue string, message amqp.Publishing) error {
	for {
		err := c.publishOnce(ctx, queue, message)
		if !errors.Is(err, errRefused) || ctx.Err() != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *client) publishOnce(ctx context.Context, queue string, message amqp.Publishing) error {
	return c.do(func(channel *amqp.Channel) error {
		if err := channel.Confirm(false); err != nil {
			return err
		}
		returned := channel.NotifyReturn(make(chan amqp.Return, 1))
		closed := channel.NotifyClose(make(chan *amqp.Error, 1))
		confirmation, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, message)
		if err != nil {
			return err
		}
		confirmed, err := confirmation.WaitContext(ctx)
		if err != nil {
			return err
		}
		if !confirmed {
			select {
			case reason := <-closed:
				return fmt.Errorf("the channel was closed before the message was confirmed: %w", reason)
			default:
				return errRefused
			}
		}
		select { // it comes before the confirm
		case <-returned:
			return errNoQueue
		default:
			return nil
		}
	})
}

// get takes a message out of a queue, which has to come soon. It looks before it
// asks: a RabbitMQ that is asked for a message of a queue that is just being made
// may break the connection.
func (c *client) get(queue string) amqp.Delivery {
	c.t.Helper()
	var got amqp.Delivery
	faults.Eventually(c.t, faults.Patience, func() error {
		ready, _, err := c.look(queue)
		if err == nil && ready == 0 {
			err = fmt.Errorf("%s is empty", queue)
		}
		if err != nil {
			return err
		}
		return c.do(func(channel *amqp.Channel) error {
			d, found, err := channel.Get(queue, true)
			if err == nil && !found {
				err = fmt.Errorf("%s is empty after all", queue)
			}
			got = d
			return err
		})
	})
	return got
}

// look returns how many messages of a queue are ready, which are neither
// reserved nor on their way to somebody, and how many consume from it. A queue
// that does not exist has none of either.
func (c *client) look(queue string) (ready, consumers int, err error) {
	err = c.do(func(channel *amqp.Channel) error {
		q, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		ready, consumers = q.Messages, q.Consumers
		return err
	})
	var refusal *amqp.Error
	if errors.As(err, &refusal) && refusal.Code == amqp.NotFound {
		return 0, 0, nil
	}
	return ready, consumers, err
}

// awaitReady waits until that many messages of the queue are ready.
func (c *client) awaitReady(queue string, want int) {
	c.t.Helper()
	faults.Eventually(c.t, faults.Patience, func() error {
		ready, _, err := c.look(queue)
		if err == nil && ready != want {
			err = fmt.Errorf("%d messages of %s are ready, want %d", ready, queue, want)
		}
		return err
	})
}

// awaitConsumers waits until that many consumers wait for messages of the queue.
func (c *client) awaitConsumers(queue string, want int) {
	c.t.Helper()
	faults.Eventually(c.t, faults.Patience, func() error {
		_, consumers, err := c.look(queue)
		if err == nil && consumers != want {
			err = fmt.Errorf("%d consume from %s, want %d", consumers, queue, want)
		}
		return err
	})
}

// logged is what this process has written to slog.Default.
var logged = new(journal)

type journal struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

// Write is given one record at a time.
func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(line))
	return len(line), nil
}

// having returns the lines that contain all the texts.
func (j *journal) having(texts ...string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []string
	for _, line := range j.lines {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			found = append(found, line)
		}
	}
	return found
}
