package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzReply reads replies from any bytes. It must not panic, must read the same
// from bytes that come one by one, and must stop at the first that are none.
func FuzzReply(f *testing.F) {
	for _, text := range []string{
		"INSERTED 1\r\nBURIED 2\r\nBURIED\r\nUSING default\r\n",
		"RESERVED 1 4\r\nbody\r\nTIMED_OUT\r\nDEADLINE_SOON\r\n",
		"FOUND 1 4\r\nbodyXXNOT_FOUND\r\n",
		"OK 10\r\n---\na: b\n\n\r\nKICKED 1\r\n",
		"OK 0\r\n\r\n", "OK 1073741824\r\n", "OK 1073741825\r\n", "RESERVED 1 18446744073709551615\r\n",
		"RESERVED 1\r\n", "INSERTED -1\r\n", "\r\n", "x", "DELETED\n", "OUT_OF_MEMORY\r", "UNKNOWN_COMMAND\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		replies, err := readAll(bytes.NewReader(text))
		again, errAgain := readAll(iotest.OneByteReader(bytes.NewReader(text)))
		if !slices.EqualFunc(replies, again, func(x, y Reply) bool {
			return x.Word == y.Word && x.ID == y.ID && bytes.Equal(x.Body, y.Body)
		}) || err.Error() != errAgain.Error() {
			t.Errorf("%q was read as %+v, %v, and byte by byte as %+v, %v", text, replies, err, again, errAgain)
		}
		if !errors.Is(err, errProtocol) && err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Errorf("%q ended in %v", text, err)
		}
		size := 0
		for _, reply := range replies {
			if !slices.Contains(words[:], reply.Word) {
				t.Errorf("%q has the word %q", text, reply.Word)
			}
			switch reply.Word {
			case Reserved, Found, OK:
				if reply.Body == nil {
					t.Errorf("%q has a %s without a body", text, reply.Word)
				}
			default:
				if reply.Body != nil {
					t.Errorf("%q has a %s with the body %q", text, reply.Word, reply.Body)
				}
			}
			size += len(reply.Word) + 2 + len(reply.Body)
		}
		if size > len(text) {
			t.Errorf("%d bytes were read as %d of replies", len(text), size)
		}
	})
}

// readAll reads replies until there is an error.
func readAll(r io.Reader) (replies []Reply, err error) {
	buffered := bufio.NewReaderSize(r, 4<<10)
	for {
		reply, err := readReply(buffered)
		if err != nil {
			return replies, err
		}
		replies = append(replies, reply)
	}
}

func TestASizeThatNoBodyHasMakesNoRoomForIt(t *testing.T) {
	for _, body := range []int{0, 100, 3 << 20} {
		text := "OK 1073741824\r\n" + strings.Repeat("x", body)
		r := bufio.NewReader(strings.NewReader(text))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readReply(r)
		runtime.ReadMemStats(&after)
		if err != io.ErrUnexpectedEOF && err != io.EOF {
			t.Errorf("got %v", err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(4*body+2*firstPart) {
			t.Errorf("%d bytes of a body made room for %d", body, took)
		}
	}
}

func BenchmarkReply(b *testing.B) {
	for name, text := range map[string]string{
		"inserted":        "INSERTED 123456\r\n",
		"reserved=200B":   "RESERVED 123456 200\r\n" + strings.Repeat("x", 200) + "\r\n",
		"reserved=64000B": "RESERVED 123456 64000\r\n" + strings.Repeat("x", 64000) + "\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			source := strings.NewReader(text)
			r := bufio.NewReaderSize(source, 32<<10)
			b.ReportAllocs()
			for b.Loop() {
				source.Reset(text)
				if _, err := readReply(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
