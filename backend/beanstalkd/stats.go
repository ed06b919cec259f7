package beanstalkd

import (
	"bytes"
	"iter"
	"math"
	"strconv"
	"time"

	"github.com/goferhq/queue/backend"
)

// jobStats is what stats-job tells of a job. Its times are in seconds.
type jobStats struct {
	tube     string
	state    backend.State // -1 for one that is not known
	pri      uint32
	delay    int
	ttr      int
	timeLeft int // of the delay or of the TTR, rounded down

	reserves, timeouts, releases, buries, kicks int
}

// parseJobStats reads the body of a reply to stats-job. What is not in it, or
// is not what it should be, stays zero.
func parseJobStats(body []byte) jobStats {
	s := jobStats{state: -1}
	for name, value := range members(body) {
		switch string(name) {
		case "tube":
			s.tube = string(value)
		case "state":
			s.state = parseState(value)
		case "pri":
			s.pri = uint32(min(number(value), math.MaxUint32))
		case "delay":
			s.delay = count(value)
		case "ttr":
			s.ttr = count(value)
		case "time-left":
			s.timeLeft = count(value)
		case "reserves":
			s.reserves = count(value)
		case "timeouts":
			s.timeouts = count(value)
		case "releases":
			s.releases = count(value)
		case "buries":
			s.buries = count(value)
		case "kicks":
			s.kicks = count(value)
		}
	}
	return s
}

func parseState(value []byte) backend.State {
	switch string(value) {
	case "ready":
		return backend.Ready
	case "delayed":
		return backend.Scheduled
	case "reserved":
		return backend.Reserved
	case "buried":
		return backend.Dead
	}
	return -1
}

// tubeStats is what stats-tube tells of a tube.
type tubeStats struct {
	jobs   [backend.Dead + 1]int // by their state
	total  int                   // since the server has known the tube
	paused bool
}

// parseTubeStats reads the body of a reply to stats-tube.
func parseTubeStats(body []byte) (s tubeStats) {
	for name, value := range members(body) {
		switch string(name) {
		case "current-jobs-ready":
			s.jobs[backend.Ready] = count(value)
		case "current-jobs-delayed":
			s.jobs[backend.Scheduled] = count(value)
		case "current-jobs-reserved":
			s.jobs[backend.Reserved] = count(value)
		case "current-jobs-buried":
			s.jobs[backend.Dead] = count(value)
		case "total-jobs":
			s.total = count(value)
		case "pause":
			s.paused = count(value) > 0
		}
	}
	return s
}

// parseCounts reads the body of a reply to stats.
func parseCounts(body []byte) (c counts) {
	var accepted, open uint64
	for name, value := range members(body) {
		switch string(name) {
		case "job-timeouts":
			c.timeouts = number(value)
		case "current-connections":
			open = number(value)
		case "total-connections":
			accepted = number(value)
		case "id":
			c.server = string(value)
		}
	}
	c.closed = accepted - open
	return c
}

// all returns how many jobs there are in any state.
func (s tubeStats) all() int {
	n := 0
	for _, jobs := range s.jobs {
		n += jobs
	}
	return n
}

// members yields the names and values of the YAML that the server writes: a
// line for each, and quotes around some values in newer versions.
func members(body []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for len(body) > 0 {
			var line []byte
			line, body, _ = bytes.Cut(body, []byte("\n"))
			name, value, ok := bytes.Cut(line, []byte(": "))
			if !ok {
				continue
			}
			if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

func count(value []byte) int { return int(min(number(value), math.MaxInt)) }

// number is 0 for what is none.
func number(value []byte) uint64 {
	n, _ := strconv.ParseUint(string(value), 10, 64)
	return n
}

// due is when the time is over of which a job had s.timeLeft left at the time
// at. The server has cut off up to a second; the half of it is given back.
func (s jobStats) due(at time.Time) time.Time {
	return at.Add(time.Duration(s.timeLeft)*time.Second + time.Second/2)
}
