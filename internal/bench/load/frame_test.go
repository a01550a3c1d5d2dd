//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

// serverFrame is a frame as a server writes it: a client's without the mask.
func serverFrame(bits, opcode byte, payload string) []byte {
	b := appendFrame(nil, bits, opcode, []byte(payload))
	head := len(b) - len(payload) - 4
	b = append(b[:head], b[head+4:]...)
	b[1] &^= 0x80
	return b
}

func TestParseFrame(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 1500, 0xFFFF, maxMessage} {
		payload := strings.Repeat("x", size)
		whole := serverFrame(bitDeflated, opText, payload)
		f, n, err := parseFrame(append(bytes.Clone(whole), "rest"...))
		if err != nil || n != len(whole) || string(f.payload) != payload || !f.final || !f.deflated || f.opcode != opText {
			t.Errorf("a frame of %d bytes: %d of %d taken, opcode %d, error %v", size, n, len(whole), f.opcode, err)
		}
		for _, cut := range []int{0, 1, 2, 3, 9, len(whole) - 1} {
			if cut >= len(whole) {
				continue
			}
			if _, n, err := parseFrame(whole[:cut]); n != 0 || err != nil {
				t.Errorf("%d bytes of a frame of %d: %d taken, error %v", cut, len(whole), n, err)
			}
		}
	}
}

func TestParseFrameRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"a mask":          appendFrame(nil, 0, opText, []byte("x")),
		"an unknown bit":  {0xA1, 0},
		"a huge one":      {0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0},
		"a negative size": {0x81, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
	} {
		if _, n, err := parseFrame(b); err == nil || n != 0 {
			t.Errorf("%s: %d taken, error %v", name, n, err)
		}
	}
}

func TestAppendFrame(t *testing.T) {
	if got, want := appendFrame(nil, 0, opText, []byte("hi")), []byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'}; !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	if got, want := appendFrame(nil, bitDeflated, opText, make([]byte, 300))[:8], []byte{0xC1, 0xFE, 1, 44, 0, 0, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}
