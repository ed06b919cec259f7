package rabbitmq_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/faults"
)

func TestAJobThatAPlainClientPublishesRuns(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	foreign.declare("default", asOurs())
	foreign.put("default", `{"job":"send_email","data":{"to":"before"}}`)
	type email struct{ To string }
	got := make(chan *queue.Job[email], 1)
	mux := new(queue.Mux)
	queue.RegisterOn(mux, "send_email", queue.HandlerFunc[email](func(_ context.Context, job *queue.Job[email]) error {
		got <- job
		return nil
	}))
	startQueue(t, address, mux)
	expect := func(to string) {
		t.Helper()
		select {
		case job := <-got:
			if job.Args.To != to || job.Attempt != 1 || job.ID == "" || job.Kind != "send_email" || job.Queue != "default" {
				t.Errorf("the job is %+v", job)
			}
		case <-time.After(faults.Patience):
			t.Fatal("the job has not run")
		}
	}
	expect("before")
	foreign.awaitConsumers("default", 1)
	foreign.put("default", `{"job":"send_email","data":{"to":"while the worker waits"}}`)
	expect("while the worker waits")
}

func TestTheMessageIDOfAForeignJobIsItsIDUnlessItsBodyHasOne(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	foreign.declare("default", asOurs())
	b := faults.Open(t, address)
	for _, c := range []struct{ body, property, want string }{
		{`{"job":"job","data":1}`, "from-the-property", "from-the-property"},
		{`{"job":"job","data":1,"id":"from-the-body"}`, "from-the-property", "from-the-body"},
		{`{"job":"job","data":1,"id":"from-the-body"}`, "", "from-the-body"},
		{`{"job":"job","data":1,"id":""}`, "from-the-property", "from-the-property"},
		// Whatever a driver does to an ID, it must be able to do it again.
		{`{"job":"job","data":1}`, strings.Repeat("i", 255), strings.Repeat("i", 255)},
		{`{"job":"job","data":1}`, "no \xff UTF-8", ""},
		{`{"job":"job","data":1}`, "", ""},
	} {
		foreign.publish("default", amqp.Publishing{Body: []byte(c.body), MessageId: c.property})
		d := reserve(t, b, "default", faults.Patience)
		if d.ID == "" || c.want != "" && d.ID != c.want {
			t.Errorf("the ID of %s with the message-id %q is %q, want %q", c.body, c.property, d.ID, c.want)
		}
		given := d.ID
		// Each of these stores a copy.
		if err := b.Release(t.Context(), []*backend.Delivery{d}, 0); err != nil {
			t.Fatalf("Release with the message-id %q: %v", c.property, err)
		}
		if d = reserve(t, b, "default", faults.Patience); d.ID != given {
			t.Errorf("after a Release the ID is %q, want %q", d.ID, given)
		}
		m := d.Message
		if err := b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &m}}); err != nil {
			t.Fatalf("Retry with the message-id %q: %v", c.property, err)
		}
		if d = reserve(t, b, "default", faults.Patience); d.ID != given {
			t.Errorf("after a Retry the ID is %q, want %q", d.ID, given)
		}
		ack(t, b, d)
	}
}

// strange is a message that is no job, with every property that others may set.
func strange() amqp.Publishing {
	return amqp.Publishing{
		Body:            []byte("\x00no job\xff"),
		ContentType:     "text/plain",
		ContentEncoding: "gzip",
		DeliveryMode:    amqp.Persistent,
		CorrelationId:   "correlation",
		ReplyTo:         "reply",
		MessageId:       "message",
		Timestamp:       time.Unix(1_600_000_000, 0),
		Type:            "type",
		AppId:           "app",
		Headers: amqp.Table{
			"text": "text", "number": int64(-7), "truth": true, "nothing": nil, "time": time.Unix(1_500_000_000, 0),
			"list": []any{"a", int32(1)}, "table": amqp.Table{"inner": "value"}, "bytes": []byte{0, 255},
		},
	}
}

