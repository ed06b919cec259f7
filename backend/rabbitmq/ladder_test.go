package rabbitmq_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

// topology is what was declared. Messages are followed through it by the rules
// of RabbitMQ, which are written here once more, and not by those of the driver.
type topology struct {
	exchanges map[string]map[string]any // the arguments by name
	queues    map[string]map[string]any
	bindings  []binding
}

// binding leads from an exchange to a queue or to another exchange.
type binding struct {
	source, key, destination string
	toExchange               bool
}

// declare takes a declaration down, and reports whether it wants no answer.
func (o *topology) declare(t *testing.T, method uint32, arguments fields) (noWait bool) {
	if o.queues == nil {
		o.exchanges, o.queues = make(map[string]map[string]any), make(map[string]map[string]any)
	}
	arguments.cut(2)
	switch name := arguments.cutShort(); method {
	case exchangeDeclare:
		kind, bits := arguments.cutShort(), arguments.cut(1)
		if bits&^(1<<4) != 1<<1 {
			t.Errorf("exchange %q is declared with the bits %b, want it durable and no more", name, bits)
		}
		o.exchanges[name] = table(arguments.cutLong())
		o.exchanges[name]["kind"] = kind
		return bits&(1<<4) != 0
	case queueDeclare:
		bits := arguments.cut(1)
		if bits&1 != 0 { // it is only looked for
			return false
		}
		if bits&^(1<<4) != 1<<1 {
			t.Errorf("queue %q is declared with the bits %b, want it durable and no more", name, bits)
		}
		o.queues[name] = table(arguments.cutLong())
		return bits&(1<<4) != 0
	default:
		b := binding{destination: name, source: arguments.cutShort(), key: arguments.cutShort(), toExchange: method == exchangeBind}
		o.bindings = append(o.bindings, b)
		return arguments.cut(1) != 0
	}
}

// route returns the queues that a message comes to which is published.
func (o *topology) route(exchange, key string) map[string]bool {
	if exchange == "" {
		return map[string]bool{key: true}
	}
	reached := make(map[string]bool)
	for _, b := range o.bindings {
		if b.source != exchange || !matches(strings.Split(b.key, "."), strings.Split(key, ".")) {
			continue
		}
		if !b.toExchange {
			reached[b.destination] = true
			continue
		}
		for queue := range o.route(b.destination, key) {
			reached[queue] = true
		}
	}
	return reached
}

// matches reports whether a topic exchange lets words through: * stands for one
// word, and # for any number.
func matches(pattern, words []string) bool {
	switch {
	case len(pattern) == 0:
		return len(words) == 0
	case pattern[0] == "#":
		return matches(pattern[1:], words) || len(words) > 0 && matches(pattern, words[1:])
	case len(words) == 0 || pattern[0] != "*" && pattern[0] != words[0]:
		return false
	}
	return matches(pattern[1:], words[1:])
}

// follow returns the queue in which a message comes to rest, and how long it
// has waited in others until then.
func (o *topology) follow(exchange, key string) (queue string, waited time.Duration, err error) {
	for range 100 {
		if _, there := o.exchanges[exchange]; !there && exchange != "" {
			return "", waited, fmt.Errorf("there is no exchange %q", exchange)
		}
		reached := o.route(exchange, key)
		if len(reached) != 1 {
			return "", waited, fmt.Errorf("%q leads from %q to %v, want one queue", key, exchange, reached)
		}
		for queue = range reached {
		}
		arguments, there := o.queues[queue]
		if !there {
			return "", waited, fmt.Errorf("there is no queue %q", queue)
		}
		life, expires := arguments["x-message-ttl"].(int64)
		if !expires {
			return queue, waited, nil
		}
		waited += time.Duration(life) * time.Millisecond
		var leads bool
		if exchange, leads = arguments["x-dead-letter-exchange"].(string); !leads {
			return "", waited, fmt.Errorf("queue %q drops its messages", queue)
		}
	}
	return "", waited, errors.New("it goes round in circles")
}

// longest is the longest delay: that of a ladder of 25 levels.
const longest = (1<<25 - 1) * time.Second

// delays are the ends of each level, and others at random.
func delays() []time.Duration {
	all := []time.Duration{0, 1, time.Millisecond, time.Second - 1, longest - 1, longest - time.Second, longest}
	for n := range 25 {
		level := time.Second << n
		all = append(all, level-1, level, level+1)
	}
	for n := range 200 { // short ones as often as long ones
		all = append(all, rand.N(time.Second<<(n%25)), rand.N(longest))
	}
	return all
}

