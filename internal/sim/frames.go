package sim

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"strings"
)

// frames takes one direction of a conn apart, on its own account: an HTTP header, and then WebSocket frames.
type frames struct {
	header  func(text string) bool // told of the header; false: what follows is no WebSocket
	message func(opcode byte, payload []byte)

	state   byte // 0: in the header, 1: in frames, 2: not understood
	buf     []byte
	opcode  byte // of a message that isn't whole
	deflate bool
	parts   []byte
}

func (f *frames) feed(b []byte) {
	if f.state == 2 {
		return
	}
	f.buf = append(f.buf, b...)
	rest := f.buf
	if f.state == 0 {
		i := bytes.Index(rest, []byte("\r\n\r\n"))
		if i < 0 {
			return
		}
		f.state = 1
		if !f.header(string(rest[:i])) {
			f.state, f.buf = 2, nil
			return
		}
		rest = rest[i+4:]
	}
	for {
		n := f.frame(rest)
		if n == 0 {
			break
		}
		rest = rest[n:]
	}
	f.buf = f.buf[:copy(f.buf, rest)]
}

// frame takes the frame that b begins with, and returns its length; 0: it isn't whole.
func (f *frames) frame(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	at, n := 2, uint64(b[1]&0x7f)
	switch n {
	case 126:
		if at += 2; len(b) < at {
			return 0
		}
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if at += 8; len(b) < at {
			return 0
		}
		n = binary.BigEndian.Uint64(b[2:])
	}
	var mask []byte
	if b[1]&0x80 != 0 {
		if at += 4; len(b) < at {
			return 0
		}
		mask = b[at-4 : at]
	}
	if uint64(len(b)-at) < n {
		return 0
	}
	payload := b[at : at+int(n)]
	unmask(payload, mask)
	f.take(b[0], payload)
	return at + int(n)
}

// unmask takes a client's mask from a payload, eight bytes at a time: the race detector looks at every access.
func unmask(b, mask []byte) {
	if mask == nil {
		return
	}
	key := uint64(binary.LittleEndian.Uint32(mask))
	key |= key << 32
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^key)
	}
	for i := range b {
		b[i] ^= mask[i%4]
	}
}

// take takes a frame.
func (f *frames) take(first byte, payload []byte) {
	opcode, fin := first&0x0f, first&0x80 != 0
	if opcode >= 8 {
		f.message(opcode, payload)
		return
	}
	if opcode != 0 {
		f.opcode, f.deflate, f.parts = opcode, first&0x40 != 0, f.parts[:0]
		if fin && !f.deflate {
			f.message(opcode, payload)
			return
		}
	}
	if f.parts = append(f.parts, payload...); !fin {
		return
	}
	if f.deflate {
		const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
		r := flate.NewReader(io.MultiReader(bytes.NewReader(f.parts), strings.NewReader(tail)))
		f.parts, _ = io.ReadAll(r)
	}
	f.message(f.opcode, f.parts)
}
