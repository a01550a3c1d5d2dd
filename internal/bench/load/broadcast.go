//go:build linux

package main

import (
	"fmt"
	"math/bits"
	"time"
)

const (
	stalledBuffer = 4 << 10 // receive buffer of those that stall: soon full
	enterID       = 2
)

// spoken is a message of a hall, again and again: its place in the ring is the only thing that tells it from others.
type spoken struct {
	frame   []byte // of the Say
	said    []byte // answer to it; empty: there is none
	heard   []byte // what receivers get
	written int64
	missing int // receivers that don't have it yet
}

// hall is a room, or everyone, with one speaker.
type hall struct {
	room     room
	speaker  *conn
	ring     []spoken // 2^n messages, several windows
	written  int      // messages so far
	complete int      // ... that every receiver has
	said     int      // ... whose Say is answered
	members  int      // those that read, and the speaker
	waiting  bool     // it is in broadcast.waiting
}

// at returns message n of the hall.
func (h *hall) at(n int) *spoken { return &h.ring[n&(len(h.ring)-1)] }

// broadcast has receivers, and speakers that keep a window full, or speak by turns at a fixed rate.
type broadcast struct {
	*loop
	window   int
	rate     int // messages a second of all speakers together; 0: their windows count
	turn     int // number of the next speaker's turn
	spoken   int // messages in the phase
	halls    []*hall
	hallOf   []*hall // by connection
	next     []int   // message of its hall, by connection
	stalling []*conn // of which nothing is read once it is measured
	entering int     // first calls to be answered
	waiting  []*hall // whose speaker may have something to say
	deadline int64
	time     time.Duration
}

func newBroadcast(l *loop, s settings) *broadcast {
	w := &broadcast{loop: l, window: s.window, rate: s.rate, hallOf: make([]*hall, len(l.conns)), next: make([]int, len(l.conns)), time: s.time}
	for i, c := range l.conns[s.conns:] {
		if s.speakers.IsValid() {
			c.address = s.speakers
		}
		h := &hall{room: room(i), speaker: c, members: 1}
		if s.rooms == 0 {
			h.room = everyone
		}
		w.fill(h)
		w.hallOf[c.index] = h
		w.halls = append(w.halls, h)
	}
	// Halls have neighbours as members, and those that stall are far from each other: so each hall has its share of them.
	for i, c := range l.conns[:s.conns] {
		h := w.halls[i*len(w.halls)/s.conns]
		w.hallOf[i] = h
		h.members++
		if int(float64(i+1)*s.stalled+1e-9) > int(float64(i)*s.stalled+1e-9) {
			c.receiveBuffer = stalledBuffer
			w.stalling = append(w.stalling, c)
		}
	}
	return w
}

// fill makes the messages of a hall.
func (w *broadcast) fill(h *hall) {
	n := 1 << bits.Len(uint(max(64, 4*w.window)-1))
	h.ring = make([]spoken, n)
	text := textOfSaid(h.room, firstSeq)
	for i := range h.ring {
		line := appendLine(nil, string(h.room.append(nil)), text, firstSeq+i)
		h.ring[i] = spoken{
			frame: w.frame(w.dialect.appendSay(nil, firstID+i, h.room, line)),
			said:  w.dialect.appendSaid(nil, firstID+i),
			heard: w.dialect.appendHeard(nil, h.room, line),
		}
	}
}

func (w *broadcast) prepare() error {
	if err := w.open(w.conns, prepareInflight); err != nil {
		return err
	}
	if err := w.enter(); err != nil {
		return err
	}
	return w.run(warmUp)
}

// enter has every connection join the room of its hall, or, if that is everyone, make a call: once it is answered, the server
// certainly counts the connection among those that get what is said.
func (w *broadcast) enter() error {
	for _, c := range w.conns {
		request, _ := w.entrance(w.hallOf[c.index].room)
		c.out = append(c.out, w.frame(request)...)
		if err := c.flush(); err != nil {
			return err
		}
		w.entering++
	}
	return w.until(func() bool { return w.entering == 0 }, func() string { return fmt.Sprintf("the answers to %d first calls", w.entering) })
}

