package resque

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/rawjson"
)

// The members of "go", which is this library's own in a payload. Every other
// one is kept in Message.Extra.
const (
	goAttempt     = "attempt"
	goMaxAttempts = "max_attempts"
	goPriority    = "priority"
	goDeliveries  = "deliveries"
	goHeaders     = "headers"
)

// Positional is the key of Message.Extra that is true for a job whose Args are
// the whole list of its arguments, instead of the one argument that a list of
// one element holds.
const Positional = "positional"

// topLevel begins the keys of Message.Extra that belong beside "class", where
// the members of other producers stand, and not into "go".
const topLevel = "resque."

// AppendPayload appends to dst what a queue's list holds for m (Resque,
// lib/resque/job.rb; php-resque, lib/Resque/Job.php):
//
//	{"class":"send_email","args":[{…}],"id":"…","prefix":"",
//	 "queue_time":1795225601.082353123,
//	 "go":{"attempt":1,"max_attempts":5,"priority":10,"deliveries":1,"headers":{…}}}
//
// Only class and args are always there. An id brings an empty prefix with it,
// as php-resque has it. The queue_time is EnqueuedAt in seconds since 1970.
// "go" is what Resque knows nothing of, and holds the members of m.Extra after
// its own; what is zero is left out, and "go" itself when nothing is left.
// Queue and Delay are not part of a payload.
//
// Resque's args is a list, Args is one value: the only element of the list. But
// where m.Extra has "positional":true and Args is an array, Args is the list.
// "positional" is stored for a list of one element only, because it follows
// from any other length.
//
// A key of m.Extra that begins with "resque." names a member of the payload
// itself: "resque.foo" is written as "foo", in front of "go". So it is with the
// id and prefix of another producer, "resque.id", which is written when m has
// no ID, and "resque.prefix". A key that names another member above is left
// out.
//
// What would hurt those who read it is refused, see the package's comment:
// [backend.ErrInvalid] for that, for attempts and times out of range, and for
// a message without a kind; [backend.ErrTooLarge] above [backend.MaxEnvelope].
// dst is then returned as it was.
func AppendPayload(dst []byte, m *backend.Message, deliveries int) ([]byte, error) {
	if err := checkMessage(m); err != nil {
		return dst, err
	}
	e := rules.NewEncoder(dst, around)
	e.Text(fieldClass, m.Kind)
	positional := writeArgs(&e, m)
	var array [8]string
	extra := rawjson.SortedKeys(array[:0], m.Extra)
	writeID(&e, m)
	if !m.EnqueuedAt.IsZero() {
		writeQueueTime(&e, m.EnqueuedAt)
	}
	for _, key := range extra {
		if name, ok := strings.CutPrefix(key, topLevel); ok && payloadField(name) < 0 {
			e.JSON(name, m.Extra[key])
		}
	}
	own := e.Inner(fieldGo)
	own.Count(goAttempt, m.Attempt)
	own.Count(goMaxAttempts, m.MaxAttempts)
	if m.Priority != 0 {
		own.Integer(goPriority, int64(m.Priority))
	}
	own.Count(goDeliveries, deliveries)
	if len(m.Header) > 0 {
		own.Texts(goHeaders, m.Header)
	}
	for _, key := range extra {
		switch {
		case strings.HasPrefix(key, topLevel), goField(key) >= 0:
		case key == Positional && !positional && isTrue(m.Extra[key]):
		default:
			own.JSON(key, m.Extra[key])
		}
	}
	e.Close(&own)
	return end(&e, dst, m)
}

func checkMessage(m *backend.Message) error {
	if m.Kind == "" {
		return fmt.Errorf("%w: the message has no kind", backend.ErrInvalid)
	}
	if len(m.Args) > backend.MaxEnvelope { // look at them no further
		return fmt.Errorf("%w: args have %d bytes, at most %d are allowed", backend.ErrTooLarge, len(m.Args), backend.MaxEnvelope)
	}
	return nil
}

// end returns what dst has become when e has written m to it.
func end(e *rawjson.Encoder, dst []byte, m *backend.Message) ([]byte, error) {
	written, err := e.End()
	if err != nil {
		return dst, fmt.Errorf("%w: message of kind %.100q: %w", backend.ErrInvalid, m.Kind, err)
	}
	if size := len(written) - len(dst); size > backend.MaxEnvelope {
		return dst, fmt.Errorf("%w: the payload has %d bytes, at most %d are allowed", backend.ErrTooLarge, size, backend.MaxEnvelope)
	}
	return written, nil
}

// writeArgs writes the list of arguments, and tells whether a reader has to be
// told that it is the Args.
func writeArgs(e *rawjson.Encoder, m *backend.Message) (positional bool) {
	list := rawjson.SkipSpace(m.Args)
	if len(m.Extra) == 0 || !isTrue(m.Extra[Positional]) || len(list) == 0 || list[0] != '[' {
		e.List(fieldArgs, m.Args)
		return false
	}
	e.JSON(fieldArgs, m.Args)
	if e.Err() != nil {
		return false
	}
	_, one := onlyElement(list)
	return one
}

// writeID writes the id and what goes with it.
func writeID(e *rawjson.Encoder, m *backend.Message) {
	var id, prefix json.RawMessage
	if len(m.Extra) > 0 {
		id, prefix = m.Extra[topLevel+fieldID], m.Extra[topLevel+fieldPrefix]
	}
	switch {
	case m.ID != "":
		e.Text(fieldID, m.ID)
	case id != nil:
		e.JSON(fieldID, id)
	}
	switch {
	case prefix != nil:
		e.JSON(fieldPrefix, prefix)
	case m.ID != "":
		e.Text(fieldPrefix, "")
	}
}

func isTrue(value []byte) bool {
	return string(bytes.Trim(value, rawjson.Space)) == "true"
}

// onlyElement returns the element of a JSON array that has one, and whether it
// has.
func onlyElement(list []byte) (only []byte, ok bool) {
	for element := range rawjson.Elements(list) {
		if ok {
			return nil, false
		}
		only, ok = element, true
	}
	return only, ok
}
