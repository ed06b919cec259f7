package resque

import (
	"strconv"
	"strings"
	"time"
)

// Worker is what the id of a worker tells.
type Worker struct {
	Host   string
	PID    int
	Queues []string

	// Nonce tells apart processes that have the same host and pid, as they
	// do in containers. Only the workers of this library have one.
	Nonce string
}

// goMark stands between host and nonce in the id of a worker of this library.
// It makes the host of the id another one than the machine's. The workers of
// Ruby and PHP unregister, when they start, every worker that has their own
// host and a pid which is no Resque worker's, and mean dead ones.
const goMark = "-go-"

// WorkerID returns the id under which a worker is registered (Resque,
// lib/resque/worker.rb, to_s), HOST-go-NONCE:PID:QUEUE,QUEUE. Nonce is made of
// letters and digits.
//
// Ruby's workers do not start and resque-web shows nothing where an id has not
// the three parts. So a colon in the host becomes a hyphen, and a worker without
// queues has "*", which is all of them.
func WorkerID(host string, pid int, queues []string, nonce string) string {
	list := strings.Join(queues, ",")
	switch {
	case strings.Trim(list, ",") == "":
		list = "*"
	case list[0] == ':', list[0] == ',': // what Ruby takes the third part for would be empty
		list = "_" + list[1:]
	}
	host = strings.ReplaceAll(host+goMark+nonce, ":", "-")
	return readable(host + ":" + strconv.Itoa(pid) + ":" + list)
}

// ParseWorkerID is the reverse of [WorkerID], and reads the ids of Ruby and PHP,
// which are HOST:PID:QUEUE,QUEUE. It reports false for what is neither.
func ParseWorkerID(id string) (Worker, bool) {
	host, rest, _ := strings.Cut(id, ":")
	digits, queues, ok := strings.Cut(rest, ":")
	pid, err := strconv.Atoi(digits)
	if !ok || err != nil || pid < 0 || queues == "" {
		return Worker{}, false
	}
	w := Worker{Host: host, PID: pid, Queues: strings.Split(queues, ",")}
	if i := strings.LastIndex(host, goMark); i >= 0 {
		w.Host, w.Nonce = host[:i], host[i+len(goMark):]
	}
	return w, true
}

// AppendWorking appends to dst what a worker's key says while it runs a job
// (Resque, lib/resque/worker.rb, working_on):
//
//	{"queue":"default","run_at":"2026-11-21T01:28:33Z","payload":{…}}
//
// A payload that resque-web could not show is replaced, as [AppendFailed] does
// it.
func AppendWorking(dst []byte, queue string, runAt time.Time, payload []byte) []byte {
	e := rules.NewEncoder(dst, 0)
	e.Text(fieldQueue, readable(queue))
	e.Text("run_at", runAt.UTC().Format(time.RFC3339))
	e.Verbatim(fieldPayload, showable(payload))
	written, _ := e.End() // of texts that are UTF-8
	return written
}

// Started returns t as a worker's key tells since when it runs (Resque,
// lib/resque/data_store.rb, worker_started).
func Started(t time.Time) string {
	return t.UTC().Format("2006-01-02 15:04:05 -0700")
}

// Heartbeat returns t as the hash of heartbeats has it (Resque,
// lib/resque/data_store.rb, heartbeat!). Ruby's workers do not start where they
// cannot read one.
func Heartbeat(t time.Time) string {
	return t.UTC().Format(time.RFC3339)
}
