package queue

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goferhq/queue/backend"
)

// process names this process in the dead set: host:pid.
var process = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
})

// maxErrorText bounds the text of an error in the dead set, in bytes. A broker
// may keep it in the same message as the job.
const maxErrorText = 4096

func failureOf(err error) *backend.Failure {
	err = cause(err)
	f := &backend.Failure{
		At:     time.Now().UTC().Round(0),
		Error:  strings.ToValidUTF8(textOf(err), "\uFFFD"),
		Type:   fmt.Sprintf("%T", err),
		Worker: process(),
	}
	if len(f.Error) > maxErrorText {
		f.Error = strings.ToValidUTF8(f.Error[:maxErrorText], "") + "…"
	}
	if p, ok := errors.AsType[*PanicError](err); ok {
		f.Backtrace = backtrace(p.Stack)
	}
	return f
}

// maxFrames bounds the backtrace in the dead set.
const maxFrames = 40

// backtrace makes of a stack one line for each frame, as Ruby has it:
// file:line and function, innermost first.
func backtrace(stack []byte) []string {
	lines := strings.Split(strings.TrimSpace(string(stack)), "\n")
	var frames []string
	for i := firstFrame(lines); i+1 < len(lines) && len(frames) < maxFrames; i += 2 {
		place, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +0x")
		frames = append(frames, place+" "+lines[i])
	}
	return frames
}

// firstFrame returns the line of a stack at which the user's code begins:
// behind that which took the stack and that of the panic or Goexit.
func firstFrame(lines []string) int {
	for i := len(lines) - 1; i > 0; i-- {
		if strings.HasPrefix(lines[i], "panic(") || strings.HasPrefix(lines[i], "runtime.Goexit(") {
			return i + 2
		}
	}
	return 1 // the first names the goroutine
}