// entrance returns the first call of a connection, and its answer.
func (w *broadcast) entrance(r room) (request, answer []byte) {
	if r == everyone {
		line := appendLine(nil, "", nil, firstSeq)
		return w.dialect.appendEcho(nil, enterID, line), w.dialect.appendEchoed(nil, enterID, line)
	}
	return w.dialect.appendJoin(nil, enterID, r), w.dialect.appendJoined(nil, enterID)
}

func (w *broadcast) phases() []phase {
	return []phase{{run: w.measured, messages: &w.spoken}}
}

func (w *broadcast) measured() error {
	for _, c := range w.stalling {
		if err := c.stall(); err != nil {
			return err
		}
		w.hallOf[c.index].members--
	}
	return w.run(w.time)
}

// run has the speakers speak for that long, and waits until everybody has everything.
func (w *broadcast) run(d time.Duration) error {
	w.deadline, w.spoken = clock()+int64(d), 0
	if w.rate > 0 {
		return w.paced(w.rate, w.speakAll)
	}
	for _, h := range w.halls {
		if err := w.speak(h); err != nil {
			return err
		}
	}
	return w.speakAll()
}

// speakAll waits until the time is over, and everybody has everything.
func (w *broadcast) speakAll() error {
	return w.until(func() bool { return w.now >= w.deadline && w.missing() == 0 }, func() string {
		return fmt.Sprintf("%d messages by all their receivers, or the answers to them", w.missing())
	})
}

// missing counts the messages that not everybody has, or that are not answered.
func (w *broadcast) missing() int {
	n := 0
	for _, h := range w.halls {
		n += h.written - h.complete
		if len(h.ring[0].said) > 0 {
			n += h.written - h.said
		}
	}
	return n
}

// speak fills the window of a hall.
func (w *broadcast) speak(h *hall) error {
	now := clock()
	if now >= w.deadline {
		return nil
	}
	for h.written-h.complete < w.window {
		w.say(h, now)
	}
	return h.speaker.flush()
}

// say has the speaker of h write its next message.
func (w *broadcast) say(h *hall, now int64) {
	m := h.at(h.written)
	m.written, m.missing = now, h.members
	h.speaker.out = append(h.speaker.out, m.frame...)
	h.written++
	w.spoken++
}

// speakOnTime has those speak whose turn has come.
func (w *broadcast) speakOnTime() error {
	for range w.pace.take() {
		now := clock()
		if now >= w.deadline {
			return nil
		}
		h := w.halls[w.turn%len(w.halls)]
		if h.written-h.complete == len(h.ring) {
			return fmt.Errorf("%d messages of a room are not delivered: the servers can't keep up", len(h.ring))
		}
		w.turn++
		w.say(h, now)
		if err := h.speaker.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (w *broadcast) receive(c *conn, message []byte) error {
	h := w.hallOf[c.index]
	n := w.next[c.index]
	m := h.at(n)
	if n == h.written || !w.dialect.matches(message, m.heard) {
		return w.answer(c, h, message)
	}
	w.next[c.index]++
	w.meter.latencies.record(w.now - m.written)
	w.progress = w.now
	if m.missing--; m.missing > 0 {
		return nil
	}
	h.complete++
	if !h.waiting && w.rate == 0 {
		h.waiting = true
		w.waiting = append(w.waiting, h)
	}
	return nil
}

// answer takes a message that isn't the next of the hall: the answer to a first call, or to a Say where there is one.
func (w *broadcast) answer(c *conn, h *hall, message []byte) error {
	_, ok := w.dialect.answers(message)
	switch {
	case ok && w.entering > 0:
		if _, expected := w.entrance(h.room); !w.dialect.matches(message, expected) {
			return wrong(message, expected)
		}
		w.entering--
	case ok && c == h.speaker && h.said < h.written:
		if said := h.at(h.said).said; !w.dialect.matches(message, said) {
			return wrong(message, said)
		}
		h.said++
	case w.next[c.index] < h.written:
		return wrong(message, h.at(w.next[c.index]).heard)
	default:
		return fmt.Errorf("got %q, expected nothing", message)
	}
	w.progress = w.now
	return nil
}

func (w *broadcast) settle() error {
	if w.pace != nil {
		return w.speakOnTime()
	}
	for _, h := range w.waiting {
		h.waiting = false
		if err := w.speak(h); err != nil {
			return err
		}
	}
	w.waiting = w.waiting[:0]
	return nil
}
