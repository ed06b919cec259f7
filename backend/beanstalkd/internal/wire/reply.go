package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The words that replies begin with.
const (
	Inserted     = "INSERTED"
	Buried       = "BURIED" // of a put: stored, but the server had no memory for the line
	ExpectedCRLF = "EXPECTED_CRLF"
	JobTooBig    = "JOB_TOO_BIG"
	Draining     = "DRAINING"
	Using        = "USING"
	Reserved     = "RESERVED"
	DeadlineSoon = "DEADLINE_SOON"
	TimedOut     = "TIMED_OUT"
	Deleted      = "DELETED"
	NotFound     = "NOT_FOUND"
	Released     = "RELEASED"
	Touched      = "TOUCHED"
	Watching     = "WATCHING"
	NotIgnored   = "NOT_IGNORED"
	Found        = "FOUND"
	Kicked       = "KICKED"
	OK           = "OK"
	Paused       = "PAUSED"

	OutOfMemory    = "OUT_OF_MEMORY"
	InternalError  = "INTERNAL_ERROR"
	BadFormat      = "BAD_FORMAT"
	UnknownCommand = "UNKNOWN_COMMAND"
)

// words are those above; the frequent ones stand first.
var words = [...]string{
	Inserted, Reserved, Deleted, TimedOut, Found, NotFound, OK, Touched, Released, Watching, Using, Kicked, Buried, Paused,
	DeadlineSoon, NotIgnored, ExpectedCRLF, JobTooBig, Draining, OutOfMemory, InternalError, BadFormat, UnknownCommand,
}

// Reply is what the server says to one command.
type Reply struct {
	Word string // one of the constants of this package
	ID   uint64 // of a job: of Inserted, Reserved, Found, and of Buried in reply to a put
	Body []byte // of Reserved, Found and OK; it belongs to whoever has the reply
}

// maxBody bounds what one reply makes the process allocate. A server cannot be
// told to take larger jobs.
const maxBody = 1 << 30

// errProtocol is wrapped by errors about bytes that are no reply.
var errProtocol = errors.New("not the reply of a beanstalkd")

// readReply reads the next reply.
func readReply(r *bufio.Reader) (Reply, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if err == bufio.ErrBufferFull {
			err = fmt.Errorf("%w: %.40q…", errProtocol, line)
		}
		return Reply{}, err
	}
	reply, size, err := parseLine(line)
	if err != nil || size < 0 {
		return reply, err
	}
	body, err := readBody(r, size+len(lineEnd))
	if err != nil {
		return reply, err
	}
	if string(body[size:]) == lineEnd {
		reply.Body = body[:size:size]
		return reply, nil
	}
	if reply.Word == Found {
		// The server sends a job that is peeked at from where it keeps it, also
		// when it has been deleted since the command and there is something
		// else now.
		return Reply{Word: NotFound}, nil
	}
	return reply, fmt.Errorf("%w: no end of line after %d bytes", errProtocol, size)
}

const lineEnd = "\r\n"

// firstPart is how many bytes of a body are made room for before they come.
const firstPart = 1 << 20

// readBody reads that many bytes. For those of a large body there is never much
// more room than have come: its size may be no size at all.
func readBody(r *bufio.Reader, size int) ([]byte, error) {
	body := make([]byte, min(size, firstPart))
	for begin := 0; ; {
		if _, err := io.ReadFull(r, body[begin:]); err != nil {
			return nil, err
		}
		if len(body) == size {
			return body, nil
		}
		begin = len(body)
		longer := make([]byte, min(size, 2*begin))
		copy(longer, body)
		body = longer
	}
}

// parseLine reads the line of a reply, and returns the size of the body that
// follows it, or -1.
func parseLine(line []byte) (reply Reply, size int, err error) {
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return reply, -1, fmt.Errorf("%w: %.40q", errProtocol, line)
	}
	word, rest, _ := bytes.Cut(text, []byte(" "))
	for _, known := range words {
		if string(word) == known {
			reply.Word = known
			break
		}
	}
	size = -1
	var number uint64
	switch reply.Word {
	case "":
		err = errProtocol
	case Inserted:
		reply.ID, err = strconv.ParseUint(string(rest), 10, 64)
	case Buried:
		if len(rest) > 0 {
			reply.ID, err = strconv.ParseUint(string(rest), 10, 64)
		}
	case Reserved, Found:
		id, length, _ := bytes.Cut(rest, []byte(" "))
		if reply.ID, err = strconv.ParseUint(string(id), 10, 64); err == nil {
			number, err = strconv.ParseUint(string(length), 10, 64)
		}
		size = int(min(number, maxBody+1))
	case OK:
		number, err = strconv.ParseUint(string(rest), 10, 64)
		size = int(min(number, maxBody+1))
	}
	if err != nil || size > maxBody {
		return reply, -1, fmt.Errorf("%w: %.40q", errProtocol, text)
	}
	return reply, size, nil
}
