//go:build linux

package main

import (
	"bytes"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// newTestLoop returns a loop whose connections seem to be open. What they write stays in out.
func newTestLoop(t *testing.T, d dialect, n int) *loop {
	t.Helper()
	l, err := newLoop([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, d, false, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLoop(t, l) })
	for _, c := range l.conns {
		c.state, c.blocked = open, true
	}
	return l
}

// unmasked makes a server's frame of a client's, whose mask is zero.
func unmasked(b []byte) []byte {
	head := 2
	if b[1]&0x7F == 126 {
		head = 4
	}
	b = append(bytes.Clone(b[:head]), b[head+4:]...)
	b[1] &^= 0x80
	return b
}

// written takes the messages that c has to write.
func written(t *testing.T, c *conn) (messages []string) {
	t.Helper()
	for len(c.out) > 0 {
		f, n, err := parseFrame(unmasked(c.out))
		if err != nil || n == 0 {
			t.Fatalf("connection %d writes %q: %v", c.index, c.out, err)
		}
		messages = append(messages, string(f.payload))
		c.out = c.out[n+4:]
	}
	return messages
}

func TestEchoVerifies(t *testing.T) {
	l := newTestLoop(t, plain{}, 2)
	w := newEcho(l, settings{conns: 2, depth: 3, bytes: minEcho})
	l.work, w.deadline = w, math.MaxInt64
	l.now = 1
	c := l.conns[1]
	for range 3 {
		w.call(c)
	}
	var answers []string
	for _, request := range written(t, c) {
		answers = append(answers, strings.Replace(request, `"Echo"`, `"$reply"`, 1))
	}
	if len(answers) != 3 {
		t.Fatalf("%d calls, want 3", len(answers))
	}
	receive := func(c *conn, answer string) error { return w.receive(c, []byte(answer)) }
	for name, answer := range map[string]string{
		"another text":        strings.Replace(answers[0], "world", "wOrld", 1),
		"another number":      strings.Replace(answers[0], "123456", "123457", 1),
		"an unknown id":       strings.Replace(answers[0], `"id":100`, `"id":99`, 1),
		"an id not in flight": strings.Replace(answers[0], `"id":100`, `"id":103`, 1),
		"something else":      `{"type":"$error","id":100}`,
		"more":                answers[0] + " ",
	} {
		if receive(c, answer) == nil {
			t.Errorf("%s is taken: %s", name, answer)
		}
	}
	if receive(l.conns[0], answers[0]) == nil {
		t.Error("an answer to another connection is taken")
	}
	for _, i := range []int{2, 0, 1} {
		if err := receive(c, answers[i]); err != nil {
			t.Error(err)
		}
	}
	if receive(c, answers[1]) == nil {
		t.Error("an answer that comes twice is taken")
	}
	if got := len(written(t, c)); got != 3 || l.meter.latencies.count != 3 {
		t.Errorf("%d calls follow %d answers, want 3", got, l.meter.latencies.count)
	}
}

func TestBroadcastVerifies(t *testing.T) {
	l := newTestLoop(t, plain{}, 3)
	w := newBroadcast(l, settings{conns: 2, window: 2})
	l.work, w.deadline = w, math.MaxInt64
	speaker := l.conns[2]
	if err := w.speak(w.halls[0]); err != nil {
		t.Fatal(err)
	}
	var heard [][]byte
	for _, m := range written(t, speaker) {
		heard = append(heard, []byte(strings.Replace(m, `"Say"`, `"Said"`, 1)))
	}
	if len(heard) != 2 || len(heard[0]) != saidSize {
		t.Fatalf("said %q, want a window of 2", heard)
	}
	if w.receive(speaker, heard[1]) == nil {
		t.Error("a message is taken before the one before it")
	}
	for _, c := range l.conns {
		if err := w.receive(c, heard[0]); err != nil {
			t.Error(err)
		}
		if w.receive(c, heard[0]) == nil {
			t.Error("a message is taken twice")
		}
		if last := c == speaker; last != (len(w.waiting) == 1) {
			t.Errorf("after connection %d: %d speakers may go on", c.index, len(w.waiting))
		}
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	if got := written(t, speaker); len(got) != 1 {
		t.Errorf("said %q, want one message", got)
	}
	if w.receive(speaker, []byte(`{"type":"$reply","id":5}`)) == nil {
		t.Error("an answer to nothing is taken")
	}
}

func TestBroadcastStalls(t *testing.T) {
	l := newTestLoop(t, plain{}, 103)
	w := newBroadcast(l, settings{conns: 100, window: 2, rooms: 3, stalled: 0.07})
	if len(w.stalling) != 7 {
		t.Errorf("%d connections stall, want 7", len(w.stalling))
	}
	in := make(map[*hall]int)
	for _, c := range w.stalling {
		in[w.hallOf[c.index]]++
	}
	for _, h := range w.halls {
		if in[h] < 2 || h.members < 34 {
			t.Errorf("hall %d has %d members, %d of them stall", h.room, h.members, in[h])
		}
	}
}

func TestEchoCallers(t *testing.T) {
	l := newTestLoop(t, plain{}, 3)
	if w := newEcho(l, settings{conns: 3, depth: 1, bytes: minEcho}); len(w.callers) != 3 {
		t.Errorf("%d connections call, want all 3", len(w.callers))
	}
	if w := newEcho(l, settings{conns: 3, callers: 2, depth: 1, bytes: minEcho}); len(w.callers) != 2 {
		t.Errorf("%d connections call, want 2", len(w.callers))
	}
}

func TestRoomsVerifies(t *testing.T) {
	l := newTestLoop(t, plain{}, 2)
	w := newRooms(l, settings{conns: 2, rooms: 1, time: time.Second})
	l.work, w.initial = w, nil
	w.enter(0, 0)
	w.activity, w.deadline, l.now = says, math.MaxInt64, 1
	for place := range roomsDepth {
		w.begin(l.conns[1], place)
	}
	var heard [][]byte
	for _, m := range written(t, l.conns[1]) {
		heard = append(heard, []byte(strings.Replace(m, `"Say"`, `"Said"`, 1)))
	}
	if len(heard) != roomsDepth || len(heard[0]) != saidSize {
		t.Fatalf("said %q, want %d messages of %d bytes", heard, roomsDepth, saidSize)
	}
	if w.receive(l.conns[1], heard[0]) == nil {
		t.Error("a message is taken by a connection that isn't in its room")
	}
	if w.receive(l.conns[0], bytes.Replace(heard[0], []byte("hello"), []byte("hallo"), 1)) == nil {
		t.Error("another text is taken")
	}
	if err := w.receive(l.conns[0], heard[1]); err != nil {
		t.Error(err)
	}
	if w.receive(l.conns[0], heard[1]) == nil {
		t.Error("a message is taken twice")
	}
	if w.receive(l.conns[0], heard[0]) == nil {
		t.Error("a message is taken after a later one of its speaker")
	}
	if got := written(t, l.conns[1]); len(got) != 1 || l.meter.latencies.count != 1 {
		t.Errorf("said %q after %d deliveries, want one message after one", got, l.meter.latencies.count)
	}
}

func TestRoomsJoinAndLeave(t *testing.T) {
	l := newTestLoop(t, plain{}, 1)
	w := newRooms(l, settings{conns: 1, rooms: 70})
	w.initial, w.deadline = nil, math.MaxInt64
	for range 70 {
		r, ok := w.toJoin(0)
		if !ok || w.in(0, r) {
			t.Fatalf("room %d is chosen: %t", r, ok)
		}
		w.enter(0, r)
	}
	if _, ok := w.toJoin(0); ok || w.deadline != w.now {
		t.Error("there is a room to join when it is in all of them")
	}
	for range 70 {
		r, ok := w.toLeave(0)
		if !ok || w.in(0, r) || w.members[r] != 0 {
			t.Fatalf("room %d is chosen, which has %d members: %t", r, w.members[r], ok)
		}
	}
	if _, ok := w.toLeave(0); ok {
		t.Error("there is a room to leave when it is in none")
	}
}

// The phases of sparse rooms go on for those that have something left to join or leave.
func TestSparseRooms(t *testing.T) {
	l := newTestLoop(t, plain{}, 2)
	w := newRooms(l, settings{conns: 2, rooms: 1, sparse: true})
	if first := w.phases()[0]; first.name != "send" {
		t.Errorf("the first phase is %s, want send", first.name)
	}
	w.deadline = math.MaxInt64
	for _, next := range []func(int) bool{
		func(i int) bool {
			r, ok := w.toJoin(i)
			if ok {
				w.enter(i, r)
			}
			return ok
		},
		func(i int) bool { _, ok := w.toLeave(i); return ok },
	} {
		for i := range l.conns {
			if !next(i) || next(i) {
				t.Errorf("connection %d doesn't do it once", i)
			}
		}
	}
	if w.deadline != math.MaxInt64 || w.members[0] != 0 {
		t.Errorf("the phase is over, or %d members are left", w.members[0])
	}
}
