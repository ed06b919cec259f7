package resque

import (
	"errors"
	"fmt"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/rawjson"
)

// AppendDelayed appends to dst what the Scheduler's list of a second holds for m
// (resque-scheduler, lib/resque/scheduler/delaying_extensions.rb;
// php-resque-scheduler, lib/ResqueScheduler.php):
//
//	{"class":"EchoJob","args":[…],"queue":"default"}
//
// That is all, because the Scheduler drops everything else and finds an item to
// remove by its exact bytes. So an ID, attempts, headers and what else m has are
// not kept. The args are written as [AppendPayload] does it, and the errors are
// its own; no queue is [backend.ErrInvalid] too.
func AppendDelayed(dst []byte, m *backend.Message) ([]byte, error) {
	if err := checkMessage(m); err != nil {
		return dst, err
	}
	if m.Queue == "" {
		return dst, fmt.Errorf("%w: the message has no queue", backend.ErrInvalid)
	}
	e := rules.NewEncoder(dst, around)
	e.Text(fieldClass, m.Kind)
	writeArgs(&e, m)
	e.Text(fieldQueue, m.Queue)
	return end(&e, dst, m)
}

// DecodeDelayed splits an item of the Scheduler into its queue and what goes
// into that queue's list: the same object without the member "queue", its other
// members as they stand and in their order. Whether that is a payload is for
// [DecodePayload] to say.
//
// What is not an object, has no queue or two, or must not get into a list, see
// the package's comment, is an error that wraps [backend.ErrMalformed].
func DecodeDelayed(raw []byte) (queue string, payload []byte, err error) {
	queue, payload, err = splitQueue(raw)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", backend.ErrMalformed, err)
	}
	return queue, payload, nil
}

func splitQueue(raw []byte) (queue string, payload []byte, err error) {
	if len(raw) > backend.MaxEnvelope {
		return "", nil, fmt.Errorf("%d bytes, at most %d are decoded", len(raw), backend.MaxEnvelope)
	}
	if err := rules.Check(raw, around); err != nil {
		return "", nil, err
	}
	raw = rawjson.SkipSpace(raw)
	if raw[0] != '{' {
		return "", nil, errNotObject
	}
	payload = make([]byte, 0, len(raw))
	next := byte('{')
	for quoted, value := range rawjson.Members(raw) {
		name, err := rawjson.Unquote(quoted)
		if err != nil {
			return "", nil, err
		}
		if string(name) != fieldQueue {
			payload = append(append(append(append(payload, next), quoted...), ':'), value...)
			next = ','
			continue
		}
		if queue != "" {
			return "", nil, fmt.Errorf("member %q stands twice", fieldQueue)
		}
		if queue, err = rawjson.Text(value); err != nil {
			return "", nil, fmt.Errorf("member %q: %w", fieldQueue, err)
		}
	}
	if queue == "" {
		return "", nil, errors.New("no queue")
	}
	if next == '{' {
		payload = append(payload, '{')
	}
	return queue, append(payload, '}'), nil
}
