package retry

import (
	"encoding/binary"
	"time"
)

// delays is a sequence of durations, eight bytes each. It is a string and not
// a slice because a string cannot change and can be compared, and therefore so
// can the Backoff that holds it.
type delays string

const delaySize = 8 // bytes in a packed duration

func pack(durations []time.Duration) delays {
	packed := make([]byte, 0, delaySize*len(durations))
	for _, d := range durations {
		packed = binary.BigEndian.AppendUint64(packed, uint64(d))
	}
	return delays(packed)
}

func (d delays) len() int {
	return len(d) / delaySize
}

func (d delays) at(i int) time.Duration {
	packed := []byte(d[delaySize*i : delaySize*(i+1)]) // does not escape: no allocation
	return time.Duration(binary.BigEndian.Uint64(packed))
}
