package beanstalkd_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue/integration/brokers"
)

// syncInterval is how often the server syncs its binlog: its default, in the
// words of its command line.
const (
	syncInterval = 50 * time.Millisecond
	syncOption   = "-f50"
)

// server is the beanstalkd that all competitors of a benchmark share. Each has
// a tube to itself.
type server struct {
	tb      testing.TB
	address string
	url     string
	control *beanstalk.Conn // for what the benchmark itself asks
}

// startServer starts a beanstalkd with a binlog. Giving the option, a default,
// means that the server is never one that somebody else uses, and Flush empties
// it.
func startServer(tb testing.TB) *server {
	tb.Helper()
	started := brokers.Beanstalkd(tb, syncOption)
	return &server{tb: tb, address: started.Addr(), url: started.URL(), control: started.Client()}
}

// Flush deletes the jobs of all tubes that are ready: beanstalkd has no command
// for that. Others are of somebody who still works, and an error.
func (s *server) Flush() {
	s.tb.Helper()
	tubes, err := s.control.ListTubes()
	if err != nil {
		s.tb.Fatal(err)
	}
	w := s.connect("default")
	defer w.close()
	for _, tube := range tubes {
		if err := w.watch(tube); err != nil {
			s.tb.Fatal(err)
		}
	}
	for left := true; left; {
		ids, err := w.reserve(batch, 0, func([]byte) error { return nil })
		if err == nil {
			err = w.delete(ids)
		}
		if err != nil {
			s.tb.Fatal(err)
		}
		left = len(ids) > 0
	}
	if s.busy() {
		s.tb.Fatal("the server has jobs that are not ready when none should be left")
	}
}

// busy tells whether the server has any job.
func (s *server) busy() bool {
	s.tb.Helper()
	stats := s.stats()
	return stats["current-jobs-ready"]+stats["current-jobs-reserved"]+
		stats["current-jobs-delayed"]+stats["current-jobs-buried"] > 0
}

// Settle has the server sync its binlog, which it does when it is written and
// the last time was long ago, and which keeps it from everything else.
func (s *server) Settle() {
	s.tb.Helper()
	time.Sleep(2 * syncInterval)
	id, err := beanstalk.NewTube(s.control, "settle").Put([]byte("x"), 0, 0, timeToRun)
	if err == nil {
		err = s.control.Delete(id)
	}
	if err != nil {
		s.tb.Fatal(err)
	}
}

// left returns how many jobs of a tube are ready or running.
func (s *server) left(tube string) int64 {
	s.tb.Helper()
	stats, err := beanstalk.NewTube(s.control, tube).Stats()
	if errors.Is(err, beanstalk.ErrNotFound) { // it ends with its last job and client
		return 0
	}
	if err != nil {
		s.tb.Fatal(err)
	}
	return s.number(stats, "current-jobs-ready") + s.number(stats, "current-jobs-reserved")
}

// commands returns how many commands the server has been sent by now, with the
// one that asks for it.
func (s *server) commands() int64 {
	s.tb.Helper()
	total := int64(0)
	for name, n := range s.stats() {
		if strings.HasPrefix(name, "cmd-") {
			total += n
		}
	}
	return total
}

// stats returns the numbers among what the server tells of itself.
func (s *server) stats() map[string]int64 {
	s.tb.Helper()
	stats, err := s.control.Stats()
	if err != nil {
		s.tb.Fatal(err)
	}
	numbers := make(map[string]int64)
	for name := range stats {
		if strings.HasPrefix(name, "cmd-") || strings.HasPrefix(name, "current-") {
			numbers[name] = s.number(stats, name)
		}
	}
	return numbers
}

func (s *server) number(stats map[string]string, name string) int64 {
	s.tb.Helper()
	n, err := strconv.ParseInt(stats[name], 10, 64)
	if err != nil {
		s.tb.Fatalf("stats has no number %s: %v", name, err)
	}
	return n
}
