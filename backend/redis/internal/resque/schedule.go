package resque

import (
	"encoding/json"
	"fmt"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/rawjson"
)

// Schedule is an entry of the hash "persistent_schedules", a job that the
// Scheduler enqueues again and again (resque-scheduler,
// lib/resque/scheduler/scheduling_extensions.rb).
type Schedule struct {
	// One of the two says when: Cron as "* * * * *", Every as a list of the
	// interval and its options, such as "2s" and {"first_in":"1m"}.
	Cron  string
	Every []json.RawMessage

	Class string
	Queue string
	Args  json.RawMessage // an array of arguments, or one; nil for none
}

// The members of a schedule beside those of a payload.
const (
	scheduleCron  = "cron"
	scheduleEvery = "every"
)

// AppendSchedule appends s to dst:
//
//	{"cron":"* * * * *","class":"EchoJob","queue":"default","args":[…]}
//	{"every":["2s",{}],"class":"EchoJob","queue":"default","args":[…]}
//
// What is nil is left out. Without a class, and with neither or both of Cron and
// Every, it is [backend.ErrInvalid], and for what no Ruby reader would take, see
// the package's comment; dst is then returned as it was.
func AppendSchedule(dst []byte, s *Schedule) ([]byte, error) {
	if s.Class == "" || (s.Cron == "") == (len(s.Every) == 0) {
		return dst, fmt.Errorf("%w: a schedule has a class and either cron or every", backend.ErrInvalid)
	}
	e := rules.NewEncoder(dst, 0)
	if s.Cron != "" {
		e.Text(scheduleCron, s.Cron)
	} else {
		every := make([][]byte, len(s.Every))
		for i, value := range s.Every {
			every[i] = value
		}
		e.List(scheduleEvery, every...)
	}
	e.Text(fieldClass, s.Class)
	if s.Queue != "" {
		e.Text(fieldQueue, s.Queue)
	}
	if s.Args != nil {
		e.JSON(fieldArgs, s.Args)
	}
	written, err := e.End()
	if err != nil {
		return dst, fmt.Errorf("%w: schedule of %.100q: %w", backend.ErrInvalid, s.Class, err)
	}
	return written, nil
}

// DecodeSchedule is the reverse of [AppendSchedule]. It also takes a cron in a
// list with options, which are dropped, and an interval without a list. What is
// not an object is an error that wraps [backend.ErrMalformed]. Every and Args
// refer to raw.
func DecodeSchedule(raw []byte) (Schedule, error) {
	if err := checkObject(raw); err != nil {
		return Schedule{}, err
	}
	var s Schedule
	for name, value := range membersOf(raw) {
		switch name {
		case scheduleCron:
			if list := values(value); len(list) > 0 {
				s.Cron = anyText(list[0])
			}
		case scheduleEvery:
			s.Every = values(value)
		case fieldClass:
			s.Class = anyText(value)
		case fieldQueue:
			s.Queue = anyText(value)
		case fieldArgs:
			if s.Args = value; string(value) == "null" {
				s.Args = nil
			}
		}
	}
	return s, nil
}

// values returns the elements of an array, and any other value but null as the
// only one.
func values(value []byte) (list []json.RawMessage) {
	switch {
	case value[0] == '[':
		for element := range rawjson.Elements(value) {
			list = append(list, element)
		}
	case string(value) != "null":
		list = append(list, value)
	}
	return list
}
