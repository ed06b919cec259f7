package rabbitmq

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goferhq/queue/backend"
)

// What the driver keeps of a message beside its body are headers.
const (
	// headerDeliveries counts how often a message was handed out before it was
	// stored again unchanged: RabbitMQ counts anew then.
	headerDeliveries = "gofer-deliveries"

	headerFailure = "gofer-failure" // of the dead: backend.Failure as JSON
	headerKey     = "gofer-key"     // of the dead: backend.Entry.Key
)

// headerCount is where a quorum queue tells how often a message came back.
const headerCount = "x-delivery-count"

const (
	// maxShort is the length of short strings in AMQP: most properties.
	maxShort = 255

	// All headers of a message share one frame of AMQP, which is frameSize.
	// maxHeaders is how much of it they have, maxShown how much of that a job's own
	// ones, and maxFailure the failure of a dead one.
	maxHeaders = 120 << 10
	maxShown   = 8 << 10
	maxFailure = 64 << 10
)

// publishing is a message with the properties that a person sees on the
// management page. Its body is what counts.
func publishing(m *backend.Message, body []byte) amqp.Publishing {
	return amqp.Publishing{
		Headers:      shownHeaders(m),
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		Priority:     uint8(min(max(m.Priority, 0), math.MaxUint8)),
		MessageId:    short(m.ID),
		Timestamp:    m.EnqueuedAt,
		Type:         short(m.Kind),
		Body:         body,
	}
}

// shownHeaders returns the headers of m that AMQP can carry: none with a meaning
// to RabbitMQ, and no more than fit beside a failure in a frame.
func shownHeaders(m *backend.Message) amqp.Table {
	if len(m.Header) == 0 && m.Attempt == 0 {
		return nil
	}
	table := make(amqp.Table, len(m.Header)+1)
	size := 0
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		if name == "" || len(name) > maxShort || isReserved(name) {
			continue
		}
		value := m.Header[name]
		if size += sizeOf(name) + sizeOf(value); size > maxShown {
			break
		}
		table[name] = value
	}
	if m.Attempt != 0 {
		table["attempt"] = int64(m.Attempt)
	}
	return table
}

// isReserved reports whether a header means something to RabbitMQ or to the
// driver: a message goes to whom CC and BCC name too, and one that has been on a
// level of the ladder before is held back there for ever.
func isReserved(name string) bool {
	switch name {
	case "CC", "BCC", "x-death", headerCount, "x-acquired-count":
		return true
	}
	return strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-") || strings.HasPrefix(name, "gofer-")
}

// short cuts a text to what a property holds.
func short(text string) string {
	if len(text) <= maxShort {
		return text
	}
	end := maxShort
	for end > maxShort-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// again returns what stores d once more, with the same body, and with headers
// beside those of others, as many as there is room for. What RabbitMQ has added is not part of it, nor
// what has done its work: where else it went, who was allowed to write it, and
// when it would have expired.
func again(d *amqp.Delivery, headers amqp.Table) amqp.Publishing {
	size := sizeOf(headers)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		one := amqp.Table{name: d.Headers[name]}
		if isReserved(name) || one.Validate() != nil { // the client reads more types than it writes
			continue
		}
		if size += sizeOf(one); size > maxHeaders {
			break
		}
		if headers == nil {
			headers = make(amqp.Table)
		}
		headers[name] = one[name]
	}
	return amqp.Publishing{
		Headers:         headers,
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		DeliveryMode:    amqp.Persistent,
		Priority:        d.Priority,
		CorrelationId:   d.CorrelationId,
		ReplyTo:         d.ReplyTo,
		MessageId:       d.MessageId,
		Timestamp:       d.Timestamp,
		Type:            d.Type,
		AppId:           d.AppId,
		Body:            d.Body,
	}
}

// sizeOf returns about how many bytes a value of a header has on the wire, and not
// less.
func sizeOf(value any) int {
	const overhead = 16 // its type, its length, a number
	switch v := value.(type) {
	case string:
		return overhead + len(v)
	case []byte:
		return overhead + len(v)
	case []any:
		size := overhead
		for _, one := range v {
			size += sizeOf(one)
		}
		return size
	case amqp.Table:
		size := overhead
		for name, one := range v {
			size += overhead + len(name) + sizeOf(one)
		}
		return size
	}
	return overhead
}

// maxAttempt is the highest that the envelope of a message can have.
const maxAttempt = 1 << 30

// countOf is how often d was handed out before without being settled.
func countOf(d *amqp.Delivery) int {
	return number(d.Headers[headerCount]) + number(d.Headers[headerDeliveries])
}

// number reads a header that should be a count. What others have written there
// may be anything.
func number(value any) int {
	var n int64
	switch v := value.(type) {
	case int64:
		n = v
	case int32:
		n = int64(v)
	case int16:
		n = int64(v)
	case int:
		n = int64(v)
	case int8:
		n = int64(v)
	case uint8:
		n = int64(v)
	case uint16:
		n = int64(v)
	case uint32:
		n = int64(v)
	}
	return int(min(max(n, 0), maxAttempt))
}

// decode reads a message. Its ID is that of the body, or else the property, or
// one made here: RabbitMQ gives its messages none.
func (s *settings) decode(queue string, d *amqp.Delivery) (m backend.Message, malformed error) {
	m, malformed = backend.DecodeEnvelope(d.Body)
	if malformed != nil {
		return backend.Message{Queue: queue}, malformed
	}
	m.Queue = queue
	m.Priority = min(int(d.Priority), s.maxPriority)
	if m.ID == "" && utf8.ValidString(d.MessageId) {
		m.ID = d.MessageId
	}
	if m.ID == "" {
		m.ID = rand.Text()
	}
	return m, nil
}

// failureHeader returns the failure of a dead message, as much of it as a header
// can have.
func failureHeader(failure backend.Failure) string {
	if year := failure.At.Year(); year < 0 || year > 9999 { // JSON has no such time
		failure.At = time.Time{}
	}
	text, err := json.Marshal(failure)
	for cut := maxFailure / 4; (err != nil || len(text) > maxFailure) && cut > 1; cut /= 2 {
		if len(failure.Backtrace) > 0 {
			failure.Backtrace = failure.Backtrace[:len(failure.Backtrace)/2]
		}
		if end := cut; len(failure.Error) > end {
			for end > cut-utf8.UTFMax && !utf8.RuneStart(failure.Error[end]) {
				end--
			}
			failure.Error = failure.Error[:end] + "…"
		}
		failure.Type, failure.Worker = short(failure.Type), short(failure.Worker)
		text, err = json.Marshal(failure)
	}
	return string(text)
}

// failureOf is the reverse. It is nil for a message that has none, such as one
// that a person has moved among the dead.
func failureOf(d *amqp.Delivery) *backend.Failure {
	text, ok := d.Headers[headerFailure].(string)
	var failure backend.Failure
	if !ok || json.Unmarshal([]byte(text), &failure) != nil {
		return nil
	}
	return &failure
}
