package backendtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/goferhq/queue/backend"
)

// outcome is how a call ended, for people.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return fmt.Sprintf("error %q", err)
}

// few joins the first names and counts the others.
func few(names []string) string {
	const most = 4
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func messageNames(messages []*backend.Message) string {
	var names []string
	for _, m := range messages {
		name := m.ID
		if m.Delay != 0 {
			name += fmt.Sprintf(" after %v", m.Delay)
		}
		if m.Priority != 0 {
			name += fmt.Sprintf(" with priority %d", m.Priority)
		}
		names = append(names, name)
	}
	return few(names)
}

func deliveryNames(deliveries []*backend.Delivery) string {
	var names []string
	for _, d := range deliveries {
		if d.Malformed != nil {
			names = append(names, fmt.Sprintf("malformed %s", shown(d.Raw)))
			continue
		}
		names = append(names, fmt.Sprintf("%s (attempt %d, deliveries %d)", d.ID, d.Attempt, d.Deliveries))
	}
	if names == nil {
		return "nothing"
	}
	return few(names)
}

// shown quotes the beginning of data.
func shown(data []byte) string {
	const most = 80
	if len(data) > most {
		return fmt.Sprintf("%q… (%d bytes)", data[:most], len(data))
	}
	return fmt.Sprintf("%q", data)
}

// differences says in what got is not want. Delay is not looked at.
func differences(got, want *backend.Message) string {
	var all []string
	differ := func(field string, got, want any) {
		all = append(all, fmt.Sprintf("%s is %v, want %v", field, got, want))
	}
	if got.ID != want.ID {
		differ("ID", got.ID, want.ID)
	}
	if got.Kind != want.Kind {
		differ("Kind", fmt.Sprintf("%q", got.Kind), fmt.Sprintf("%q", want.Kind))
	}
	if got.Queue != want.Queue {
		differ("Queue", got.Queue, want.Queue)
	}
	if !bytes.Equal(got.Args, want.Args) {
		differ("Args", shown(got.Args), shown(want.Args))
	}
	if got.Attempt != want.Attempt {
		differ("Attempt", got.Attempt, want.Attempt)
	}
	if got.MaxAttempts != want.MaxAttempts {
		differ("MaxAttempts", got.MaxAttempts, want.MaxAttempts)
	}
	if got.Priority != want.Priority {
		differ("Priority", got.Priority, want.Priority)
	}
	if !got.EnqueuedAt.Equal(want.EnqueuedAt) {
		differ("EnqueuedAt", got.EnqueuedAt.Format(time.RFC3339Nano), want.EnqueuedAt.Format(time.RFC3339Nano))
	}
	if !maps.Equal(got.Header, want.Header) {
		differ("Header", fmt.Sprintf("%q", got.Header), fmt.Sprintf("%q", want.Header))
	}
	if !maps.EqualFunc(got.Extra, want.Extra, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) }) {
		differ("Extra", fmt.Sprintf("%s", got.Extra), fmt.Sprintf("%s", want.Extra))
	}
	return strings.Join(all, "; ")
}

// sameMessage fails the case unless d is m, as its next attempt.
func (b *bench) sameMessage(d *backend.Delivery, m *backend.Message) {
	want := *m
	want.Attempt++
	b.same(fmt.Sprintf("the delivery of %s", m.ID), d.Malformed, &d.Message, &want)
	if d.Delay != 0 {
		b.fail("the delivery of %s has Delay %v, want 0: a delay is not stored", m.ID, d.Delay)
	}
}

func (b *bench) same(what string, malformed error, got, want *backend.Message) {
	if malformed != nil {
		b.fail("%s is malformed (%v), want the message that was stored", what, malformed)
	}
	if text := differences(got, want); text != "" {
		b.fail("%s is not the message that was stored: %s", what, text)
	}
}

// inOrder fails the case unless the deliveries are those of the messages, in
// their order.
func (b *bench) inOrder(deliveries []*backend.Delivery, messages ...*backend.Message) {
	got, want := ids(deliveries), messageIDs(messages)
	if strings.Join(got, " ") != strings.Join(want, " ") {
		b.fail("messages came in the order %s, want %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

// each fails the case unless every message is among the deliveries exactly
// once, and nothing else is.
func (b *bench) each(deliveries []*backend.Delivery, messages ...*backend.Message) {
	count := make(map[string]int)
	for _, d := range deliveries {
		count[d.ID]++
	}
	for _, m := range messages {
		if n := count[m.ID]; n != 1 {
			b.fail("message %s was delivered %d times, want once", m.ID, n)
		}
		delete(count, m.ID)
	}
	for id := range count {
		b.fail("message %s was delivered, which nobody stored here", id)
	}
}

func ids(deliveries []*backend.Delivery) []string {
	var all []string
	for _, d := range deliveries {
		all = append(all, d.ID)
	}
	return all
}

func messageIDs(messages []*backend.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, m.ID)
	}
	return all
}

// wantError fails the case unless err is want.
func (b *bench) wantError(what string, err, want error) {
	if !errors.Is(err, want) {
		b.fail("%s returned %s, want an error that is %q", what, outcome(err), want)
	}
}

// took fails the case when something took too long.
func (b *bench) took(what string, elapsed, most time.Duration) {
	if elapsed > most {
		b.fail("%s took %v, want at most %v", what, elapsed.Round(time.Millisecond), most)
	}
}

// between fails the case unless what happened after elapsed was due, and no
// more than the slack late.
func (b *bench) between(what string, elapsed, due, late time.Duration) {
	switch {
	case elapsed < due:
		b.fail("%s came after %v, want not before %v", what, elapsed, due)
	case elapsed > late+b.Slack:
		b.fail("%s came after %v, want after %v and at most %v late", what, elapsed.Round(time.Millisecond), late, b.Slack)
	}
}

// roundedUp returns d as the broker keeps it.
func (b *bench) roundedUp(d time.Duration) time.Duration {
	return (d + b.DelayUnit - 1) / b.DelayUnit * b.DelayUnit
}
