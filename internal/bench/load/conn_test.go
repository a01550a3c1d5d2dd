//go:build linux

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func closeLoop(t *testing.T, l *loop) {
	t.Helper()
	for _, c := range l.conns {
		if c.fd >= 0 {
			if err := c.cut(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := unix.Close(l.epoll); err != nil {
		t.Error(err)
	}
}

// listener is a work that keeps what it receives.
type listener struct {
	holding
	heard []string
}

func (w *listener) prepare() error { return nil }

func (w *listener) phases() []phase { return nil }

func (w *listener) receive(_ *conn, message []byte) error {
	w.heard = append(w.heard, string(message))
	return nil
}

func newListener(t *testing.T, d dialect) (*listener, *conn) {
	l := newTestLoop(t, d, 1)
	w := &listener{holding: holding{l}}
	l.work = w
	return w, l.conns[0]
}

// feed has c receive b in pieces, and returns the first error.
func feed(c *conn, b []byte, piece int) error {
	for part := range slices.Chunk(b, piece) {
		rest, err := c.take(append(bytes.Clone(c.rest), part...))
		if err != nil {
			return err
		}
		c.rest = append(c.rest[:0], rest...)
		if c.state == open {
			c.loop.dialect.settle(c)
		}
	}
	return nil
}

func TestTake(t *testing.T) {
	const first = opText
	stream := slices.Concat(
		serverFrame(0, opText, "one"),
		serverFrame(0, opPing, "are you there"),
		unfinished(serverFrame(0, first, "tw")),
		serverFrame(0, opPing, "still"),
		unfinished(serverFrame(0, opContinuation, "")),
		serverFrame(0, opContinuation, "o"),
		serverFrame(0, opPong, ""),
		serverFrame(bitDeflated, opText, string(deflate([]byte("three")))),
		unfinished(serverFrame(bitDeflated, opText, string(deflate([]byte("four"))[:2]))),
		serverFrame(0, opContinuation, string(deflate([]byte("four"))[2:])),
		serverFrame(0, opText, strings.Repeat("5", 300)),
	)
	want := []string{"one", "two", "three", "four", strings.Repeat("5", 300)}
	for _, piece := range []int{1, 2, 3, 7, len(stream)} {
		w, c := newListener(t, plain{})
		w.compress = true
		if err := feed(c, stream, piece); err != nil {
			t.Fatalf("pieces of %d: %v", piece, err)
		}
		if !slices.Equal(w.heard, want) || len(c.rest) > 0 {
			t.Errorf("pieces of %d: got %q and the rest %q, want %q", piece, w.heard, c.rest, want)
		}
		if got := written(t, c); !slices.Equal(got, []string{"are you there", "still"}) {
			t.Errorf("pieces of %d: pongs are %q", piece, got)
		}
	}
}

// unfinished makes a frame one that isn't the last of its message.
func unfinished(b []byte) []byte {
	b[0] &^= bitFinal
	return b
}

func TestTakeRefuses(t *testing.T) {
	for name, stream := range map[string][]byte{
		"a close":                    serverFrame(0, opClose, "\x03\xe8bye"),
		"an empty close":             serverFrame(0, opClose, ""),
		"a binary message":           serverFrame(0, 2, "x"),
		"a continuation of nothing":  serverFrame(0, opContinuation, "x"),
		"a message within another":   append(unfinished(serverFrame(0, opText, "a")), serverFrame(0, opText, "b")...),
		"compression, not agreed to": serverFrame(bitDeflated, opText, "x"),
	} {
		_, c := newListener(t, plain{})
		if err := feed(c, stream, len(stream)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestTakeUpgrade(t *testing.T) {
	for _, piece := range []int{1, 50, 1000} {
		w, c := newListener(t, centrifuge{})
		c.state = upgrading
		stream := []byte(upgradeAnswer + "\r\n\r\n")
		stream = append(stream, serverFrame(0, opText, `{"id":1,"connect":{"ping":25}}`+"\n{}\n"+`{"id":5}`)...)
		if err := feed(c, stream, piece); err != nil || c.state != open {
			t.Fatalf("state %d, error %v", c.state, err)
		}
		if got := written(t, c); !slices.Equal(got, []string{`{"id":1,"connect":{}}`, `{}`}) {
			t.Errorf("it writes %q", got)
		}
		if !slices.Equal(w.heard, []string{`{"id":5}`}) {
			t.Errorf("the work has %q", w.heard)
		}
	}
}

func TestSession(t *testing.T) {
	w, c := newListener(t, v1{})
	receive := func(message string) {
		t.Helper()
		if err := feed(c, serverFrame(0, opText, message), 1000); err != nil {
			t.Error(err)
		}
	}
	writes := func(want ...string) {
		t.Helper()
		if got := written(t, c); !slices.Equal(got, want) {
			t.Errorf("it writes %q, want %q", got, want)
		}
	}
	c.upgraded()
	writes(`{"type":"$hello","data":{"try":1}}`)
	receive(`{"type":"$welcome","data":{"session":"abc","resumed":false,"received":0,"ping":25000,"ack":8}}`)
	writes(`{"type":"$ack","data":0}`)
	for i := range 7 {
		receive(fmt.Sprintf(`{"type":"Said","data":%d}`, i))
	}
	receive(`{"type":"$ack","data":0}`)
	writes()
	receive(`{"type":"$reply","id":1}`)
	writes(`{"type":"$ack","data":8}`)
	receive(`{"type":"Said"}`)
	receive(`{"type":"$ping"}`)
	writes(`{"type":"$ack","data":9}`, `{"type":"$pong"}`)
	receive(strings.Repeat("x", ackBytes))
	writes(`{"type":"$ack","data":10}`)
	if len(w.heard) != 10 {
		t.Errorf("the work has %d messages, want 10", len(w.heard))
	}

	c.state = closed
	c.upgraded()
	writes(`{"type":"$hello","data":{"session":"abc","received":10,"try":2}}`)
	receive(`{"type":"$welcome","data":{"session":"abc","resumed":true,"received":0,"ping":25000,"ack":8}}`)
	writes()
	c.upgraded()
	lost := serverFrame(0, opText, `{"type":"$welcome","data":{"session":"def","resumed":false,"received":0,"ping":25000,"ack":8}}`)
	if err := feed(c, lost, 1000); err == nil {
		t.Error("a lost session is taken")
	}
}
