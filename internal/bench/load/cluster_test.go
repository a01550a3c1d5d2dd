//go:build linux

package main

import (
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	l := newTestLoop(t, plain{}, 1)
	l.work = &idle{holding{l}}
	began := clock()
	err := l.paced(1000, func() error {
		return l.until(func() bool { return l.pace.due >= 5 }, func() string { return "ticks" })
	})
	if err != nil || l.pace != nil {
		t.Fatal(err, l.pace)
	}
	if took := time.Duration(clock() - began); took < 5*time.Millisecond {
		t.Errorf("5 ticks of a millisecond each took %v", took)
	}
	p := pace{due: 3}
	if p.take() != 3 || p.take() != 0 {
		t.Error("ticks are taken twice, or not")
	}
}

func TestBroadcastOnTime(t *testing.T) {
	l := newTestLoop(t, plain{}, 6)
	s := settings{conns: 4, rooms: 2, window: 1, rate: 10}
	w := newBroadcast(l, s)
	l.work, w.deadline, l.pace = w, math.MaxInt64, &pace{}
	speakers := l.conns[s.conns:]
	if err := w.settle(); err != nil || len(speakers[0].out) > 0 {
		t.Errorf("something is said before its time: %q, %v", speakers[0].out, err)
	}
	l.pace.due = 3
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	first, second := written(t, speakers[0]), written(t, speakers[1])
	if len(first) != 2 || len(second) != 1 || w.spoken != 3 {
		t.Errorf("the speakers said %q and %q by turns, %d in all", first, second, w.spoken)
	}
	for _, c := range []*conn{l.conns[0], l.conns[1], speakers[0]} {
		if err := w.receive(c, []byte(strings.Replace(first[0], `"Say"`, `"Said"`, 1))); err != nil {
			t.Error(err)
		}
	}
	if err := w.settle(); err != nil || len(speakers[0].out) > 0 || w.missing() != 2 {
		t.Errorf("a delivery makes it speak: %q, %v; %d are missing", speakers[0].out, err, w.missing())
	}
	l.pace.due = 1000
	if w.settle() == nil {
		t.Error("servers that can't keep up are no error")
	}
	w.deadline, l.pace.due = 0, 1
	if err := w.settle(); err != nil {
		t.Errorf("it speaks after the end: %v", err)
	}
	l.pace = nil
}

// The members of the work recover come back with the position that they had, and verify what they get.
func TestMissing(t *testing.T) {
	t.Run("v1", func(t *testing.T) {
		l, w := newTestMissing(t, v1{})
		c := l.conns[0]
		c.session.try = 1 // it has said hello
		w.stage, w.left, w.waiting = entering, 1, w.members
		w.begin()
		expect(t, c, `{"type":"Join","id":2,"data":{"room":"r0","text":"","seq":0}}`)
		give(t, c, `{"type":"$room","data":{"room":"r0","pos":"e.0"}}`, true)
		give(t, c, `{"type":"$reply","id":2}`, true)
		if w.left != 0 {
			t.Fatal("it has a position and an answer, and isn't done")
		}
		c.session = session{recovery: recovery{position: c.session.position}}
		if got := string((v1{}).greet(c)); got != `{"type":"$hello","data":{"try":1,"rooms":{"r0":"e.0"}}}` {
			t.Error(got)
		}
		w.rejoin()
		expect(t, c, `{"type":"Join","id":2,"data":{"room":"r0","text":"","seq":0}}`)
		give(t, c, `{"type":"$room","data":{"room":"r0","pos":"e.2","recovered":false}}`, false)
		give(t, c, `{"type":"$room","data":{"room":"r0","pos":"e.0","recovered":true}}`, true)
		placed := func(n int) string {
			return strings.Replace(string(w.heard[0][n]), `"Said",`, `"Said","room":"r0","pos":"e.1",`, 1)
		}
		give(t, c, placed(1), false)
		give(t, c, placed(0), true)
		give(t, c, placed(0), false)
		give(t, c, placed(1), true)
		give(t, c, placed(1), false)
		give(t, c, `{"type":"$reply","id":2}`, true)
		if w.left != 0 || l.meter.latencies.count != 1 {
			t.Errorf("it has all, and isn't done: %d, %d", w.left, l.meter.latencies.count)
		}
		if s := c.session; s.received != s.unacked || s.received == 0 {
			t.Errorf("what counts isn't counted: %+v", s)
		}
	})
	t.Run("centrifuge", func(t *testing.T) {
		l, w := newTestMissing(t, centrifuge{})
		c := l.conns[0]
		w.stage, w.left, w.waiting = entering, 1, w.members
		w.begin()
		expect(t, c, `{"id":2,"subscribe":{"channel":"r0"}}`)
		give(t, c, `{"id":2,"subscribe":{"recoverable":true,"epoch":"xyz","positioned":true}}`, true)
		if w.left != 0 {
			t.Fatal("it has a position and an answer, and isn't done")
		}
		w.rejoin()
		expect(t, c, `{"id":2,"subscribe":{"channel":"r0","recover":true,"epoch":"xyz","offset":0}}`)
		publication := func(n int) string {
			_, p, _ := strings.Cut(string(w.heard[0][n]), `"pub":`)
			return p + `,"offset":1}`
		}
		answer := func(publications string) string {
			return `{"id":2,"subscribe":{"epoch":"xyz","publications":[` + publications + `],"recovered":true,"offset":2}}`
		}
		give(t, c, answer(publication(1)+","+publication(0)), false)
		w.rejoin()
		give(t, c, answer(publication(0)+","+publication(1)), true)
		if w.left != 0 || l.meter.latencies.count != 1 {
			t.Errorf("it has all, and isn't done: %d, %d", w.left, l.meter.latencies.count)
		}
		w.rejoin()
		give(t, c, `{"id":2,"subscribe":{"epoch":"xyz","offset":2}}`, true)
		if w.left == 0 {
			t.Error("it lacks what it has missed, and is done")
		}
	})
}

