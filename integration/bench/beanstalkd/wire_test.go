package beanstalkd_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"time"
)

// timeToRun is the TTR of all jobs: longer than any of them is held.
const timeToRun = 60 * time.Second

// batch is how many commands the loops written by hand send at a time. More
// are hardly faster, and the server looks at all jobs that a connection holds.
const batch = 100

// workWait is how long a worker's reserve waits for a job.
const workWait = 30 * time.Second

// wire is a connection that speaks the protocol as one would by hand: commands
// gather in a buffer that goes out in one write, and answers are read where
// they lie.
type wire struct {
	connection net.Conn
	in         *bufio.Reader
	out        []byte   // to be sent
	ids        []uint64 // of the last batch
}

// connect returns a connection that puts jobs into a tube and reserves those of
// no other.
func (s *server) connect(tube string) *wire {
	s.tb.Helper()
	connection, err := net.Dial("tcp", s.address)
	if err != nil {
		s.tb.Fatal(err)
	}
	w := &wire{connection: connection, in: bufio.NewReaderSize(connection, 64<<10)}
	err = w.ask("use "+tube, "USING ")
	if err == nil {
		err = w.watch(tube)
	}
	if err == nil && tube != "default" {
		err = w.ask("ignore default", "WATCHING ")
	}
	if err != nil {
		w.close()
		s.tb.Fatal(err)
	}
	return w
}

// watch has the connection reserve the jobs of one more tube.
func (w *wire) watch(tube string) error { return w.ask("watch "+tube, "WATCHING ") }

// ask sends a command whose answer begins with the given text.
func (w *wire) ask(command, start string) error {
	w.out = append(w.out, command+"\r\n"...)
	if err := w.send(); err != nil {
		return err
	}
	return w.expect(start)
}

func (w *wire) close() { w.connection.Close() }

// send writes what has gathered.
func (w *wire) send() error {
	_, err := w.connection.Write(w.out)
	w.out = w.out[:0]
	return err
}

func (w *wire) addPut(body []byte) {
	w.out = fmt.Appendf(w.out, "put 0 0 %d %d\r\n", int(timeToRun.Seconds()), len(body))
	w.out = append(w.out, body...)
	w.out = append(w.out, "\r\n"...)
}

// addReserves asks for up to n jobs, of which the first is waited for.
func (w *wire) addReserves(n int, wait time.Duration) {
	w.out = fmt.Appendf(w.out, "reserve-with-timeout %d\r\n", int(wait.Seconds()))
	for range n - 1 {
		w.out = append(w.out, "reserve-with-timeout 0\r\n"...)
	}
}

func (w *wire) addDeletes(ids []uint64) {
	for _, id := range ids {
		w.out = append(w.out, "delete "...)
		w.out = strconv.AppendUint(w.out, id, 10)
		w.out = append(w.out, "\r\n"...)
	}
}

// line reads a line. It is valid until the next read.
func (w *wire) line() ([]byte, error) {
	text, err := w.in.ReadSlice('\n')
	return bytes.TrimSuffix(text, []byte("\r\n")), err
}

// expect reads a line that begins with the given text.
func (w *wire) expect(start string) error {
	text, err := w.line()
	if err == nil && !bytes.HasPrefix(text, []byte(start)) {
		err = fmt.Errorf("the answer is %q instead of %q", text, start)
	}
	return err
}

// readInserted reads the answers to a number of puts.
func (w *wire) readInserted(n int) error {
	for range n {
		if err := w.expect("INSERTED "); err != nil {
			return err
		}
	}
	return nil
}

// readDeleted reads the answers to a number of deletes.
func (w *wire) readDeleted(n int) error {
	for range n {
		if err := w.expect("DELETED"); err != nil {
			return err
		}
	}
	return nil
}

// readReserved reads the answer to a reserve and calls visit with the body,
// which is valid until visit returns. Nothing is reserved when the time ran
// out.
func (w *wire) readReserved(visit func(body []byte) error) (id uint64, reserved bool, err error) {
	text, err := w.line()
	if err != nil || string(text) == "TIMED_OUT" {
		return 0, false, err
	}
	first, rest, _ := bytes.Cut(text, []byte(" "))
	second, third, _ := bytes.Cut(rest, []byte(" "))
	id, badID := strconv.ParseUint(string(second), 10, 64)
	size, badSize := strconv.Atoi(string(third))
	if string(first) != "RESERVED" || badID != nil || badSize != nil {
		return 0, false, fmt.Errorf("the answer to a reserve is %q", text)
	}
	body, err := w.in.Peek(size + len("\r\n"))
	if err == nil {
		err = visit(body[:size])
	}
	if err == nil {
		_, err = w.in.Discard(len(body))
	}
	return id, true, err
}

// readBatch reads the answers to n reserves and returns the ids of the jobs,
// which are valid until the next call.
func (w *wire) readBatch(n int, visit func(body []byte) error) ([]uint64, error) {
	w.ids = w.ids[:0]
	for range n {
		id, reserved, err := w.readReserved(visit)
		if err != nil {
			return nil, err
		}
		if reserved {
			w.ids = append(w.ids, id)
		}
	}
	return w.ids, nil
}

// reserve reserves up to n jobs, of which the first is waited for.
func (w *wire) reserve(n int, wait time.Duration, visit func(body []byte) error) ([]uint64, error) {
	w.addReserves(n, wait)
	if err := w.send(); err != nil {
		return nil, err
	}
	return w.readBatch(n, visit)
}

// delete deletes reserved jobs.
func (w *wire) delete(ids []uint64) error {
	w.addDeletes(ids)
	if err := w.send(); err != nil {
		return err
	}
	return w.readDeleted(len(ids))
}

// work reserves, visits and deletes jobs, up to n at a time, until the
// connection ends. The deletes of some and the reserves of the next are one
// write.
func (w *wire) work(n int, visit func(body []byte) error) error {
	var done []uint64
	for {
		w.addDeletes(done)
		w.addReserves(n, workWait)
		err := w.send()
		if err == nil {
			err = w.readDeleted(len(done))
		}
		if err == nil {
			done, err = w.readBatch(n, visit)
		}
		if err != nil {
			return err
		}
	}
}

// putAll puts the jobs 0 to n-1.
func (w *wire) putAll(n int, body func(number int) []byte) error {
	for first := 0; first < n; first += batch {
		if err := w.put(first, min(first+batch, n), body); err != nil {
			return err
		}
	}
	return nil
}

// put puts the jobs first to end-1 in one write.
func (w *wire) put(first, end int, body func(number int) []byte) error {
	for number := first; number < end; number++ {
		w.addPut(body(number))
	}
	if err := w.send(); err != nil {
		return err
	}
	return w.readInserted(end - first)
}
