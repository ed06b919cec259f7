package queuetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/goferhq/queue/backend"
)

// Filter narrows what AssertEnqueued, RefuteEnqueued and Enqueued look for.
type Filter func(*query)

// query is what is looked for.
type query struct {
	kind       string
	conditions []condition
	times      int // how many there must be; -1 for at least one
}

// condition is one that a job has to meet.
type condition struct {
	text   string                           // of a failure: "on queue bulk"
	refuse func(*backend.Entry) (by string) // what keeps a job from meeting it, or ""
}

func newQuery(kind string, filters []Filter) *query {
	q := &query{kind: kind, times: -1}
	for _, filter := range filters {
		filter(q)
	}
	return q
}

func (q *query) add(text string, refuse func(*backend.Entry) string) {
	q.conditions = append(q.conditions, condition{text, refuse})
}

// refuse returns why e is not what is looked for, or "".
func (q *query) refuse(e *backend.Entry) string {
	if e.Malformed != nil || e.Kind != q.kind {
		return "kind"
	}
	for _, c := range q.conditions {
		if by := c.refuse(e); by != "" {
			return by
		}
	}
	return ""
}

// String returns the query as it stands in a failure.
func (q *query) String() string {
	s := fmt.Sprintf("of kind %q", q.kind)
	for _, c := range q.conditions {
		s += ", " + c.text
	}
	return s
}

// On asks for jobs that wait in a queue.
func On(queue string) Filter {
	return func(q *query) {
		q.add(fmt.Sprintf("on queue %q", queue), func(e *backend.Entry) string {
			return unless(e.Queue == queue, "queue")
		})
	}
}

// DueIn asks for jobs whose remaining delay is between least and most, both
// included; a job that is ready has none. Outside of testing/synctest the
// delay has become a little shorter since the job was enqueued.
func DueIn(least, most time.Duration) Filter {
	return func(q *query) {
		q.add(fmt.Sprintf("due in %v to %v", least, most), func(e *backend.Entry) string {
			delay := time.Duration(0)
			if e.State == backend.Scheduled {
				// The broker rounds up to the millisecond.
				delay = max(time.Until(e.DueAt), 0).Truncate(time.Millisecond)
			}
			return unless(least <= delay && delay <= most, "delay")
		})
	}
}

// Header asks for jobs with a field in their header.
func Header(name, value string) Filter {
	return func(q *query) {
		q.add(fmt.Sprintf("with header %s=%s", name, value), func(e *backend.Entry) string {
			got, ok := e.Header[name]
			return unless(ok && got == value, "header "+name)
		})
	}
}

// Where asks for jobs whose arguments, decoded into a T, meet a condition:
//
//	queuetest.Where(func(e Email) bool { return strings.HasSuffix(e.To, "@b.c") })
func Where[T any](condition func(args T) bool) Filter {
	return func(q *query) {
		q.add("where the condition holds", func(e *backend.Entry) string {
			var args T
			if err := json.Unmarshal(e.Args, &args); err != nil {
				return cell(err.Error())
			}
			return unless(condition(args), "condition")
		})
	}
}

// Times asks for exactly n jobs in place of at least one. [RefuteEnqueued] and
// [Enqueued] do not look at it.
func Times(n int) Filter {
	return func(q *query) { q.times = n }
}

// withArgs asks for jobs with arguments that mean the same as data.
func withArgs(data []byte) Filter {
	wanted := decoded(data)
	return func(q *query) {
		q.add("with args "+cell(string(data)), func(e *backend.Entry) string {
			return unless(reflect.DeepEqual(decoded(e.Args), wanted), "args")
		})
	}
}

// decoded returns the value of some JSON. Numbers stay as they are written.
func decoded(data []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return nil
	}
	return value
}

func unless(met bool, by string) string {
	if met {
		return ""
	}
	return by
}