// follows pushes a message with each of the delays to each of the queues, and
// has every one of them followed.
func follows(t *testing.T, queues []string, delays []time.Duration) {
	t.Helper()
	s := serve(t, manners{})
	b := opened(t, "amqp://"+s.address)
	var messages []*backend.Message
	for _, queue := range queues {
		for _, delay := range delays {
			messages = append(messages, &backend.Message{ID: "1", Kind: "k", Args: []byte("1"), Queue: queue, Delay: delay})
		}
	}
	if err := b.Push(t.Context(), messages); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.published) != len(messages) {
		t.Fatalf("%d messages were published, want %d", len(s.published), len(messages))
	}
	for i, m := range messages {
		p := s.published[i]
		queue, waited, err := s.topology.follow(p.exchange, p.key)
		if err != nil || queue != m.Queue {
			t.Fatalf("a job for %q that is due in %v came to %q: %v", m.Queue, m.Delay, queue, err)
		}
		if want := (m.Delay + time.Second - 1).Truncate(time.Second); waited != want {
			t.Errorf("a job that is due in %v has waited %v, want %v", m.Delay, waited, want)
		}
	}
}

func TestADelayedJobWaitsForItsDelayRoundedUpToTheSecond(t *testing.T) {
	follows(t, []string{"mail"}, delays())
}

func TestADelayedJobComesToItsOwnQueueAlone(t *testing.T) {
	long := strings.Repeat("a.b-", 50) // 200 bytes, the most that a name may have
	follows(t, []string{
		"mail", "send.mail", "mail.send", "a.b.c.d", "a.b.c", "b.c.d", "a", "b", "0", "1", "0.0", "1.1", "0.1.mail", "1.mail",
		"..", "a.", ".a", "a..b", ".mail", "mail.", "a/b", "a:b+c_d-e", "gofer", "dead", long, long[:199], long[1:],
	}, []time.Duration{0, 1, 3 * time.Second, 1<<24*time.Second + 1, longest})
}

// A dot is the shortest name that is easily taken for something else.
func TestAQueueMayBeNamedADot(t *testing.T) {
	follows(t, []string{"mail", "."}, []time.Duration{0, time.Second})
	follows(t, []string{".", "mail"}, []time.Duration{0, time.Second})
}

func TestADelayThatIsTooLongIsRefused(t *testing.T) {
	s := serve(t, manners{})
	b := opened(t, "amqp://"+s.address)
	if most := backend.LimitsOf(b).MaxDelay; most != longest {
		t.Errorf("the longest delay is %v, want %v", most, longest)
	}
	err := b.Push(t.Context(), []*backend.Message{{ID: "1", Kind: "k", Args: []byte("1"), Queue: "mail", Delay: longest + 1}})
	if !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
	if len(s.published) > 0 {
		t.Errorf("it was published as %+v", s.published)
	}
}

// What waits on the ladder is moved on by RabbitMQ alone, and only a quorum
// queue that refuses messages does it so that a crash loses none.
func TestTheLadderLosesNothing(t *testing.T) {
	s := serve(t, manners{})
	b := opened(t, "amqp://"+s.address)
	if err := b.Push(t.Context(), []*backend.Message{{ID: "1", Kind: "k", Args: []byte("1"), Queue: "mail", Delay: time.Second}}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	levels := 0
	for name, arguments := range s.topology.queues {
		if _, expires := arguments["x-message-ttl"]; !expires {
			continue
		}
		levels++
		for argument, want := range map[string]any{"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"} {
			if arguments[argument] != want {
				t.Errorf("queue %q has %s=%v, want %v", name, argument, arguments[argument], want)
			}
		}
		for _, argument := range []string{"x-dead-letter-routing-key", "x-expires", "x-max-length"} {
			if value, there := arguments[argument]; there {
				t.Errorf("queue %q has %s=%v, want none", name, argument, value)
			}
		}
	}
	if levels != 25 {
		t.Errorf("%d queues hold jobs back, want 25", levels)
	}
	for name, arguments := range s.topology.exchanges {
		if kind := arguments["kind"]; kind != "topic" && name != "gofer.undeliverable" {
			t.Errorf("exchange %q is a %v, want a topic", name, kind)
		}
	}
}

// A job whose queue was deleted while it waited is kept for a person to find.
func TestADelayedJobWithoutAQueueIsKept(t *testing.T) {
	s := serve(t, manners{})
	b := opened(t, "amqp://"+s.address)
	if err := b.Push(t.Context(), []*backend.Message{{ID: "1", Kind: "k", Args: []byte("1"), Queue: "mail", Delay: time.Second}}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	other, there := s.topology.exchanges["gofer.delayed"]["alternate-exchange"].(string)
	if !there || s.topology.exchanges[other]["kind"] != "fanout" {
		t.Fatalf("the exchange below the ladder is %v", s.topology.exchanges["gofer.delayed"])
	}
	for _, bound := range s.topology.bindings {
		if bound.source == other && !bound.toExchange && s.topology.queues[bound.destination] != nil {
			return
		}
	}
	t.Errorf("no queue is bound to %q", other)
}
