package wsctl

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzParseFrame compares parseFrame and unmask with RFC 6455, section 5.2, read as plainly as possible.
func FuzzParseFrame(f *testing.F) {
	for _, n := range []int{0, 1, 7, 8, 125, 126, 1000, blockSize - 8, blockSize - 7} {
		head := []byte{0x81, 0x80 | 126, byte(n >> 8), byte(n)}
		if n < 126 {
			head = []byte{0x81, 0x80 | byte(n)}
		}
		for _, first := range []byte{0x81, 0x89, 0x8a, 0x88, 0x01, 0x80, 0xc1, 0x82} {
			head[0] = first
			whole := append(append(bytes.Clone(head), 1, 2, 3, 4), make([]byte, n)...)
			for _, cut := range []int{0, 1, 2, len(head), len(head) + 4, len(whole) - 1, len(whole)} {
				f.Add(whole[:cut], n)
			}
		}
	}
	f.Add([]byte{0x81, 5, 1, 2, 3, 4, 5}, 5)
	f.Add([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0}, 5)
	f.Add([]byte{0x81, 0xfe, 0, 5, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o', 0x81}, 5) // not minimal
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		if len(b) > blockSize {
			b = b[:blockSize]
		}
		before := bytes.Clone(b)
		kind, from, end := parseFrame(b, limit)
		want, payload, wantEnd := plainParse(b, limit)
		if kind != want || !bytes.Equal(b, before) {
			t.Fatalf("kind %d, want %d", kind, want)
		}
		if kind != frameUsual {
			return
		}
		got := unmask(b, from, end)
		if end != wantEnd || !bytes.Equal(got, payload) || cap(got) != len(got) {
			t.Fatalf("%x of %d bytes up to %d, want %x up to %d", got, cap(got), end, payload, wantEnd)
		}
		if !bytes.Equal(b[:from], before[:from]) || !bytes.Equal(b[end:], before[end:]) {
			t.Fatal("unmask wrote beside the payload")
		}
	})
}

// plainParse is parseFrame as the RFC tells it.
func plainParse(b []byte, limit int) (kind frameKind, payload []byte, end int) {
	if len(b) < 2 {
		return framePart, nil, 0
	}
	fin, rsv, opcode := b[0]>>7, b[0]>>4&7, b[0]&15
	masked, length, rest := b[1]>>7, uint64(b[1]&127), b[2:]
	control := opcode == 9 || opcode == 10
	switch {
	case fin == 0, rsv != 0, opcode != 1 && !control, masked == 0, length == 127, control && length > 125:
		return frameOdd, nil, 0
	case length == 126 && len(rest) < 2:
		return framePart, nil, 0
	case length == 126:
		length, rest = uint64(binary.BigEndian.Uint16(rest)), rest[2:]
	}
	switch header := len(b) - len(rest) + 4; {
	case opcode == 1 && int64(length) > int64(limit), uint64(header)+length > blockSize:
		return frameOdd, nil, 0
	case uint64(len(b)) < uint64(header)+length:
		return framePart, nil, 0
	}
	key, data := rest[:4], rest[4:4+length]
	for i, c := range data {
		payload = append(payload, c^key[i%4])
	}
	return frameUsual, payload, len(b) - len(rest) + 4 + int(length)
}
