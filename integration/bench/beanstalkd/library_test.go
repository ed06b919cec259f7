package beanstalkd_test

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"github.com/goferhq/queue/integration/bench"
)

// libraryTube is where the jobs of go-beanstalk are.
const libraryTube = "library"

// libraryWorkers is how many connections reserve, each for itself: a reserve
// that waits keeps its connection from everything else.
const libraryWorkers = 8

// libraryWait is how long a reserve waits: for as long as the benchmark.
const libraryWait = time.Hour

func (s *server) dial() *beanstalk.Conn {
	s.tb.Helper()
	client, err := beanstalk.Dial("tcp", s.address)
	if err != nil {
		s.tb.Fatal(err)
	}
	return client
}

// libraryProducer is go-beanstalk as a producer. All goroutines share its
// connection: go-beanstalk has no batches, but it sends the next command before
// the last one is answered.
func libraryProducer(s *server) bench.Producer {
	client := s.dial()
	s.tb.Cleanup(func() { client.Close() })
	tube := beanstalk.NewTube(client, libraryTube)
	return bench.Producer{Name: "library", Enqueue: func(number int) error {
		_, err := tube.Put(bodyOf(number), 0, 0, timeToRun)
		return err
	}}
}

// library is go-beanstalk as a drainer.
func library(s *server) bench.Drainer {
	producer := libraryProducer(s)
	return bench.Drainer{
		Name: producer.Name,
		Fill: func(n int) {
			if err := bench.Concurrently(goroutines, n, producer.Enqueue); err != nil {
				s.tb.Fatal(err)
			}
		},
		Worker: func(handle func(number int)) (start, stop func()) {
			return libraryWorker(s, libraryWorkers, handle)
		},
		Left: func() int64 { return s.left(libraryTube) },
	}
}

// libraryWorker returns what starts a number of goroutines that do jobs, with a
// connection each, and what ends them.
func libraryWorker(s *server, connections int, handle func(number int)) (start, stop func()) {
	var running sync.WaitGroup
	var ended atomic.Bool
	var clients []*beanstalk.Conn
	for range connections {
		clients = append(clients, s.dial())
	}
	start = func() {
		for _, client := range clients {
			running.Go(func() {
				if err := workWith(client, visitor(handle)); !ended.Load() {
					s.tb.Errorf("library: %v", err)
				}
			})
		}
	}
	stop = func() {
		ended.Store(true)
		for _, client := range clients {
			client.Close()
		}
		running.Wait()
	}
	return start, stop
}

// workWith reserves, visits and deletes jobs until the connection ends.
func workWith(client *beanstalk.Conn, visit func(body []byte) error) error {
	tubes := beanstalk.NewTubeSet(client, libraryTube)
	for {
		id, body, err := tubes.Reserve(libraryWait)
		if err == nil {
			err = visit(body)
		}
		if err == nil {
			err = client.Delete(id)
		}
		if err != nil {
			return err
		}
	}
}