// expectAsPut fails the test unless a message has the body and the properties
// with which it was published.
func expectAsPut(t *testing.T, when string, got amqp.Delivery, put amqp.Publishing) {
	t.Helper()
	if !bytes.Equal(got.Body, put.Body) {
		t.Errorf("%s the body is %q, want %q", when, got.Body, put.Body)
	}
	now := amqp.Publishing{
		ContentType: got.ContentType, ContentEncoding: got.ContentEncoding, DeliveryMode: got.DeliveryMode,
		CorrelationId: got.CorrelationId, ReplyTo: got.ReplyTo, MessageId: got.MessageId, Timestamp: got.Timestamp,
		Type: got.Type, AppId: got.AppId, Body: put.Body,
		// The server adds its own to what goes through a quorum queue.
		Headers: maps.Clone(got.Headers),
	}
	delete(now.Headers, "x-delivery-count")
	if !reflect.DeepEqual(now, put) {
		t.Errorf("%s the properties are\n%+v, want\n%+v", when, now, put)
	}
}

func TestWhatIsNoJobIsBuriedAndRequeuedAsItWas(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	foreign.declare("default", asOurs())
	b := faults.Open(t, address)
	foreign.publish("default", strange())
	d := reserve(t, b, "default", faults.Patience)
	if d.Malformed == nil || !bytes.Equal(d.Raw, strange().Body) {
		t.Fatalf("the delivery is %+v, want it malformed and raw", d)
	}
	if err := b.Release(t.Context(), []*backend.Delivery{d}, time.Second); err != nil { // which copies it too
		t.Fatal(err)
	}
	bury(t, b, reserve(t, b, "default", faults.Patience))
	entries := faults.Dead(t, b)
	if len(entries) != 1 || entries[0].Malformed == nil || !bytes.Equal(entries[0].Raw, strange().Body) || entries[0].Failure == nil {
		t.Fatalf("buried: %+v; want the body as it was, and why", entries)
	}
	foreign.awaitReady("default.dead", 1)

	set, _ := backend.As[backend.DeadSet](b)
	if n, err := set.Requeue(t.Context(), "default", entries[0].Key); n != 1 || err != nil {
		t.Fatalf("Requeue: %d, %v", n, err)
	}
	expectAsPut(t, "requeued", foreign.get("default"), strange())
	foreign.awaitReady("default.dead", 0)
}

func TestADeadMessageThatWasNoJobHasItsProperties(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	foreign.declare("default", asOurs())
	foreign.publish("default", strange())
	startQueue(t, address, new(queue.Mux), queue.Queues("default"))
	dead := foreign.get("default.dead")
	var failure backend.Failure
	text, _ := dead.Headers["gofer-failure"].(string)
	if err := json.Unmarshal([]byte(text), &failure); err != nil || failure.Error == "" || time.Since(failure.At).Abs() > time.Minute {
		t.Errorf("the failure is %q, %v", text, err)
	}
	if key, _ := dead.Headers["gofer-key"].(string); key == "" {
		t.Error("the dead message has no key")
	}
	maps.DeleteFunc(dead.Headers, func(name string, _ any) bool { return strings.HasPrefix(name, "gofer-") })
	expectAsPut(t, "dead", dead, strange())
}

