package wsctl

import (
	"bytes"
	"strings"
	"testing"
)

// What was deflated for one connection can be sent on another that doesn't inflate.
func TestInflateFrames(t *testing.T) {
	var all, want []byte
	for _, n := range []int{1, 125, 126, 300, 5000, 65535, 65536, 200_000} {
		payload := []byte(strings.Repeat("wsctl ", n/6+1)[:n])
		plain := textFrame(payload)
		want = append(want, plain...)
		f := deflateFrame(append(make([]byte, headRoom), payload...))
		if (f == nil) != (n < minDeflate) {
			t.Fatalf("%d bytes: deflated %v", n, f != nil)
		}
		if f == nil {
			f = plain
		}
		if frameLen(append(f, "more"...)) != len(f) {
			t.Errorf("%d bytes: a frame of %d is taken for %d", n, len(f), frameLen(f))
		}
		all = append(all, f...)
	}
	if !hasDeflated(all) || hasDeflated(want) {
		t.Error("deflated frames aren't recognised")
	}
	if got := inflateFrames(all); !bytes.Equal(got, want) {
		t.Errorf("%d bytes became %d, want %d", len(all), len(got), len(want))
	}
}

// A log drops what is acknowledged, message by message, forgets the oldest over its limit, and numbers what it is given.
func TestSendLog(t *testing.T) {
	h := New(&doing{}, nil)
	s := h.newSocket("x")
	o, l := &s.out, &sendLog{}
	o.log = l
	message := func(n int) []byte { return textFrame(bytes.Repeat([]byte{byte('a' + n)}, 100)) }
	push := func(from, to int) {
		for i := from; i < to; i++ {
			l.sent++
			l.keep(segment{b: message(i), messages: 1}, 2000)
		}
	}
	push(0, 5)
	for _, step := range []struct {
		ack  uint64
		ok   bool
		base uint64
		kept int
	}{{0, true, 0, 5}, {6, false, 0, 5}, {2, true, 2, 3}, {1, true, 2, 3}, {5, true, 5, 0}} {
		if ok := l.ack(step.ack, o); ok != step.ok || l.base != step.base || l.bytes != step.kept*102 {
			t.Errorf("ack %d: %v, base %d, %d bytes kept", step.ack, ok, l.base, l.bytes)
		}
	}
	push(5, 30)
	if l.base != 30-19 || l.bytes != 19*102 {
		t.Errorf("base %d, %d bytes kept of 2000", l.base, l.bytes)
	}
	l.ack(20, o)
	o.mu.Lock()
	o.queue = append(o.queue, newSegment(message(50), 1))
	o.queued = 102
	l.rewind(o)
	o.mu.Unlock()
	if l.replay != 10*102 || l.bytes != 0 || o.queued != 102 || l.sent != 30 {
		t.Errorf("%+v, %d queued", l, o.queued)
	}
	l.ack(25, o) // while it is being sent again
	if l.base != 25 || l.replay != 5*102 {
		t.Errorf("%+v", l)
	}
	c := &conn{out: o}
	o.conn = c
	o.take(c)
	var want []byte
	for i := 25; i < 30; i++ {
		want = append(want, message(i)...)
	}
	if want = append(want, message(50)...); !bytes.Equal(c.under.b, want) || l.sent != 31 || l.base != 25 || l.bytes != len(want) {
		t.Errorf("taken %d bytes, want %d; %+v", len(c.under.b), len(want), l)
	}
}

type doing struct{}

func (*doing) Do(*Socket) {}
