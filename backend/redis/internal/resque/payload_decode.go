package resque

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/rawjson"
)

var payloadFields = [...]string{fieldClass, fieldArgs, fieldID, fieldPrefix, fieldQueueTime, fieldGo}

// payloadField returns the index of name in payloadFields, or -1.
func payloadField(name string) int { return slices.Index(payloadFields[:], name) }

var goFields = [...]string{goAttempt, goMaxAttempts, goPriority, goDeliveries, goHeaders}

// goField returns the index of name in goFields, or -1.
func goField(name string) int { return slices.Index(goFields[:], name) }

// DecodePayload is the reverse of [AppendPayload] for an item that any
// producer has put into a queue's list. It also returns the deliveries.
//
// A payload without "go" has never been delivered. Its args, if they are a
// list of other than one element, are Args as a whole, and Extra then has
// "positional":true; args that are missing or null are the list of none. A
// member that is null counts as absent. An id that is not a string, and a
// prefix that is not empty, are kept in Extra as "resque.id" and
// "resque.prefix", unknown members as "resque." and their name, and those of
// "go" under their own.
//
// What is not a payload is an error that wraps [backend.ErrMalformed]: what
// this package never writes, see its comment; what is above
// [backend.MaxEnvelope]; a member or header that stands twice; no class; a
// member of the wrong type or out of range; a member of "go" whose name begins
// with "resque.". Args and Extra of the result refer to raw. What was decoded
// can be appended again.
func DecodePayload(raw []byte) (m backend.Message, deliveries int, err error) {
	if len(raw) > backend.MaxEnvelope {
		return m, 0, fmt.Errorf("%w: %d bytes, at most %d are decoded", backend.ErrMalformed, len(raw), backend.MaxEnvelope)
	}
	if err := rules.Check(raw, around); err != nil {
		return m, 0, fmt.Errorf("%w: %w", backend.ErrMalformed, err)
	}
	var p payload
	if err := p.decode(raw); err != nil {
		return m, 0, fmt.Errorf("%w: %w", backend.ErrMalformed, err)
	}
	return p.Message, p.deliveries, nil
}

// payload is a message that is being decoded.
type payload struct {
	backend.Message
	deliveries int
}

func (p *payload) decode(raw []byte) error {
	raw = rawjson.SkipSpace(raw)
	if raw[0] != '{' {
		return errNotObject
	}
	var seen [len(payloadFields)]bool
	for quoted, value := range rawjson.Members(raw) {
		name, err := rawjson.Unquote(quoted)
		if err != nil {
			return err
		}
		twice := false
		if i := payloadField(string(name)); i >= 0 {
			twice, seen[i] = seen[i], true
			err = p.setField(payloadFields[i], value)
		} else {
			twice = !p.addExtra(topLevel+string(name), value)
		}
		if twice {
			return fmt.Errorf("member %.100q stands twice", name)
		}
		if err != nil {
			return fmt.Errorf("member %q: %w", name, err)
		}
	}
	if p.Kind == "" {
		return fmt.Errorf("no member %q", fieldClass)
	}
	p.settleArgs()
	return nil
}

func (p *payload) setField(name string, value []byte) (err error) {
	if string(value) == "null" {
		return nil
	}
	switch name {
	case fieldClass:
		p.Kind, err = rawjson.Text(value)
	case fieldArgs:
		if p.Args = value; value[0] != '[' {
			err = errors.New("not a list")
		}
	case fieldID:
		if value[0] != '"' {
			p.addExtra(topLevel+fieldID, value)
			break
		}
		p.ID, err = rawjson.Text(value)
	case fieldPrefix:
		if string(value) != `""` {
			p.addExtra(topLevel+fieldPrefix, value)
		}
	case fieldQueueTime:
		p.EnqueuedAt, err = parseSeconds(value)
	case fieldGo:
		err = p.decodeOwn(value)
	}
	return err
}

// decodeOwn decodes the object "go".
func (p *payload) decodeOwn(value []byte) error {
	if value[0] != '{' {
		return errors.New("not an object")
	}
	var seen [len(goFields)]bool
	for quoted, value := range rawjson.Members(value) {
		name, err := rawjson.Unquote(quoted)
		if err != nil {
			return err
		}
		twice := false
		if i := goField(string(name)); i >= 0 {
			twice, seen[i] = seen[i], true
			err = p.setOwnField(goFields[i], value)
		} else if strings.HasPrefix(string(name), topLevel) {
			err = errors.New("not a name to stand here")
		} else {
			twice = !p.addExtra(string(name), value)
		}
		if twice {
			return fmt.Errorf("member %.100q stands twice", name)
		}
		if err != nil {
			return fmt.Errorf("member %.100q: %w", name, err)
		}
	}
	return nil
}

func (p *payload) setOwnField(name string, value []byte) (err error) {
	if string(value) == "null" {
		return nil
	}
	switch name {
	case goAttempt:
		p.Attempt, err = rawjson.Count(value)
	case goMaxAttempts:
		p.MaxAttempts, err = rawjson.Count(value)
	case goPriority:
		p.Priority, err = rawjson.Integer(value)
	case goDeliveries:
		p.deliveries, err = rawjson.Count(value)
	case goHeaders:
		p.Header, err = rawjson.Texts(value)
	}
	return err
}

// addExtra reports false for a key that is there already.
func (p *payload) addExtra(key string, value []byte) bool {
	if p.Extra == nil {
		p.Extra = make(map[string]json.RawMessage)
	}
	if _, twice := p.Extra[key]; twice {
		return false
	}
	p.Extra[key] = value
	return true
}

// settleArgs turns Args from the list into what they are for the handler.
func (p *payload) settleArgs() {
	if p.Args == nil {
		p.Args = []byte("[]")
	}
	only, one := onlyElement(p.Args)
	switch {
	case !one:
		delete(p.Extra, Positional) // whatever it says
		p.addExtra(Positional, json.RawMessage("true"))
	case len(p.Extra) == 0 || !isTrue(p.Extra[Positional]):
		p.Args = only
	}
}