// A copy would go where the message went, once more with each copy.
func TestACopyOfAForeignMessageGoesToItsOwnQueueOnly(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"job":"job","data":1}`, "no job"} {
		address := place(t)
		foreign := plain(t, address)
		foreign.declare("default", asOurs())
		foreign.declare("carbon", nil)
		b := faults.Open(t, address)
		foreign.publish("default", amqp.Publishing{Body: []byte(body), Headers: amqp.Table{"CC": []any{"carbon"}, "BCC": []any{"carbon"}}})
		foreign.awaitReady("carbon", 1)
		for _, delay := range []time.Duration{0, time.Second} {
			if err := b.Release(t.Context(), []*backend.Delivery{reserve(t, b, "default", faults.Patience)}, delay); err != nil {
				t.Fatal(err)
			}
		}
		bury(t, b, reserve(t, b, "default", faults.Patience))
		set, _ := backend.As[backend.DeadSet](b)
		if n, err := set.Requeue(t.Context(), "default", faults.Dead(t, b)[0].Key); n != 1 || err != nil {
			t.Fatalf("Requeue: %d, %v", n, err)
		}
		ack(t, b, reserve(t, b, "default", faults.Patience))
		foreign.awaitReady("carbon", 1)
		expectNothing(t, b, "default")
	}
}

// The server holds whoever publishes to the user that a message names.
func TestAMessageThatNamesItsUserCanBeSettledByAnother(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"job":"job","data":1}`, "no job"} {
		address := place(t)
		foreign := plain(t, asStranger(address))
		foreign.declare("default", asOurs())
		b := faults.Open(t, address)
		foreign.publish("default", amqp.Publishing{Body: []byte(body), UserId: stranger})
		for _, delay := range []time.Duration{0, time.Second} {
			if err := b.Release(t.Context(), []*backend.Delivery{reserve(t, b, "default", faults.Patience)}, delay); err != nil {
				t.Fatalf("Release of %s: %v", body, err)
			}
		}
		bury(t, b, reserve(t, b, "default", faults.Patience))
		set, _ := backend.As[backend.DeadSet](b)
		if n, err := set.Requeue(t.Context(), "default", faults.Dead(t, b)[0].Key); n != 1 || err != nil {
			t.Fatalf("Requeue of %s: %d, %v", body, n, err)
		}
		ack(t, b, reserve(t, b, "default", faults.Patience))
	}
}

