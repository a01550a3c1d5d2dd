//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestInflate(t *testing.T) {
	f := newInflater()
	for _, text := range []string{"", "x", strings.Repeat("many words ", 300), prose} {
		packed := deflate([]byte(text))
		for range 3 { // from the second on it is remembered
			got, err := f.inflate(packed)
			if err != nil || string(got) != text {
				t.Errorf("got %q, error %v, want %q", got, err, text)
			}
		}
	}
}

func TestInflateOfEqualHash(t *testing.T) {
	f := newInflater()
	for i := range 3 * len(f.memory) { // so places are taken again
		text := appendNumber(nil, "message ", i)
		n := byte(len(text))
		packed := append(append([]byte{0, n, 0, ^n, 0xFF}, text...), 0) // a block that is stored, which is quick
		got, err := f.inflate(packed)
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("got %q, error %v, want %q", got, err, text)
		}
	}
}

func TestInflateRefuses(t *testing.T) {
	f := newInflater()
	for range 2 {
		if got, err := f.inflate([]byte{0xFF, 0xFF, 0xFF}); err == nil {
			t.Errorf("no deflate: got %q", got)
		}
		if _, err := f.inflate(deflate(make([]byte, maxMessage+1))); err == nil {
			t.Error("a message beyond the limit is taken")
		}
	}
}
