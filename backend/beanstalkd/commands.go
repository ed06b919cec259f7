package beanstalkd

import "strconv"

// The commands as they are written. Each function appends one or more of them
// to request.

// appendCommand appends a command about a job.
func appendCommand(request []byte, command string, id uint64) []byte {
	request = append(append(request, command...), ' ')
	return append(strconv.AppendUint(request, id, 10), '\r', '\n')
}

// appendCommands appends the same command for each of several jobs.
func appendCommands(request []byte, command string, ids []uint64) []byte {
	for _, id := range ids {
		request = appendCommand(request, command, id)
	}
	return request
}

// appendTube appends a command about a tube.
func appendTube(request []byte, command, tube string) []byte {
	request = append(append(request, command...), ' ')
	return append(append(request, tube...), '\r', '\n')
}

// appendBury appends the command that buries a job with a priority.
func appendBury(request []byte, id uint64, priority uint32) []byte {
	request = append(strconv.AppendUint(append(request, "bury "...), id, 10), ' ')
	return append(strconv.AppendUint(request, uint64(priority), 10), '\r', '\n')
}

// appendPause appends the command that pauses a tube, or ends its pause.
func appendPause(request []byte, tube string, paused bool) []byte {
	request = append(append(request, "pause-tube "...), tube...)
	if paused {
		return append(strconv.AppendInt(append(request, ' '), maxSeconds, 10), '\r', '\n')
	}
	return append(request, " 0\r\n"...)
}

// ping is a command that changes nothing.
const ping = "list-tube-used\r\n"