// A message of others may say how long it is to wait at most. Once it has been
// delivered, that neither cuts its delay short nor takes it from the dead.
func TestTheExpirationOfAForeignMessageEndsWithItsDelivery(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"job":"job","data":1}`, "no job"} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			address := place(t)
			foreign := plain(t, address)
			foreign.declare("default", asOurs())
			b := faults.Open(t, address)
			const expiration, delay = 1000 * time.Millisecond, 3 * time.Second
			var d *backend.Delivery
			faults.Eventually(t, faults.Patience, func() error { // on a slow machine it is gone first
				foreign.publish("default", amqp.Publishing{Body: []byte(body), Expiration: "1000"})
				ctx, cancel := context.WithTimeout(t.Context(), 2*expiration)
				defer cancel()
				deliveries, err := b.Reserve(ctx, []string{"default"}, 1, time.Minute)
				if err == nil {
					d = deliveries[0]
				}
				return err
			})
			before := time.Now()
			if err := b.Release(t.Context(), []*backend.Delivery{d}, delay); err != nil {
				t.Fatal(err)
			}
			d = reserve(t, b, "default", faults.Patience)
			if took := time.Since(before); took < delay {
				t.Errorf("released for %v, it came after %v", delay, took)
			}
			bury(t, b, d)
			keys := []string{faults.Dead(t, b)[0].Key}
			// Longer than it was to live, told by another delayed job.
			m := faults.Message("later")
			m.Delay = 2 * expiration
			push(t, b, m)
			ack(t, b, reserve(t, b, "default", faults.Patience))
			set, _ := backend.As[backend.DeadSet](b)
			if n, err := set.Delete(t.Context(), "default", keys...); n != 1 || err != nil {
				t.Errorf("Delete: %d, %v; want the message that was buried", n, err)
			}
		})
	}
}

func TestWhatAPlainClientGetsOfOursTellsWhatItIs(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	q := faults.OpenQueue(t, address)
	args := map[string]string{"to": "ä@b.c"}
	enqueue := func(options ...queue.Option) {
		t.Helper()
		options = append([]queue.Option{queue.ID("an-id"), queue.MaxAttempts(5), queue.Header("trace", "t1")}, options...)
		if _, err := q.Enqueue(t.Context(), "send_email", args, options...); err != nil {
			t.Fatal(err)
		}
	}
	for name, got := range map[string]func() amqp.Delivery{
		"at once": func() amqp.Delivery {
			enqueue()
			return foreign.get("default")
		},
		"later": func() amqp.Delivery {
			enqueue(queue.In(time.Second))
			return foreign.get("default")
		},
		"dead": func() amqp.Delivery {
			enqueue()
			bury(t, q.Backend(), reserve(t, q.Backend(), "default", faults.Patience))
			return foreign.get("default.dead")
		},
	} {
		d := got()
		if d.ContentType != "application/json" || d.DeliveryMode != amqp.Persistent || d.MessageId != "an-id" || d.Type != "send_email" ||
			time.Since(d.Timestamp).Abs() > time.Minute || d.Expiration != "" || d.Headers["trace"] != "t1" {
			t.Errorf("%s: the properties are %+v", name, d)
		}
		var job struct {
			Job         string            `json:"job"`
			Data        map[string]string `json:"data"`
			ID          string            `json:"id"`
			MaxAttempts int               `json:"max_attempts"`
			EnqueuedAt  time.Time         `json:"enqueued_at"`
			Headers     map[string]string `json:"headers"`
		}
		if err := json.Unmarshal(d.Body, &job); err != nil {
			t.Fatalf("%s: %v", d.Body, err)
		}
		if job.Job != "send_email" || job.Data["to"] != args["to"] || job.ID != "an-id" || job.MaxAttempts != 5 ||
			time.Since(job.EnqueuedAt).Abs() > time.Minute || job.Headers["trace"] != "t1" {
			t.Errorf("%s: the body is %s", name, d.Body)
		}
		if _, err := backend.DecodeEnvelope(d.Body); err != nil {
			t.Errorf("%s: the body is %s: %v", name, d.Body, err)
		}
	}
}

func TestThePriorityOfOursIsThatOfTheMessage(t *testing.T) {
	t.Parallel()
	address := with(place(t), "type", "classic", "max-priority", "10")
	b := faults.Open(t, address)
	m := faults.Message("a")
	m.Priority = 7
	push(t, b, m)
	if d := plain(t, address).get("default"); d.Priority != 7 {
		t.Errorf("its priority is %d, want 7", d.Priority)
	}
}

// The fields of a message are any text and any number; AMQP's have their limits,
// and to the server some headers are orders.
func TestNothingThatAJobCarriesBreaksItsPublishing(t *testing.T) {
	t.Parallel()
	address := place(t)
	foreign := plain(t, address)
	foreign.declare("elsewhere", nil)
	b := faults.Open(t, address)
	full := func(change func(*backend.Message)) *backend.Message {
		m := faults.Message("a")
		m.EnqueuedAt = time.Unix(1_700_000_000, 123456789).UTC()
		change(m)
		return m
	}
	messages := map[string]*backend.Message{
		"a long kind":          full(func(m *backend.Message) { m.Kind = strings.Repeat("k", 300) }),
		"a long kind of runes": full(func(m *backend.Message) { m.Kind = "k" + strings.Repeat("ä", 200) }),
		"a long ID":            full(func(m *backend.Message) { m.ID = strings.Repeat("i", 300) }),
		"a kind of 255 bytes":  full(func(m *backend.Message) { m.Kind = strings.Repeat("k", 255) }),
		"a kind of 256 bytes":  full(func(m *backend.Message) { m.Kind = strings.Repeat("k", 256) }),
		"no time":              full(func(m *backend.Message) { m.EnqueuedAt = time.Time{} }),
		"a time before 1970":   full(func(m *backend.Message) { m.EnqueuedAt = time.Date(1, 2, 3, 4, 5, 6, 7, time.UTC) }),
		"a time in the future": full(func(m *backend.Message) { m.EnqueuedAt = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) }),
		"a long header": full(func(m *backend.Message) {
			m.Header = map[string]string{strings.Repeat("h", 300): strings.Repeat("x", 200_000)}
		}),
		"many headers": full(func(m *backend.Message) {
			m.Header = make(map[string]string)
			for _, name := range numbered(5000) {
				m.Header[name] = strings.Repeat("x", 100)
			}
		}),
		"headers of the server": full(func(m *backend.Message) {
			m.Header = map[string]string{"": "no name"}
			for _, name := range []string{
				"CC", "BCC", "cc", "x-death", "x-first-death-queue", "x-first-death-exchange", "x-first-death-reason",
				"x-delivery-count", "x-match", "x-received-from", "x-opt-enqueue-time", "x-stream-offset", "x-cc",
				"gofer-failure", "gofer-key", "gofer-deliveries", "gofer-attempt", "gofer-queue",
			} {
				m.Header[name] = "elsewhere"
			}
		}),
	}
	same := func(when string, d *backend.Delivery, m *backend.Message) {
		t.Helper()
		if d.Malformed != nil || d.ID != m.ID || d.Kind != m.Kind || !bytes.Equal(d.Args, m.Args) || !d.EnqueuedAt.Equal(m.EnqueuedAt) ||
			!maps.Equal(d.Header, m.Header) || d.Attempt != m.Attempt+1 || d.Deliveries != 1 {
			t.Errorf("%s it is in attempt %d, delivery %d: %.500s", when, d.Attempt, d.Deliveries, d.Raw)
		}
	}
	set, _ := backend.As[backend.DeadSet](b)
	for _, name := range slices.Sorted(maps.Keys(messages)) {
		m := messages[name]
		m.Args = []byte(strconv.Quote(name))
		later := *m
		later.Queue, later.Delay = "later", time.Second
		push(t, b, m, &later)
		d := reserve(t, b, "default", faults.Patience)
		same(name+": pushed,", d, m)
		if err := b.Release(t.Context(), []*backend.Delivery{d}, 0); err != nil {
			t.Fatalf("%s: Release: %v", name, err)
		}
		d = reserve(t, b, "default", faults.Patience)
		same(name+": released,", d, m)
		if err := b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: m}}); err != nil {
			t.Fatalf("%s: Retry: %v", name, err)
		}
		d = reserve(t, b, "default", faults.Patience)
		same(name+": retried,", d, m)
		bury(t, b, d)
		if n, err := set.Requeue(t.Context(), "default", faults.Dead(t, b)[0].Key); n != 1 || err != nil {
			t.Fatalf("%s: Requeue: %d, %v", name, n, err)
		}
		d = reserve(t, b, "default", faults.Patience)
		same(name+": requeued,", d, m)
		ack(t, b, d)
	}
	for range messages {
		d := reserve(t, b, "later", faults.Patience)
		name, err := strconv.Unquote(string(d.Args))
		if err != nil || messages[name] == nil {
			t.Fatalf("%.100q was delivered, which nobody pushed", d.Args)
		}
		same(name+": after its delay", d, messages[name])
		ack(t, b, d)
	}
	foreign.awaitReady("elsewhere", 0)
	expectNothing(t, b, "default", "later")
}

func TestAForeignJobMayHaveAPriorityThatOursCannot(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name      string
		arguments amqp.Table
		url       []string
	}{
		{"quorum", asOurs(), nil},
		{"classic", classic(10), []string{"type", "classic", "max-priority", "10"}},
	} {
		address := with(place(t), kind.url...)
		foreign := plain(t, address)
		foreign.declare("default", kind.arguments)
		b := faults.Open(t, address)
		for _, body := range []string{`{"job":"job","data":1,"id":"a","priority":1000}`, `{"job":"job","data":1,"id":"a","priority":-5}`} {
			foreign.publish("default", amqp.Publishing{Body: []byte(body), Priority: 255})
			d := reserve(t, b, "default", faults.Patience)
			priority := d.Priority
			if d.ID != "a" || d.Malformed != nil {
				t.Fatalf("%s: the job is %+v", kind.name, d)
			}
			if err := b.Release(t.Context(), []*backend.Delivery{d}, 0); err != nil {
				t.Errorf("%s: Release of %s: %v", kind.name, body, err)
			}
			d = reserve(t, b, "default", faults.Patience)
			m := d.Message
			if err := b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &m}}); err != nil {
				t.Errorf("%s: Retry of %s: %v", kind.name, body, err)
			}
			if d = reserve(t, b, "default", faults.Patience); d.Priority != priority {
				t.Errorf("%s: after a Retry the priority of %s is %d, want %d", kind.name, body, d.Priority, priority)
			}
			ack(t, b, d)
		}
	}
}
