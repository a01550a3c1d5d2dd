package main

import (
	"bytes"
	"slices"
	"testing"
)

// clientFrame makes the frame of a client.
func clientFrame(opcode byte, key [4]byte, payload []byte) []byte {
	b := appendFrame(nil, opcode, payload)
	header := len(b) - len(payload)
	b[1] |= masked
	b = slices.Insert(b, header, key[:]...)
	for i := range payload {
		b[header+4+i] ^= key[i%4]
	}
	return b
}

func TestParse(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 125, 126, 4000} {
		payload := bytes.Repeat([]byte("wsctl"), n)[:n]
		whole := clientFrame(opText, [4]byte{1, 2, 3, 250}, payload)
		for end := 0; end < len(whole); {
			part := slices.Clone(whole[:end])
			_, missing, err := parse(part)
			if err != nil || missing <= 0 || end+missing > len(whole) {
				t.Fatalf("%d of %d bytes: %d are missing, %v", end, len(whole), missing, err)
			}
			if !bytes.Equal(part, whole[:end]) {
				t.Fatalf("%d of %d bytes: they have changed", end, len(whole))
			}
			end += missing
		}
		f, missing, err := parse(append(slices.Clone(whole), "more"...))
		if err != nil || missing != 0 || f.opcode != opText || f.size != len(whole) || !bytes.Equal(f.payload, payload) {
			t.Errorf("%d bytes: %+v, %d, %v", n, f, missing, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	key := [4]byte{}
	tooLong := clientFrame(opText, key, make([]byte, bufferSize))
	part := clientFrame(opText, key, []byte("part"))
	part[0] &^= fin
	for name, b := range map[string][]byte{
		"too long":    tooLong,
		"in parts":    part,
		"not masked":  appendFrame(nil, opText, []byte("hello")),
		"eight bytes": {fin | opText, masked | 127, 0, 0, 0, 0, 0, 1, 0, 0},
	} {
		if _, _, err := parse(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAppendFrame(t *testing.T) {
	got := appendFrame([]byte("x"), opText, []byte("ab"), nil, []byte("c"))
	if want := "x\x81\x03abc"; string(got) != want {
		t.Errorf("%q, expected %q", got, want)
	}
	got = appendFrame(nil, opText, make([]byte, 1500))
	if want := "\x81\x7e\x05\xdc"; string(got[:4]) != want || len(got) != 1504 {
		t.Errorf("%q, %d bytes, expected %q", got[:4], len(got), want)
	}
}

func TestRoom(t *testing.T) {
	for message, want := range map[string]string{
		`{"type":"Join","id":2,"data":{"room":"r17","text":"","seq":0}}`: "r17",
		`{"type":"Say","data":{"room":"","text":"hi","seq":0}}`:          "",
	} {
		if got := room([]byte(message)); string(got) != want {
			t.Errorf("%s: %q, expected %q", message, got, want)
		}
	}
}