func newTestMissing(t *testing.T, d dialect) (*loop, *missing) {
	l := newTestLoop(t, d, 2)
	w := newMissing(l, settings{conns: 1, rooms: 1, missed: 2, inflight: 1})
	l.work = w
	return l, w
}

// rejoin has the only member begin to join again.
func (w *missing) rejoin() {
	w.stage, w.left, w.waiting, w.got[0], w.answered[0] = rejoining, 1, w.members, 0, false
	w.begin()
}

func expect(t *testing.T, c *conn, want string) {
	t.Helper()
	if got := written(t, c); len(got) != 1 || got[0] != want {
		t.Errorf("it says %q, expected %s", got, want)
	}
}

// give has c get a message, which is to be taken or not.
func give(t *testing.T, c *conn, message string, taken bool) {
	t.Helper()
	if err := c.loop.dialect.receive(c, []byte(message)); (err == nil) != taken {
		t.Errorf("%s: %v", message, err)
	}
}

func TestUnplaced(t *testing.T) {
	const plain = `{"type":"Said","data":{"room":"r1","text":"a","seq":5}}`
	for _, message := range []string{
		plain,
		`{"type":"Said","room":"r1","pos":"x.17","data":{"room":"r1","text":"a","seq":5}}`,
		`{"type":"Said","data":{"room":"r1","text":"a","seq":5},"room":"r1","pos":"x.17"}`,
	} {
		if got := string(unplaced([]byte(message))); got != plain {
			t.Errorf("%s: %s", message, got)
		}
	}
	for _, odd := range []string{`{"type":"Said","room":"r1"}`, `{"type":"Said","room":"r1","pos":"x`} {
		if got := string(unplaced([]byte(odd))); got != odd {
			t.Errorf("%s: %s", odd, got)
		}
	}
}

// Rooms that are joined but once are joined by all connections, in the phase that counts or before it.
func TestFirstJoins(t *testing.T) {
	l := newTestLoop(t, plain{}, 2)
	w := newRooms(l, settings{conns: 2, rooms: 5, first: true})
	l.work = w
	w.initial, w.deadline, w.activity, l.now = []int{0, 1}, math.MaxInt64, joins, 1
	for _, c := range l.conns {
		w.begin(c, 0)
	}
	joined := 0
	for answered := true; answered; {
		answered = false
		for _, c := range l.conns {
			for range written(t, c) {
				joined++
				answered = true
				if err := w.receive(c, []byte(`{"type":"$reply","id":100}`)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for r, n := range w.members {
		if n != 1 {
			t.Errorf("room %d has %d members", r, n)
		}
	}
	if joined != 5 || l.meter.latencies.count != 5 {
		t.Errorf("%d joins, %d latencies", joined, l.meter.latencies.count)
	}
}

func TestHeldRooms(t *testing.T) {
	l := newTestLoop(t, plain{}, 1)
	w := newRooms(l, settings{conns: 1, rooms: 30_000, held: true, time: 4 * time.Millisecond})
	l.work = w
	if p := w.phases(); len(p) != 1 || p[0].run() != nil {
		t.Error("nothing is held")
	}
	if n := l.meter.latencies.count; n != 2 {
		t.Errorf("%d minutes of a room, expected those of 30,000 in 4 ms", n)
	}
}

func TestSettings(t *testing.T) {
	for line, good := range map[string]bool{
		"-work broadcast -rooms 1 -rate 50 -speakers 127.0.0.1:2": true,
		"-work recover -rooms 3 -stack v1":                        true,
		"-work rooms -rooms 3 -first":                             true,
		"-work recover -rooms 3 -stack plain":                     false,
		"-work recover -stack v1":                                 false,
		"-work rooms -rooms 3 -first -held":                       false,
		"-work rooms -rooms 3 -speakers 127.0.0.1:2":              false,
		"-work broadcast -speakers [::1]:2":                       false,
		"-work broadcast -rate -1":                                false,
		"-work broadcast -rate 1000000000":                        false,
		"-work echo -held":                                        false,
		"-addr 127.0.0.1:2":                                       true,
		"-addr [::1]:2":                                           false,
	} {
		if _, err := parseSettings(append([]string{"-addr", "127.0.0.1:1"}, strings.Fields(line)...), io.Discard); (err == nil) != good {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// A connection that has something to acknowledge does so within ackAfter, and others don't do so at the same time.
func TestAcknowledgmentsAreSpread(t *testing.T) {
	l := newTestLoop(t, v1{}, 100)
	for _, c := range l.conns {
		c.session.unacked, c.session.received = 1, 7
	}
	l.now = 10 * ackAfter
	l.acked = l.now
	total := 0
	for range 71 {
		l.now += ackAfter / 70
		if err := (v1{}).tick(l); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range l.conns {
			n += len(written(t, c))
		}
		if n > 2 {
			t.Errorf("%d acknowledge at once, of 100 in 70 steps", n)
		}
		total += n
	}
	if total != 100 {
		t.Errorf("%d of 100 have acknowledged", total)
	}
	l.now += 100 * ackAfter
	if err := (v1{}).tick(l); err != nil || l.acked != l.now {
		t.Errorf("what is late isn't made up for: %v, %d", err, l.now-l.acked)
	}
}
